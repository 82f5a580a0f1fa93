package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config holds the keys of Centrifugo v6 that this node honours, under Centrifugo's names. A key that is not
// here is an error, never ignored: the real server warns about such a key and runs on without it.
type Config struct {
	HTTPServer struct {
		Address         string `json:"address"`
		Port            int    `json:"port"`
		InternalAddress string `json:"internal_address"`
		InternalPort    string `json:"internal_port"` // a string, as in Centrifugo
	} `json:"http_server"`
	HTTPAPI struct {
		Key       string `json:"key"`
		Insecure  bool   `json:"insecure"`
		ErrorMode string `json:"error_mode"`
	} `json:"http_api"`
	Engine struct {
		Type string `json:"type"`
	} `json:"engine"`
	Log struct {
		Level string `json:"level"`
	} `json:"log"`
	Admin struct {
		Enabled  bool `json:"enabled"`
		Insecure bool `json:"insecure"`
	} `json:"admin"`
	Health struct {
		Enabled bool `json:"enabled"`
	} `json:"health"`
	Prometheus struct {
		Enabled bool `json:"enabled"`
	} `json:"prometheus"`
	UsageStats struct {
		Disabled bool `json:"disabled"` // accepted; this node never sends any
	} `json:"usage_stats"`
	Websocket struct {
		MessageSizeLimit int `json:"message_size_limit"` // bytes
	} `json:"websocket"`
	Client struct {
		AllowedOrigins                    []string    `json:"allowed_origins"`
		Token                             TokenConfig `json:"token"`
		ChannelLimit                      int         `json:"channel_limit"`
		QueueMaxSize                      int         `json:"queue_max_size"` // bytes
		PingInterval                      Duration    `json:"ping_interval"`
		PongTimeout                       Duration    `json:"pong_timeout"`
		StaleCloseDelay                   Duration    `json:"stale_close_delay"`
		ExpiredCloseDelay                 Duration    `json:"expired_close_delay"`
		ExpiredSubCloseDelay              Duration    `json:"expired_sub_close_delay"`
		ChannelPositionCheckDelay         Duration    `json:"channel_position_check_delay"`
		DisallowAnonymousConnectionTokens bool        `json:"disallow_anonymous_connection_tokens"`
		AllowAnonymousConnectWithoutToken bool        `json:"allow_anonymous_connect_without_token"`
		Insecure                          bool        `json:"insecure"`
		InsecureSkipTokenSignatureVerify  bool        `json:"insecure_skip_token_signature_verify"`
	} `json:"client"`
	Channel struct {
		MaxLength      int         `json:"max_length"`
		HistoryMetaTTL Duration    `json:"history_meta_ttl"`
		Namespaces     []Namespace `json:"namespaces"`
	} `json:"channel"`
}

// TokenConfig says which JSON web tokens are believed.
type TokenConfig struct {
	HMACSecretKey         string `json:"hmac_secret_key"`
	HMACPreviousSecretKey string `json:"hmac_previous_secret_key"`
	Audience              string `json:"audience"`
	Issuer                string `json:"issuer"`
}

// Namespace is what stands before the first ":" of a channel, and how its channels behave.
type Namespace struct {
	Name                       string   `json:"name"`
	HistorySize                int      `json:"history_size"`
	HistoryTTL                 Duration `json:"history_ttl"`
	ForcePositioning           bool     `json:"force_positioning"`
	ForceRecovery              bool     `json:"force_recovery"`
	ForceRecoveryMode          string   `json:"force_recovery_mode"`
	AutoCacheRecover           bool     `json:"auto_cache_recover"`
	Presence                   bool     `json:"presence"`
	AllowedDeltaTypes          []string `json:"allowed_delta_types"`
	DeltaPublish               bool     `json:"delta_publish"`
	AllowTagsFilter            bool     `json:"allow_tags_filter"`
	PublicationDataFormat      string   `json:"publication_data_format"`
	ChannelRegex               string   `json:"channel_regex"`
	AllowPublishForClient      bool     `json:"allow_publish_for_client"`
	AllowPublishForSubscriber  bool     `json:"allow_publish_for_subscriber"`
	AllowPublishForAnonymous   bool     `json:"allow_publish_for_anonymous"`
	AllowSubscribeForClient    bool     `json:"allow_subscribe_for_client"`
	AllowSubscribeForAnonymous bool     `json:"allow_subscribe_for_anonymous"`
}

// defaults are Centrifugo's own, except the address: this node is loopback unless told otherwise.
func defaults() Config {
	var c Config
	c.HTTPServer.Address = "127.0.0.1"
	c.HTTPServer.Port = 8000
	c.Engine.Type = "memory"
	c.Log.Level = "info"
	c.Websocket.MessageSizeLimit = 65536
	c.Client.ChannelLimit = 128
	c.Client.QueueMaxSize = 1 << 20
	c.Client.PingInterval = Duration(25 * time.Second)
	c.Client.PongTimeout = Duration(8 * time.Second)
	c.Client.StaleCloseDelay = Duration(10 * time.Second)
	c.Client.ExpiredCloseDelay = Duration(25 * time.Second)
	c.Client.ExpiredSubCloseDelay = Duration(25 * time.Second)
	c.Client.ChannelPositionCheckDelay = Duration(40 * time.Second)
	c.Channel.MaxLength = 255
	c.Channel.HistoryMetaTTL = Duration(30 * 24 * time.Hour)
	return c
}

// load reads the file, then the environment (which wins), and returns only a configuration that is complete,
// consistent and safe. Every problem it finds is in the error, one per line.
func load(path string, environ []string) (Config, error) {
	config := defaults()
	text, err := os.ReadFile(path)
	if err != nil {
		return config, err
	}
	if err := readJSON(&config, text); err != nil {
		return config, fmt.Errorf("%s: %w", path, err)
	}
	if err := readEnvironment(&config, environ); err != nil {
		return config, err
	}
	if config.HTTPServer.InternalAddress == "" {
		config.HTTPServer.InternalAddress = config.HTTPServer.Address
	}
	return config, errors.Join(config.check(), config.refuse())
}

var namespaceName = regexp.MustCompile(`^[-a-zA-Z0-9_.]{2,}$`)

// check finds what is malformed or contradictory; what would be insecure is found by refuse.
func (c Config) check() error {
	var problems []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Errorf(format, args...))
		}
	}
	oneOf := func(key, value string, allowed ...string) {
		need(slices.Contains(allowed, value), "%s: %q is none of %s", key, value, strings.Join(quoted(allowed), ", "))
	}
	oneOf("engine.type", c.Engine.Type, "memory")
	oneOf("log.level", c.Log.Level, "trace", "debug", "info", "warn", "error", "none")
	oneOf("http_api.error_mode", c.HTTPAPI.ErrorMode, "")
	need(isPort(strconv.Itoa(c.HTTPServer.Port)), "http_server.port: %d is not a port", c.HTTPServer.Port)
	if internal := c.HTTPServer.InternalPort; internal != "" {
		need(isPort(internal), "http_server.internal_port: %q is not a port", internal)
		need(internal != strconv.Itoa(c.HTTPServer.Port), "http_server.internal_port: equals http_server.port; leave it out to serve both on one port")
	}
	need(c.Client.PingInterval > c.Client.PongTimeout && c.Client.PongTimeout > 0, "client.ping_interval: must be greater than client.pong_timeout, both above 0")
	for key, value := range map[string]int64{
		"websocket.message_size_limit":        int64(c.Websocket.MessageSizeLimit),
		"client.channel_limit":                int64(c.Client.ChannelLimit),
		"client.queue_max_size":               int64(c.Client.QueueMaxSize),
		"client.stale_close_delay":            int64(c.Client.StaleCloseDelay),
		"client.expired_close_delay":          int64(c.Client.ExpiredCloseDelay),
		"client.expired_sub_close_delay":      int64(c.Client.ExpiredSubCloseDelay),
		"client.channel_position_check_delay": int64(c.Client.ChannelPositionCheckDelay),
		"channel.max_length":                  int64(c.Channel.MaxLength),
		"channel.history_meta_ttl":            int64(c.Channel.HistoryMetaTTL),
	} {
		need(value > 0, "%s: must be above 0", key)
	}
	seen := map[string]bool{}
	for i, n := range c.Channel.Namespaces {
		at := fmt.Sprintf("channel.namespaces[%d] (%s)", i, n.Name)
		need(namespaceName.MatchString(n.Name), "%s: name must match %s", at, namespaceName)
		need(!seen[n.Name], "%s: name is used twice", at)
		seen[n.Name] = true
		need((n.HistorySize > 0) == (n.HistoryTTL > 0), "%s: history_size and history_ttl go together", at)
		need(n.HistorySize >= 0 && n.HistoryTTL >= 0, "%s: history_size and history_ttl must not be negative", at)
		need(n.HistoryTTL <= c.Channel.HistoryMetaTTL, "%s: history_ttl is longer than channel.history_meta_ttl", at)
		need(n.HistorySize > 0 || !(n.ForceRecovery || n.ForcePositioning), "%s: recovery and positioning need history", at)
		need(!n.AutoCacheRecover || n.ForceRecoveryMode == "cache", "%s: auto_cache_recover needs force_recovery_mode \"cache\"", at)
		oneOf(at+".force_recovery_mode", n.ForceRecoveryMode, "", "stream", "cache")
		oneOf(at+".publication_data_format", n.PublicationDataFormat, "", "json", "json_object")
		for _, delta := range n.AllowedDeltaTypes {
			oneOf(at+".allowed_delta_types", delta, "fossil")
		}
		_, err := regexp.Compile(n.ChannelRegex)
		need(err == nil, "%s: channel_regex: %v", at, err)
	}
	return errors.Join(problems...)
}

func isPort(text string) bool {
	port, err := strconv.Atoi(text)
	return err == nil && port > 0 && port < 65536
}

func quoted(words []string) []string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = strconv.Quote(word)
	}
	return out
}
