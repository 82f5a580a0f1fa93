package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/cristalhq/jwt/v5"
)

var (
	errExpired = errors.New("token expired")
	errInvalid = errors.New("invalid token")
)

// Tokens verifies what notifier mints: HMAC tokens with an audience and an issuer. With a previous key, tokens
// signed by either are believed, so that a key can be changed while clients are connected.
type Tokens struct {
	keys     []map[jwt.Algorithm]jwt.Verifier
	audience string
	issuer   string
	channels *Channels
}

type claims struct {
	jwt.RegisteredClaims
	Channel  string                   `json:"channel"`
	Client   string                   `json:"client"`
	Channels []string                 `json:"channels"`
	Subs     map[string]subscriptions `json:"subs"`
	Info     json.RawMessage          `json:"info"`
	Data     json.RawMessage          `json:"data"`
	ExpireAt *int64                   `json:"expire_at"` // when the connection ends, if not with the token; 0: never
	unsupported
}

type subscriptions struct {
	Info json.RawMessage `json:"info"`
	Data json.RawMessage `json:"data"`
	unsupported
}

// unsupported claims change what a token grants; a token that has one is refused, not half obeyed.
type unsupported struct {
	Override json.RawMessage `json:"override"`
	B64Info  string          `json:"b64info"`
	B64Data  string          `json:"b64data"`
}

func (u unsupported) present() bool { return u.Override != nil || u.B64Info != "" || u.B64Data != "" }

func newTokens(config TokenConfig, channels *Channels) (*Tokens, error) {
	tokens := &Tokens{audience: config.Audience, issuer: config.Issuer, channels: channels}
	for _, key := range []string{config.HMACSecretKey, config.HMACPreviousSecretKey} {
		if key == "" {
			continue
		}
		verifiers := map[jwt.Algorithm]jwt.Verifier{}
		for _, algorithm := range []jwt.Algorithm{jwt.HS256, jwt.HS384, jwt.HS512} {
			verifier, err := jwt.NewVerifierHS(algorithm, []byte(key))
			if err != nil {
				return nil, err
			}
			verifiers[algorithm] = verifier
		}
		tokens.keys = append(tokens.keys, verifiers)
	}
	return tokens, nil
}

// read returns the claims of a token that is signed by us, for us, and valid now. Signature, audience and
// issuer come first: only a genuine token is ever called expired.
func (t *Tokens) read(raw string) (claims, error) {
	var c claims
	token, err := jwt.ParseNoVerify([]byte(raw))
	if err != nil {
		return c, fmt.Errorf("%w: %v", errInvalid, err)
	}
	if !t.signed(token) {
		return c, fmt.Errorf("%w: signature", errInvalid)
	}
	if err := json.Unmarshal(token.Claims(), &c); err != nil {
		return c, fmt.Errorf("%w: %v", errInvalid, err)
	}
	if t.audience != "" && !c.IsForAudience(t.audience) {
		return c, fmt.Errorf("%w: audience", errInvalid)
	}
	if t.issuer != "" && !c.IsIssuer(t.issuer) {
		return c, fmt.Errorf("%w: issuer", errInvalid)
	}
	if c.present() {
		return c, fmt.Errorf("%w: claims override, b64info and b64data are not supported", errInvalid)
	}
	return c, nil
}

func (t *Tokens) signed(token *jwt.Token) bool {
	for _, verifiers := range t.keys {
		if verifier := verifiers[token.Header().Algorithm]; verifier != nil && verifier.Verify(token) == nil {
			return true
		}
	}
	return false
}

func (c claims) current() bool {
	now := time.Now()
	return c.IsValidExpiresAt(now) && c.IsValidNotBefore(now)
}

// expireAt is in Unix seconds; 0 means never.
func (c claims) expireAt() int64 {
	switch {
	case c.ExpireAt != nil:
		return max(*c.ExpireAt, 0)
	case c.ExpiresAt != nil:
		return c.ExpiresAt.Unix()
	}
	return 0
}

// Connection is what a connection token grants.
type Connection struct {
	User     string
	Info     []byte
	ExpireAt int64 // Unix seconds; 0: never
	Subs     map[string]centrifuge.SubscribeOptions
}

// connection reads a connection token. Raises errInvalid, errExpired, or centrifuge.ErrorUnknownChannel for a
// server-side channel that cannot exist.
func (t *Tokens) connection(raw string) (Connection, error) {
	c, err := t.read(raw)
	if err != nil {
		return Connection{}, err
	}
	if c.Channel != "" {
		return Connection{}, fmt.Errorf("%w: a subscription token cannot connect", errInvalid)
	}
	if !c.current() {
		return Connection{}, errExpired
	}
	subs := c.Subs
	if len(subs) == 0 {
		subs = map[string]subscriptions{}
		for _, channel := range c.Channels {
			subs[channel] = subscriptions{}
		}
	}
	granted := map[string]centrifuge.SubscribeOptions{}
	for channel, sub := range subs {
		if sub.present() {
			return Connection{}, fmt.Errorf("%w: claims override, b64info and b64data are not supported", errInvalid)
		}
		rules, _ := t.channels.of(channel)
		if rules == nil {
			return Connection{}, centrifuge.ErrorUnknownChannel
		}
		options := rules.subscription(fromConnectionToken)
		options.ChannelInfo, options.Data = sub.Info, sub.Data
		granted[channel] = options
	}
	return Connection{User: c.Subject, Info: c.Info, ExpireAt: c.expireAt(), Subs: granted}, nil
}

// Subscription is what a subscription token grants: one channel to one user.
type Subscription struct {
	User    string
	Channel string
	Client  string // "": any connection of the user
	Options centrifuge.SubscribeOptions
}

// subscription reads a subscription token; errors as for connection.
func (t *Tokens) subscription(raw string) (Subscription, error) {
	c, err := t.read(raw)
	if err != nil {
		return Subscription{}, err
	}
	if !c.current() {
		return Subscription{}, errExpired
	}
	if c.Channel == "" {
		return Subscription{}, fmt.Errorf("%w: no channel", errInvalid)
	}
	rules, _ := t.channels.of(c.Channel)
	if rules == nil {
		return Subscription{}, centrifuge.ErrorUnknownChannel
	}
	options := rules.subscription(fromSubscriptionToken)
	options.ExpireAt, options.ChannelInfo, options.Data = c.expireAt(), c.Info, c.Data
	return Subscription{User: c.Subject, Channel: c.Channel, Client: c.Client, Options: options}, nil
}
