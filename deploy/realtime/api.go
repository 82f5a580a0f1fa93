package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"github.com/centrifugal/centrifuge"
)

// API is the HTTP API of Centrifugo for the methods that Runtide and its tools use. A problem of a request is in
// the body of a 200; 400 means a body that cannot be read, 401 a wrong key.
type API struct {
	node     *centrifuge.Node
	channels *Channels
	key      [sha256.Size]byte
	log      *slog.Logger
}

const maxBodyBytes = 16 << 20 // 100 publications of 64 kB, twice over

type object = map[string]any

type batchRequest struct {
	Commands []*struct {
		Publish       *publishRequest     `json:"publish"`
		Broadcast     *broadcastRequest   `json:"broadcast"`
		Unsubscribe   *unsubscribeRequest `json:"unsubscribe"`
		Disconnect    *disconnectRequest  `json:"disconnect"`
		History       *historyRequest     `json:"history"`
		HistoryRemove *channelRequest     `json:"history_remove"`
		Presence      *channelRequest     `json:"presence"`
		PresenceStats *channelRequest     `json:"presence_stats"`
		Info          *struct{}           `json:"info"`
		Channels      *channelsRequest    `json:"channels"`
	} `json:"commands"`
	// "parallel" is accepted and means nothing here: commands run in order, in memory.
}

// handler serves everything under /api/.
func (a *API) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/publish", route(a.publish))
	mux.Handle("/api/broadcast", route(a.broadcast))
	mux.Handle("/api/unsubscribe", route(a.unsubscribe))
	mux.Handle("/api/disconnect", route(a.disconnect))
	mux.Handle("/api/history", route(a.history))
	mux.Handle("/api/history_remove", route(a.historyRemove))
	mux.Handle("/api/presence", route(a.presence))
	mux.Handle("/api/presence_stats", route(a.presenceStats))
	mux.Handle("/api/info", route(a.info))
	mux.Handle("/api/channels", route(a.listChannels))
	mux.HandleFunc("/api/batch", a.batch)
	return a.guarded(mux)
}

func (a *API) guarded(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			http.NotFound(w, r)
		} else if r.Method != http.MethodPost {
			w.WriteHeader(http.StatusMethodNotAllowed)
		} else if !a.authorized(r) {
			w.WriteHeader(http.StatusUnauthorized)
		} else {
			mux.ServeHTTP(w, r)
		}
	})
}

// authorized compares hashes in constant time, so neither the key nor its length leaks. The key is never read
// from the address, where logs would keep it.
func (a *API) authorized(r *http.Request) bool {
	key := r.Header.Get("X-API-Key")
	if key == "" {
		words := strings.Fields(r.Header.Get("Authorization"))
		if len(words) != 2 || !strings.EqualFold(words[0], "apikey") {
			return false
		}
		key = words[1]
	}
	hash := sha256.Sum256([]byte(key))
	return subtle.ConstantTimeCompare(hash[:], a.key[:]) == 1
}

// route is one method: a request in, a result or an error out.
func route[Request any](do func(Request) (any, *apiError)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request Request
		if !readBody(w, r, &request) {
			return
		}
		result, problem := do(request)
		writeJSON(w, reply("result", result, problem))
	})
}

func reply(name string, result any, problem *apiError) object {
	if problem != nil {
		return object{"error": problem}
	}
	return object{name: result}
}

func readBody(w http.ResponseWriter, r *http.Request, request any) bool {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		http.Error(w, http.StatusText(http.StatusRequestEntityTooLarge), http.StatusRequestEntityTooLarge)
	case err != nil || json.Unmarshal(body, request) != nil:
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
	default:
		return true
	}
	return false
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // the caller is gone: nobody to tell
}

func (a *API) batch(w http.ResponseWriter, r *http.Request) {
	var request batchRequest
	if !readBody(w, r, &request) {
		return
	}
	if len(request.Commands) == 0 {
		writeJSON(w, object{})
		return
	}
	replies := make([]object, len(request.Commands))
	for i, c := range request.Commands {
		switch {
		case c == nil:
			replies[i] = reply("", nil, errBadRequest)
		case c.Publish != nil:
			replies[i] = run("publish", a.publish, *c.Publish)
		case c.Broadcast != nil:
			replies[i] = run("broadcast", a.broadcast, *c.Broadcast)
		case c.Unsubscribe != nil:
			replies[i] = run("unsubscribe", a.unsubscribe, *c.Unsubscribe)
		case c.Disconnect != nil:
			replies[i] = run("disconnect", a.disconnect, *c.Disconnect)
		case c.History != nil:
			replies[i] = run("history", a.history, *c.History)
		case c.HistoryRemove != nil:
			replies[i] = run("history_remove", a.historyRemove, *c.HistoryRemove)
		case c.Presence != nil:
			replies[i] = run("presence", a.presence, *c.Presence)
		case c.PresenceStats != nil:
			replies[i] = run("presence_stats", a.presenceStats, *c.PresenceStats)
		case c.Info != nil:
			replies[i] = run("info", a.info, *c.Info)
		case c.Channels != nil:
			replies[i] = run("channels", a.listChannels, *c.Channels)
		default:
			replies[i] = reply("", nil, errNotFound)
		}
	}
	writeJSON(w, object{"replies": replies})
}

func run[Request any](name string, do func(Request) (any, *apiError), request Request) object {
	result, problem := do(request)
	return reply(name, result, problem)
}
