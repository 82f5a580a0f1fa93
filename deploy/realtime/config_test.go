package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

var secrets = []string{
	"CENTRIFUGO_HTTP_API_KEY=an-api-key",
	"CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY=a-token-key",
}

// compose is the configuration that deployments share with the real Centrifugo (its keys, not its file).
const compose = `{
  "http_server": {"port": 8000, "internal_port": "9000"},
  "engine": {"type": "memory"}, "log": {"level": "info"},
  "admin": {"enabled": false}, "health": {"enabled": true}, "prometheus": {"enabled": true},
  "usage_stats": {"disabled": true}, "websocket": {"message_size_limit": 1048576},
  "client": {"allowed_origins": ["http://localhost:8080"], "channel_limit": 1024,
             "disallow_anonymous_connection_tokens": true,
             "token": {"audience": "runtide-realtime", "issuer": "runtide-notifier"}},
  "channel": {"namespaces": [
    {"name": "instance", "history_size": 100, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
     "publication_data_format": "json_object"},
    {"name": "tenant", "history_size": 300, "history_ttl": "10m", "force_positioning": true, "force_recovery": true,
     "publication_data_format": "json_object", "allow_tags_filter": true}]}}`

func loadText(t *testing.T, text string, environ ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return load(path, append(append([]string{"HOME=/nowhere"}, secrets...), environ...))
}

func TestASharedConfigurationLoadsAndStaysOnLoopback(t *testing.T) {
	config, err := loadText(t, compose)
	if err != nil {
		t.Fatal(err)
	}
	if config.HTTPServer.Address != "127.0.0.1" || config.HTTPServer.InternalAddress != "127.0.0.1" {
		t.Errorf("listens on %+v", config.HTTPServer)
	}
	if config.Websocket.MessageSizeLimit != 1<<20 || time.Duration(config.Channel.Namespaces[1].HistoryTTL) != 10*time.Minute {
		t.Errorf("lost a value: %+v", config)
	}
}

func TestAnUnknownKeyIsAnErrorThatNamesIt(t *testing.T) {
	for text, key := range map[string]string{
		`{"namespaces": []}`:                    "namespaces", // v5
		`{"client": {"allowed_origin": []}}`:    "client.allowed_origin",
		`{"Client": {}}`:                        "Client",
		`{"client": {"token": {"secret": ""}}}`: "client.token.secret",
		`{"channel": {"namespaces": [{"name": "run"}, {"name": "two", "histroy_size": 1}]}}`: "channel.namespaces[1].histroy_size",
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), "unknown key "+key) {
			t.Errorf("%s: %v", text, err)
		}
	}
	_, err := loadText(t, `{}`, "CENTRIFUGO_CLIENT_ALLOWED_ORIGIN=x", "RUNTIDE_CENTRIFUGO_API_KEY=x")
	if err == nil || err.Error() != "unknown variable CENTRIFUGO_CLIENT_ALLOWED_ORIGIN in the environment" {
		t.Error(err)
	}
}

func TestTheEnvironmentBeatsTheFile(t *testing.T) {
	config, err := loadText(t, compose,
		"CENTRIFUGO_HTTP_SERVER_PORT=7001",
		"CENTRIFUGO_HTTP_SERVER_INTERNAL_PORT=7002",
		"CENTRIFUGO_CLIENT_ALLOWED_ORIGINS=https://a.example  https://b.example",
		"CENTRIFUGO_PROMETHEUS_ENABLED=false",
		"CENTRIFUGO_CLIENT_PING_INTERVAL=40s",
		`CENTRIFUGO_CHANNEL_NAMESPACES=[{"name": "run", "history_size": 5, "history_ttl": "1m"}]`,
	)
	if err != nil {
		t.Fatal(err)
	}
	if config.HTTPServer.Port != 7001 || config.HTTPServer.InternalPort != "7002" || config.Prometheus.Enabled ||
		strings.Join(config.Client.AllowedOrigins, ",") != "https://a.example,https://b.example" ||
		time.Duration(config.Client.PingInterval) != 40*time.Second ||
		len(config.Channel.Namespaces) != 1 || config.Channel.Namespaces[0].HistorySize != 5 {
		t.Errorf("%+v", config)
	}
}

func TestEveryKeyHasItsOwnVariable(t *testing.T) {
	seen := map[string]string{}
	eachLeaf(reflect.ValueOf(defaults()), "", func(path string, _ reflect.Value) {
		if other := seen[environmentName(path)]; other != "" {
			t.Errorf("%s and %s share a variable", path, other)
		}
		seen[environmentName(path)] = path
	})
}

func TestAMalformedVariableIsNamed(t *testing.T) {
	for _, pair := range []string{
		"CENTRIFUGO_CHANNEL_NAMESPACES=[{", "CENTRIFUGO_HTTP_SERVER_PORT=http", "CENTRIFUGO_HEALTH_ENABLED=maybe",
		"CENTRIFUGO_CLIENT_PING_INTERVAL=25", `CENTRIFUGO_CHANNEL_NAMESPACES=[{"nmae": "run"}]`,
	} {
		name, _, _ := strings.Cut(pair, "=")
		if _, err := loadText(t, compose, pair); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", pair, err)
		}
	}
}

func TestAContradictionIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		`{"engine": {"type": "redis"}}`:                                                       "engine.type",
		`{"http_server": {"port": 8000, "internal_port": "8000"}}`:                            "http_server.internal_port",
		`{"http_server": {"internal_port": 9000}}`:                                            "http_server.internal_port: want a string",
		`{"client": {"ping_interval": "8s", "pong_timeout": "8s"}}`:                           "client.ping_interval",
		`{"websocket": {"message_size_limit": 0}}`:                                            "websocket.message_size_limit",
		`{"http_api": {"error_mode": "transport"}}`:                                           "http_api.error_mode",
		`{"channel": {"namespaces": [{"name": "run", "history_size": 5}]}}`:                   "history_ttl go together",
		`{"channel": {"namespaces": [{"name": "run", "force_recovery": true}]}}`:              "need history",
		`{"channel": {"namespaces": [{"name": "run"}, {"name": "run"}]}}`:                     "twice",
		`{"channel": {"namespaces": [{"name": "a:b"}]}}`:                                      "name must match",
		`{"channel": {"namespaces": [{"name": "run", "channel_regex": "("}]}}`:                "channel_regex",
		`{"channel": {"namespaces": [{"name": "run", "publication_data_format": "binary"}]}}`: "publication_data_format",
		`{"channel": {"namespaces": [{"name": "run", "allowed_delta_types": ["xdelta"]}]}}`:   "allowed_delta_types",
		`{} {}`: "not JSON",
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAnInsecureSettingIsRefused(t *testing.T) {
	for text, key := range map[string]string{
		`{"http_api": {"insecure": true}}`:                                                      "http_api.insecure",
		`{"client": {"insecure": true}}`:                                                        "client.insecure:",
		`{"client": {"insecure_skip_token_signature_verify": true}}`:                            "client.insecure_skip_token_signature_verify",
		`{"client": {"allow_anonymous_connect_without_token": true}}`:                           "client.allow_anonymous_connect_without_token",
		`{"admin": {"enabled": true}}`:                                                          "admin.enabled",
		`{"admin": {"insecure": true}}`:                                                         "admin.insecure",
		`{"client": {"allowed_origins": ["*"]}}`:                                                "client.allowed_origins",
		`{"client": {"allowed_origins": ["http://a.example", "**"]}}`:                           "client.allowed_origins",
		`{"client": {"allowed_origins": ["https://*"]}}`:                                        "client.allowed_origins",
		`{"client": {"allowed_origins": ["http://*:8080"]}}`:                                    "client.allowed_origins",
		`{"channel": {"namespaces": [{"name": "run", "allow_publish_for_client": true}]}}`:      "run.allow_publish_for_client",
		`{"channel": {"namespaces": [{"name": "run", "allow_publish_for_subscriber": true}]}}`:  "run.allow_publish_for_subscriber",
		`{"channel": {"namespaces": [{"name": "run", "allow_publish_for_anonymous": true}]}}`:   "run.allow_publish_for_anonymous",
		`{"channel": {"namespaces": [{"name": "run", "allow_subscribe_for_client": true}]}}`:    "run.allow_subscribe_for_client",
		`{"channel": {"namespaces": [{"name": "run", "allow_subscribe_for_anonymous": true}]}}`: "run.allow_subscribe_for_anonymous",
	} {
		if _, err := loadText(t, text); err == nil || !strings.Contains(err.Error(), "refused: ") || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, empty := range []string{"CENTRIFUGO_HTTP_API_KEY=", "CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY= "} {
		if _, err := loadText(t, compose, empty); err == nil || !strings.Contains(err.Error(), "refused: ") {
			t.Errorf("%s: %v", empty, err)
		}
	}
	if _, err := loadText(t, `{"client": {"allowed_origins": ["https://*.runtide.example"]}}`); err != nil {
		t.Error(err)
	}
}

func TestAMessageNeverShowsASecret(t *testing.T) {
	_, err := loadText(t, `{"http_api": {"key": 5150}, "client": {"token": {"hmac_secret_key": ["s3cret"]}}}`)
	if err == nil || strings.Contains(err.Error(), "5150") || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}
