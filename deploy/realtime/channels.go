package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
)

// Channels answers what a channel may do. A channel without a namespace exists, keeps nothing, and nobody may
// subscribe to it; a namespace that is not configured does not exist.
type Channels struct {
	rules   map[string]*Rules
	metaTTL time.Duration
}

// Rules are the settings of one namespace, ready to use.
type Rules struct {
	Namespace
	regex   *regexp.Regexp // nil: any ASCII name
	metaTTL time.Duration
}

// Sources of a subscription, kept by the library on the subscription.
const (
	fromConnectionToken uint8 = iota + 1
	fromSubscriptionToken
)

func newChannels(config Config) *Channels {
	metaTTL := time.Duration(config.Channel.HistoryMetaTTL)
	channels := &Channels{rules: map[string]*Rules{"": {metaTTL: metaTTL}}, metaTTL: metaTTL}
	for _, namespace := range config.Channel.Namespaces {
		rules := &Rules{Namespace: namespace, metaTTL: metaTTL}
		if namespace.ChannelRegex != "" {
			rules.regex = regexp.MustCompile(namespace.ChannelRegex) // compiled once already by check
		}
		channels.rules[namespace.Name] = rules
	}
	return channels
}

// of returns the rules of a channel and the part of its name they are about; nil when its namespace is unknown.
func (c *Channels) of(channel string) (rules *Rules, rest string) {
	name, rest, found := strings.Cut(strings.TrimPrefix(channel, "$"), ":")
	if !found {
		name, rest = "", channel
	}
	return c.rules[name], rest
}

// named is of for a client: the channel must also have a well-formed name.
func (c *Channels) named(channel string) (*Rules, error) {
	rules, rest := c.of(channel)
	switch {
	case rules == nil:
		return nil, centrifuge.ErrorUnknownChannel
	case rules.regex != nil && !rules.regex.MatchString(rest):
		return nil, centrifuge.ErrorBadRequest
	case rules.regex == nil && strings.ContainsFunc(channel, func(r rune) bool { return r > 127 }):
		return nil, centrifuge.ErrorBadRequest
	}
	return rules, nil
}

func (r *Rules) hasHistory() bool { return r.HistorySize > 0 && r.HistoryTTL > 0 }

func (r *Rules) hasPresence() bool { return r.Presence }

// accepts says whether data may be published: the format of the namespace, or at least not nothing.
func (r *Rules) accepts(data []byte) bool {
	switch r.PublicationDataFormat {
	case "json":
		return json.Valid(data)
	case "json_object":
		return json.Valid(data) && bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{"))
	default:
		return len(data) > 0
	}
}

// subscription is what a subscriber with a valid token gets.
func (r *Rules) subscription(source uint8) centrifuge.SubscribeOptions {
	options := centrifuge.SubscribeOptions{
		EmitPresence:      r.Presence,
		EnablePositioning: r.ForcePositioning,
		EnableRecovery:    r.ForceRecovery,
		AutoCacheRecover:  r.AutoCacheRecover && r.ForceRecovery,
		AllowTagsFilter:   r.AllowTagsFilter,
		HistoryMetaTTL:    r.metaTTL,
		Source:            source,
	}
	if r.ForceRecoveryMode == "cache" {
		options.RecoveryMode = centrifuge.RecoveryModeCache
	}
	for _, delta := range r.AllowedDeltaTypes {
		options.AllowedDeltaTypes = append(options.AllowedDeltaTypes, centrifuge.DeltaType(delta))
	}
	return options
}
