package main

import (
	"crypto/sha256"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func call(t *testing.T, method, path, body string, headers ...string) int {
	t.Helper()
	api := &API{nil, runs, sha256.Sum256([]byte("the key")), slog.New(slog.NewTextHandler(io.Discard, nil))}
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	api.handler().ServeHTTP(recorder, request)
	return recorder.Code
}

func TestTheAPIOpensToItsKeyInAHeaderAlone(t *testing.T) {
	for _, c := range []struct {
		want int
		path string
		head []string
	}{
		{200, "/api/publish", []string{"X-API-Key", "the key"}},
		{401, "/api/publish", nil},
		{401, "/api/publish", []string{"X-API-Key", "the kez"}},
		{401, "/api/publish?api_key=the%20key", nil},
		{401, "/api/publish", []string{"Authorization", "Bearer the key"}},
		{404, "/api/nosuch", []string{"X-API-Key", "the key"}},
	} {
		if got := call(t, http.MethodPost, c.path, `{}`, c.head...); got != c.want {
			t.Errorf("%s %v: %d", c.path, c.head, got)
		}
	}
	if got := call(t, http.MethodGet, "/api/publish", ""); got != 405 {
		t.Errorf("GET: %d", got)
	}
}

func TestABodyHasALimit(t *testing.T) {
	big := `{"channel": "run:1", "data": {"x": "` + strings.Repeat("x", maxBodyBytes) + `"}}`
	if got := call(t, http.MethodPost, "/api/publish", big, "X-API-Key", "the key"); got != 413 {
		t.Error(got)
	}
}
