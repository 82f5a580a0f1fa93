package main

import (
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/centrifugal/centrifuge"
)

// The methods of the API: what each takes, does and answers.

type apiError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

var (
	errInternal       = &apiError{100, "internal server error"}
	errUnknownChannel = &apiError{102, "unknown channel"}
	errNotFound       = &apiError{104, "not found"}
	errBadRequest     = &apiError{107, "bad request"}
	errNotAvailable   = &apiError{108, "not available"}
	errUnrecoverable  = &apiError{112, "unrecoverable position"}
)

type publication struct {
	Data           json.RawMessage   `json:"data"`
	Tags           map[string]string `json:"tags"`
	SkipHistory    bool              `json:"skip_history"`
	IdempotencyKey string            `json:"idempotency_key"`
	Delta          bool              `json:"delta"`
	Version        uint64            `json:"version"`
	VersionEpoch   string            `json:"version_epoch"`
}

type publishRequest struct {
	Channel string `json:"channel"`
	publication
}

type broadcastRequest struct {
	Channels []string `json:"channels"`
	publication
}

type channelRequest struct {
	Channel string `json:"channel"`
}

type historyRequest struct {
	Channel string    `json:"channel"`
	Limit   int       `json:"limit"`
	Since   *position `json:"since"`
	Reverse bool      `json:"reverse"`
}

type position struct {
	Offset uint64 `json:"offset"`
	Epoch  string `json:"epoch"`
}

type channelsRequest struct {
	Pattern string `json:"pattern"`
}

type unsubscribeRequest struct {
	User    string `json:"user"`
	Channel string `json:"channel"` // "": all
	Client  string `json:"client"`
	Session string `json:"session"`
}

type disconnectRequest struct {
	User       string   `json:"user"`
	Client     string   `json:"client"`
	Session    string   `json:"session"`
	Whitelist  []string `json:"whitelist"` // client ids left alone
	Disconnect *struct {
		Code   uint32 `json:"code"`
		Reason string `json:"reason"`
	} `json:"disconnect"`
}

type published struct {
	Offset uint64 `json:"offset,omitempty"`
	Epoch  string `json:"epoch,omitempty"`
}

type clientInfo struct {
	User     string          `json:"user"`
	Client   string          `json:"client"`
	ConnInfo json.RawMessage `json:"conn_info,omitempty"`
	ChanInfo json.RawMessage `json:"chan_info,omitempty"`
}

func (a *API) rules(channel string) (*Rules, *apiError) {
	if channel == "" {
		return nil, errBadRequest
	}
	rules, _ := a.channels.of(channel)
	if rules == nil {
		return nil, errUnknownChannel
	}
	return rules, nil
}

func (a *API) publish(r publishRequest) (any, *apiError) {
	rules, problem := a.rules(r.Channel)
	if problem != nil {
		return nil, problem
	}
	if !rules.accepts(r.Data) {
		return nil, errBadRequest
	}
	size, ttl := rules.HistorySize, time.Duration(rules.HistoryTTL)
	if r.SkipHistory {
		size, ttl = 0, 0
	}
	result, err := a.node.Publish(r.Channel, r.Data,
		centrifuge.WithHistory(size, ttl, rules.metaTTL),
		centrifuge.WithTags(r.Tags),
		centrifuge.WithIdempotencyKey(r.IdempotencyKey),
		centrifuge.WithDelta(r.Delta || rules.DeltaPublish),
		centrifuge.WithVersion(r.Version, r.VersionEpoch),
	)
	if err != nil {
		return nil, a.failed("publish", err)
	}
	return published{result.Offset, result.Epoch}, nil
}

func (a *API) broadcast(r broadcastRequest) (any, *apiError) {
	if len(r.Channels) == 0 {
		return nil, errBadRequest
	}
	responses := make([]object, len(r.Channels))
	for i, channel := range r.Channels {
		responses[i] = run("result", a.publish, publishRequest{channel, r.publication})
	}
	return object{"responses": responses}, nil
}

func (a *API) unsubscribe(r unsubscribeRequest) (any, *apiError) {
	if r.Channel != "" {
		if _, problem := a.rules(r.Channel); problem != nil {
			return nil, problem
		}
	}
	err := a.node.Unsubscribe(r.User, r.Channel, centrifuge.WithUnsubscribeClient(r.Client), centrifuge.WithUnsubscribeSession(r.Session))
	if err != nil {
		return nil, a.failed("unsubscribe", err)
	}
	return object{}, nil
}

func (a *API) disconnect(r disconnectRequest) (any, *apiError) {
	disconnect := centrifuge.DisconnectForceNoReconnect
	if r.Disconnect != nil {
		disconnect = centrifuge.Disconnect{Code: r.Disconnect.Code, Reason: r.Disconnect.Reason}
	}
	err := a.node.Disconnect(r.User,
		centrifuge.WithCustomDisconnect(disconnect),
		centrifuge.WithDisconnectClient(r.Client),
		centrifuge.WithDisconnectSession(r.Session),
		centrifuge.WithDisconnectClientWhitelist(r.Whitelist),
	)
	if err != nil {
		return nil, a.failed("disconnect", err)
	}
	return object{}, nil
}

func (a *API) withHistory(channel string) (*Rules, *apiError) {
	rules, problem := a.rules(channel)
	if problem == nil && !rules.hasHistory() {
		problem = errNotAvailable
	}
	return rules, problem
}

func (a *API) history(r historyRequest) (any, *apiError) {
	rules, problem := a.withHistory(r.Channel)
	if problem != nil {
		return nil, problem
	}
	var since *centrifuge.StreamPosition
	if r.Since != nil {
		since = &centrifuge.StreamPosition{Offset: r.Since.Offset, Epoch: r.Since.Epoch}
	}
	history, err := a.node.History(r.Channel,
		centrifuge.WithHistoryMetaTTL(rules.metaTTL),
		centrifuge.WithLimit(r.Limit),
		centrifuge.WithSince(since),
		centrifuge.WithReverse(r.Reverse),
	)
	if errors.Is(err, centrifuge.ErrorUnrecoverablePosition) {
		return nil, errUnrecoverable
	}
	if err != nil {
		return nil, a.failed("history", err)
	}
	publications := make([]object, len(history.Publications))
	for i, p := range history.Publications {
		publications[i] = object{"data": json.RawMessage(p.Data), "offset": p.Offset}
		if len(p.Tags) > 0 {
			publications[i]["tags"] = p.Tags
		}
	}
	return object{"publications": publications, "offset": history.Offset, "epoch": history.Epoch}, nil
}

func (a *API) historyRemove(r channelRequest) (any, *apiError) {
	if _, problem := a.withHistory(r.Channel); problem != nil {
		return nil, problem
	}
	if err := a.node.RemoveHistory(r.Channel); err != nil {
		return nil, a.failed("history_remove", err)
	}
	return object{}, nil
}

func (a *API) withPresence(channel string) *apiError {
	rules, problem := a.rules(channel)
	if problem == nil && !rules.Presence {
		problem = errNotAvailable
	}
	return problem
}

func (a *API) presence(r channelRequest) (any, *apiError) {
	if problem := a.withPresence(r.Channel); problem != nil {
		return nil, problem
	}
	result, err := a.node.Presence(r.Channel)
	if err != nil {
		return nil, a.failed("presence", err)
	}
	present := make(map[string]clientInfo, len(result.Presence))
	for id, p := range result.Presence {
		present[id] = clientInfo{p.UserID, p.ClientID, p.ConnInfo, p.ChanInfo}
	}
	return object{"presence": present}, nil
}

func (a *API) presenceStats(r channelRequest) (any, *apiError) {
	if problem := a.withPresence(r.Channel); problem != nil {
		return nil, problem
	}
	stats, err := a.node.PresenceStats(r.Channel)
	if err != nil {
		return nil, a.failed("presence_stats", err)
	}
	return object{"num_clients": stats.NumClients, "num_users": stats.NumUsers}, nil
}

func (a *API) listChannels(r channelsRequest) (any, *apiError) {
	matches := glob(r.Pattern)
	channels := object{}
	for _, channel := range a.node.Hub().Channels() {
		if matches(channel) {
			channels[channel] = object{"num_clients": a.node.Hub().NumSubscribers(channel)}
		}
	}
	return object{"channels": channels}, nil
}

func (a *API) info(struct{}) (any, *apiError) {
	info, err := a.node.Info()
	if err != nil {
		return nil, a.failed("info", err)
	}
	nodes := make([]object, len(info.Nodes))
	for i, n := range info.Nodes {
		nodes[i] = object{
			"uid": n.UID, "name": n.Name, "version": n.Version, "uptime": n.Uptime,
			"num_clients": n.NumClients, "num_users": n.NumUsers, "num_subs": n.NumSubs, "num_channels": n.NumChannels,
		}
	}
	return object{"nodes": nodes}, nil
}

func (a *API) failed(method string, err error) *apiError {
	a.log.Error("api call failed", "method", method, "error", err.Error())
	return errInternal
}

// glob matches with "*" for any text and "?" for one character; "" matches all.
func glob(pattern string) func(string) bool {
	if pattern == "" {
		pattern = "*"
	}
	expression := strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(regexp.QuoteMeta(pattern))
	return regexp.MustCompile("(?s)^" + expression + "$").MatchString
}
