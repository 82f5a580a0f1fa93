package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/centrifugal/centrifuge"
)

// Clients decides what a connected client may do: connect with a connection token, subscribe with a token for
// that channel and user, and nothing else. Close codes and error codes are those of Centrifugo.
type Clients struct {
	tokens            *Tokens
	channels          *Channels
	disallowAnonymous bool
	log               *slog.Logger
}

func (c *Clients) attach(node *centrifuge.Node) {
	node.OnConnecting(c.onConnecting)
	// What is not set here (RPC, for one) the library answers with 108, not available.
	node.OnConnect(func(client *centrifuge.Client) {
		client.OnSubscribe(func(e centrifuge.SubscribeEvent, done centrifuge.SubscribeCallback) {
			done(c.onSubscribe(client, e))
		})
		client.OnRefresh(func(e centrifuge.RefreshEvent, done centrifuge.RefreshCallback) {
			done(c.onRefresh(client, e))
		})
		client.OnSubRefresh(func(e centrifuge.SubRefreshEvent, done centrifuge.SubRefreshCallback) {
			done(c.onSubRefresh(client, e))
		})
		client.OnPublish(func(e centrifuge.PublishEvent, done centrifuge.PublishCallback) {
			done(centrifuge.PublishReply{}, c.denied(e.Channel, func(r *Rules) error {
				if !r.accepts(e.Data) {
					return centrifuge.ErrorBadRequest
				}
				return nil
			}))
		})
		client.OnHistory(func(e centrifuge.HistoryEvent, done centrifuge.HistoryCallback) {
			done(centrifuge.HistoryReply{}, c.denied(e.Channel, available((*Rules).hasHistory)))
		})
		client.OnPresence(func(e centrifuge.PresenceEvent, done centrifuge.PresenceCallback) {
			done(centrifuge.PresenceReply{}, c.denied(e.Channel, available((*Rules).hasPresence)))
		})
		client.OnPresenceStats(func(e centrifuge.PresenceStatsEvent, done centrifuge.PresenceStatsCallback) {
			done(centrifuge.PresenceStatsReply{}, c.denied(e.Channel, available((*Rules).hasPresence)))
		})
	})
}

// denied answers a right that no client has: why in particular, or permission denied.
func (c *Clients) denied(channel string, reason func(*Rules) error) error {
	rules, err := c.channels.named(channel)
	if err != nil {
		return err
	}
	if err := reason(rules); err != nil {
		return err
	}
	return centrifuge.ErrorPermissionDenied
}

func available(has func(*Rules) bool) func(*Rules) error {
	return func(r *Rules) error {
		if !has(r) {
			return centrifuge.ErrorNotAvailable
		}
		return nil
	}
}

func (c *Clients) onConnecting(_ context.Context, e centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
	// Without credentials the library closes the connection: 3501, bad request.
	reply := centrifuge.ConnectReply{ClientSideRefresh: true}
	if e.Token != "" {
		connection, err := c.tokens.connection(e.Token)
		if err != nil {
			return reply, c.refused(err, centrifuge.ErrorTokenExpired, centrifuge.DisconnectInvalidToken, "client", e.ClientID)
		}
		if connection.User == "" && c.disallowAnonymous {
			return reply, centrifuge.DisconnectPermissionDenied
		}
		reply.Credentials = &centrifuge.Credentials{UserID: connection.User, ExpireAt: connection.ExpireAt, Info: connection.Info}
		reply.Subscriptions = connection.Subs
	}
	for _, channel := range e.Channels { // asked for by the client itself: granted to nobody
		if rules, _ := c.channels.of(channel); rules == nil && reply.Credentials != nil {
			return reply, centrifuge.DisconnectBadRequest
		}
	}
	return reply, nil
}

func (c *Clients) onSubscribe(client *centrifuge.Client, e centrifuge.SubscribeEvent) (centrifuge.SubscribeReply, error) {
	reply := centrifuge.SubscribeReply{ClientSideRefresh: true}
	if _, err := c.channels.named(e.Channel); err != nil {
		return reply, err
	}
	if e.Token == "" || e.Type != centrifuge.SubscriptionTypeStream {
		return reply, centrifuge.ErrorPermissionDenied
	}
	subscription, err := c.tokens.subscription(e.Token)
	if err != nil {
		return reply, c.refused(err, centrifuge.ErrorTokenExpired, centrifuge.ErrorPermissionDenied, "client", client.ID(), "channel", e.Channel)
	}
	if !subscription.isFor(client, e.Channel) {
		return reply, c.refused(errForeign, nil, centrifuge.DisconnectInvalidToken, "client", client.ID(), "channel", e.Channel)
	}
	reply.Options = subscription.Options
	return reply, nil
}

func (c *Clients) onRefresh(client *centrifuge.Client, e centrifuge.RefreshEvent) (centrifuge.RefreshReply, error) {
	connection, err := c.tokens.connection(e.Token)
	if errors.Is(err, errExpired) {
		return centrifuge.RefreshReply{Expired: true}, nil
	}
	if err == nil && connection.User != client.UserID() {
		err = errForeign
	}
	if err != nil {
		return centrifuge.RefreshReply{}, c.refused(err, nil, centrifuge.DisconnectInvalidToken, "client", client.ID())
	}
	reply := centrifuge.RefreshReply{ExpireAt: connection.ExpireAt, Info: connection.Info}
	if serverSideChanged(client, connection) {
		return reply, centrifuge.DisconnectInsufficientState // connects again and gets the channels of the new token
	}
	return reply, nil
}

func (c *Clients) onSubRefresh(client *centrifuge.Client, e centrifuge.SubRefreshEvent) (centrifuge.SubRefreshReply, error) {
	subscription, err := c.tokens.subscription(e.Token)
	if errors.Is(err, errExpired) {
		return centrifuge.SubRefreshReply{Expired: true}, nil
	}
	if err == nil && !subscription.isFor(client, e.Channel) {
		err = errForeign
	}
	if err != nil {
		return centrifuge.SubRefreshReply{}, c.refused(err, nil, centrifuge.DisconnectInvalidToken, "client", client.ID(), "channel", e.Channel)
	}
	return centrifuge.SubRefreshReply{ExpireAt: subscription.Options.ExpireAt, Info: subscription.Options.ChannelInfo}, nil
}

var errForeign = errors.New("token of another channel, user or client")

// refused turns a token error into what the client is told, and logs what it is not told.
func (c *Clients) refused(err, expired, invalid error, about ...any) error {
	switch {
	case errors.Is(err, errExpired):
		return expired
	case errors.Is(err, errInvalid), errors.Is(err, errForeign):
		c.log.Info("token refused", append(about, "reason", err.Error())...)
		return invalid
	}
	return err
}

func (s Subscription) isFor(client *centrifuge.Client, channel string) bool {
	return s.Channel == channel && s.User == client.UserID() && (s.Client == "" || s.Client == client.ID())
}

func serverSideChanged(client *centrifuge.Client, connection Connection) bool {
	for channel := range connection.Subs {
		if !client.IsSubscribed(channel) {
			return true
		}
	}
	for channel, held := range client.ChannelsWithContext() {
		if _, still := connection.Subs[channel]; !still && held.Source == fromConnectionToken {
			return true
		}
	}
	return false
}
