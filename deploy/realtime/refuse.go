package main

import (
	"errors"
	"fmt"
	"strings"
)

// refuse names every setting that would let in a client, a publisher or an API caller without proof. The real
// server starts with each of these; this node does not, and there is no switch to make it.
func (c Config) refuse() error {
	var problems []error
	no := func(bad bool, key, why string) {
		if bad {
			problems = append(problems, fmt.Errorf("refused: %s: %s", key, why))
		}
	}
	no(c.HTTPAPI.Insecure, "http_api.insecure", "anybody could call the API")
	no(strings.TrimSpace(c.HTTPAPI.Key) == "", "http_api.key", "empty; set "+environmentName("http_api.key"))
	no(strings.TrimSpace(c.Client.Token.HMACSecretKey) == "", "client.token.hmac_secret_key", "empty; set "+environmentName("client.token.hmac_secret_key"))
	no(c.Client.Insecure, "client.insecure", "anybody could subscribe and publish")
	no(c.Client.InsecureSkipTokenSignatureVerify, "client.insecure_skip_token_signature_verify", "any token would be believed")
	no(c.Client.AllowAnonymousConnectWithoutToken, "client.allow_anonymous_connect_without_token", "anybody could connect")
	no(c.Admin.Enabled, "admin.enabled", "this node has no admin interface, and a server in production should not show one")
	no(c.Admin.Insecure, "admin.insecure", "anybody would be admin")
	for _, origin := range c.Client.AllowedOrigins {
		no(matchesEveryHost(origin), "client.allowed_origins", fmt.Sprintf("%q lets pages of any site connect", origin))
	}
	for _, n := range c.Channel.Namespaces {
		for key, allowed := range map[string]bool{
			"allow_publish_for_client":      n.AllowPublishForClient,
			"allow_publish_for_subscriber":  n.AllowPublishForSubscriber,
			"allow_publish_for_anonymous":   n.AllowPublishForAnonymous,
			"allow_subscribe_for_client":    n.AllowSubscribeForClient,
			"allow_subscribe_for_anonymous": n.AllowSubscribeForAnonymous,
		} {
			no(allowed, "channel.namespaces."+n.Name+"."+key, "rights come from tokens alone; a pattern would open every tenant")
		}
	}
	return errors.Join(problems...)
}

// matchesEveryHost is true for "*" and for patterns such as "https://*" or "*:8080" that name no host.
func matchesEveryHost(pattern string) bool {
	_, host, hasScheme := strings.Cut(pattern, "://")
	if !hasScheme {
		host = pattern
	}
	host, _, _ = strings.Cut(host, ":")
	return strings.Trim(host, "*?.") == ""
}
