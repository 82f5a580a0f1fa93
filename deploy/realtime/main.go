// Command runtide-realtime is the embedded realtime node: a small server that speaks Centrifugo's protocol and
// HTTP API from Centrifugo's own configuration file, for machines without Docker. It is not for production.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/centrifugal/centrifuge"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	version          = "0.1.0"
	shutdownTimeout  = 10 * time.Second
	publicationLimit = 300 // most publications recovered at once, as in Centrifugo: beyond it, recovered is false
)

const usage = `usage: runtide-realtime [checkconfig] [-c config.json] | --version

Environment variables CENTRIFUGO_* override the file, under Centrifugo's names.
`

func main() {
	os.Exit(command(os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}

// command returns the exit status: 0, 1 for what the configuration or the machine does not allow, 2 for misuse.
func command(args, environ []string, stdout, stderr io.Writer) int {
	check := len(args) > 0 && args[0] == "checkconfig"
	if check {
		args = args[1:]
	}
	flags := flag.NewFlagSet("runtide-realtime", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	path := flags.String("c", "config.json", "")
	flags.StringVar(path, "config", "config.json", "")
	showVersion := flags.Bool("version", false, "")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil || flags.NArg() > 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	if *showVersion {
		fmt.Fprintf(stdout, "runtide-realtime %s (centrifuge %s, %s)\n", version, libraryVersion(), runtime.Version())
		return 0
	}
	config, err := load(*path, environ)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if check {
		return 0
	}
	if err := serve(config, newLog(config.Log.Level, stderr)); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func libraryVersion() string {
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, module := range build.Deps {
			if module.Path == "github.com/centrifugal/centrifuge" {
				return module.Version
			}
		}
	}
	return "unknown"
}

// serve runs until SIGTERM or SIGINT, then tells every client to reconnect (3001, shutdown) and returns.
func serve(config Config, log *slog.Logger) error {
	channels := newChannels(config)
	tokens, err := newTokens(config.Client.Token, channels)
	if err != nil {
		return err
	}
	node, err := centrifuge.New(nodeConfig(config, log))
	if err != nil {
		return err
	}
	(&Clients{tokens, channels, config.Client.DisallowAnonymousConnectionTokens, log}).attach(node)
	if err := node.Run(); err != nil {
		return err
	}
	api := &API{node, channels, sha256.Sum256([]byte(config.HTTPAPI.Key)), log}
	public := http.NewServeMux()
	public.Handle("/connection/websocket", websocketHandler(node, config))
	internal := public
	muxes := map[string]*http.ServeMux{net.JoinHostPort(config.HTTPServer.Address, strconv.Itoa(config.HTTPServer.Port)): public}
	if config.HTTPServer.InternalPort != "" {
		internal = http.NewServeMux()
		muxes[net.JoinHostPort(config.HTTPServer.InternalAddress, config.HTTPServer.InternalPort)] = internal
	}
	internal.Handle("/api/", api.handler())
	if config.Health.Enabled {
		internal.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, object{}) })
	}
	if config.Prometheus.Enabled {
		internal.Handle("/metrics", promhttp.Handler())
	}
	return listen(muxes, node, log)
}

func listen(muxes map[string]*http.ServeMux, node *centrifuge.Node, log *slog.Logger) error {
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	failures := make(chan error, len(muxes))
	var servers []*http.Server
	for address, mux := range muxes {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		servers = append(servers, server)
		go func() { failures <- server.Serve(listener) }()
	}
	log.Info("realtime node is serving", "version", version, "addresses", strings.Join(slices.Sorted(maps.Keys(muxes)), " "))
	select {
	case err := <-failures:
		return err
	case <-stop.Done():
	}
	cancel() // a second signal ends the process at once
	log.Info("shutting down")
	ending, done := context.WithTimeout(context.Background(), shutdownTimeout)
	defer done()
	errs := []error{node.Shutdown(ending)}
	for _, server := range servers {
		errs = append(errs, server.Shutdown(ending))
	}
	return errors.Join(errs...)
}

func nodeConfig(config Config, log *slog.Logger) centrifuge.Config {
	hostname, _ := os.Hostname()
	return centrifuge.Config{
		Version:                         version + " RUNTIDE",
		Name:                            hostname + "_" + strconv.Itoa(config.HTTPServer.Port),
		LogLevel:                        libraryLevels[config.Log.Level],
		LogHandler:                      func(e centrifuge.LogEntry) { logEntry(log, e) },
		Metrics:                         centrifuge.MetricsConfig{MetricsNamespace: "centrifugo"},
		ChannelMaxLength:                config.Channel.MaxLength,
		HistoryMetaTTL:                  time.Duration(config.Channel.HistoryMetaTTL),
		HistoryMaxPublicationLimit:      publicationLimit,
		RecoveryMaxPublicationLimit:     publicationLimit,
		ClientChannelLimit:              config.Client.ChannelLimit,
		ClientQueueMaxSize:              config.Client.QueueMaxSize,
		ClientStaleCloseDelay:           time.Duration(config.Client.StaleCloseDelay),
		ClientExpiredCloseDelay:         time.Duration(config.Client.ExpiredCloseDelay),
		ClientExpiredSubCloseDelay:      time.Duration(config.Client.ExpiredSubCloseDelay),
		ClientChannelPositionCheckDelay: time.Duration(config.Client.ChannelPositionCheckDelay),
	}
}

// websocketHandler admits requests without an Origin (not a browser) and those whose Origin is allowed.
func websocketHandler(node *centrifuge.Node, config Config) http.Handler {
	var allowed []func(string) bool
	for _, pattern := range config.Client.AllowedOrigins {
		allowed = append(allowed, glob(strings.ToLower(pattern)))
	}
	return centrifuge.NewWebsocketHandler(node, centrifuge.WebsocketConfig{
		MessageSizeLimit: config.Websocket.MessageSizeLimit,
		PingPongConfig: centrifuge.PingPongConfig{
			PingInterval: time.Duration(config.Client.PingInterval),
			PongTimeout:  time.Duration(config.Client.PongTimeout),
		},
		CheckOrigin: func(r *http.Request) bool {
			origin := strings.ToLower(r.Header.Get("Origin"))
			for _, matches := range allowed {
				if matches(origin) {
					return true
				}
			}
			return origin == ""
		},
	})
}
