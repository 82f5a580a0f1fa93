package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/centrifugal/centrifuge"
)

var libraryLevels = map[string]centrifuge.LogLevel{
	"trace": centrifuge.LogLevelTrace,
	"debug": centrifuge.LogLevelDebug,
	"info":  centrifuge.LogLevelInfo,
	"warn":  centrifuge.LogLevelWarn,
	"error": centrifuge.LogLevelError,
	"none":  centrifuge.LogLevelNone,
}

var levels = map[centrifuge.LogLevel]slog.Level{
	centrifuge.LogLevelTrace: slog.LevelDebug - 4,
	centrifuge.LogLevelDebug: slog.LevelDebug,
	centrifuge.LogLevelInfo:  slog.LevelInfo,
	centrifuge.LogLevelWarn:  slog.LevelWarn,
	centrifuge.LogLevelError: slog.LevelError,
	centrifuge.LogLevelNone:  slog.LevelError + 4,
}

// newLog writes one JSON object per line.
func newLog(level string, to io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(to, &slog.HandlerOptions{Level: levels[libraryLevels[level]]}))
}

func logEntry(log *slog.Logger, entry centrifuge.LogEntry) {
	var fields []any
	for name, value := range entry.Fields {
		if err, ok := value.(error); ok {
			value = err.Error()
		}
		fields = append(fields, name, value)
	}
	log.Log(context.Background(), levels[entry.Level], entry.Message, fields...)
}
