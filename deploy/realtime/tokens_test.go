package main

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/cristalhq/jwt/v5"
)

const (
	oldKey = "the-key-of-last-month"
	newKey = "the-key-of-this-month"
)

var runs = newChannels(Config{}.with(Namespace{Name: "run", HistorySize: 5, HistoryTTL: Duration(time.Minute), ForceRecovery: true}))

func (c Config) with(namespaces ...Namespace) Config {
	c.Channel.Namespaces = namespaces
	return c
}

func verifier(t *testing.T, key, previous string) *Tokens {
	t.Helper()
	tokens, err := newTokens(TokenConfig{key, previous, "aud", "iss"}, runs)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

// mint signs good claims, changed as said; a nil value leaves a claim out.
func mint(t *testing.T, key string, changed object) string {
	t.Helper()
	claims := object{"sub": "u1", "aud": "aud", "iss": "iss", "exp": time.Now().Add(time.Minute).Unix()}
	for name, value := range changed {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	signer, err := jwt.NewSignerHS(jwt.HS256, []byte(key))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.NewBuilder(signer).Build(claims)
	if err != nil {
		t.Fatal(err)
	}
	return token.String()
}

func TestAKeyCanBeChangedWhileClientsAreConnected(t *testing.T) {
	rotating, rotated := verifier(t, newKey, oldKey), verifier(t, newKey, "")
	for _, key := range []string{oldKey, newKey} {
		if _, err := rotating.connection(mint(t, key, nil)); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := rotated.connection(mint(t, oldKey, nil)); !errors.Is(err, errInvalid) {
		t.Errorf("the old key still opens: %v", err)
	}
}

func TestAConnectionTokenIsBelievedOnlyWhenGenuineAndCurrent(t *testing.T) {
	tokens := verifier(t, newKey, "")
	past, soon := time.Now().Add(-time.Second).Unix(), time.Now().Add(time.Minute).Unix()
	body, _ := json.Marshal(object{"sub": "u1", "aud": "aud", "iss": "iss", "exp": soon})
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body) + "."
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"good":               {mint(t, newKey, nil), nil},
		"audience in a list": {mint(t, newKey, object{"aud": []string{"other", "aud"}}), nil},
		"without expiry":     {mint(t, newKey, object{"exp": nil}), nil},
		"junk":               {"junk", errInvalid},
		"forged":             {mint(t, "guess", nil), errInvalid},
		"alg none":           {unsigned, errInvalid},
		"no audience":        {mint(t, newKey, object{"aud": nil}), errInvalid},
		"other issuer":       {mint(t, newKey, object{"iss": "x"}), errInvalid},
		"subscription token": {mint(t, newKey, object{"channel": "run:1"}), errInvalid},
		"expiry is text":     {mint(t, newKey, object{"exp": "soon"}), errInvalid},
		"override":           {mint(t, newKey, object{"subs": object{"run:1": object{"override": object{}}}}), errInvalid},
		"expired":            {mint(t, newKey, object{"exp": past}), errExpired},
		"not yet":            {mint(t, newKey, object{"nbf": soon}), errExpired},
		"expired and forged": {mint(t, "guess", object{"exp": past}), errInvalid},
		"unknown channel":    {mint(t, newKey, object{"channels": []string{"nosuch:1"}}), centrifuge.ErrorUnknownChannel},
	} {
		if _, err := tokens.connection(c.token); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASubscriptionTokenGrantsOneChannelUntilItExpires(t *testing.T) {
	tokens := verifier(t, newKey, "")
	soon := time.Now().Add(time.Minute).Unix()
	s, err := tokens.subscription(mint(t, newKey, object{"channel": "run:1", "exp": soon}))
	if err != nil || s.Channel != "run:1" || s.User != "u1" || s.Options.ExpireAt != soon || !s.Options.EnableRecovery {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := tokens.subscription(mint(t, newKey, nil)); !errors.Is(err, errInvalid) {
		t.Errorf("a connection token subscribes: %v", err)
	}
}

func TestAChannelIsWhatItsNamespaceSays(t *testing.T) {
	for channel, want := range map[string]error{
		"run:1": nil, "$run:1": nil, "plain": nil,
		"nosuch:1": centrifuge.ErrorUnknownChannel,
		"run:é":    centrifuge.ErrorBadRequest,
	} {
		if _, err := runs.named(channel); !errors.Is(err, want) {
			t.Errorf("%s: %v", channel, err)
		}
	}
	object := &Rules{Namespace: Namespace{PublicationDataFormat: "json_object"}}
	for data, want := range map[string]bool{` {"a": 1}`: true, `[1]`: false, `{"a"`: false, ``: false, `null`: false} {
		if object.accepts([]byte(data)) != want {
			t.Errorf("%q accepted: %v", data, !want)
		}
	}
	if glob("run:*")("lineage:1") || !glob("run:?")("run:1") || !glob("")("any") {
		t.Error("glob")
	}
}
