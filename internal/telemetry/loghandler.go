package telemetry

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// LogHandler returns a handler that writes to h and adds trace_id and span_id, in the group that is open, to what is logged with the
// context of a span.
func LogHandler(h slog.Handler) slog.Handler { return withSpan{h} }

type withSpan struct{ slog.Handler }

func (w withSpan) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return w.Handler.Handle(ctx, r)
}

func (w withSpan) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withSpan{w.Handler.WithAttrs(attrs)}
}

func (w withSpan) WithGroup(name string) slog.Handler { return withSpan{w.Handler.WithGroup(name)} }

// atLevelOf is a handler that takes what another one would take, so that one level holds for both.
type atLevelOf struct {
	slog.Handler
	level slog.Handler
}

func (a atLevelOf) Enabled(ctx context.Context, level slog.Level) bool {
	return a.level.Enabled(ctx, level) && a.Handler.Enabled(ctx, level)
}

func (a atLevelOf) WithAttrs(attrs []slog.Attr) slog.Handler {
	return atLevelOf{a.Handler.WithAttrs(attrs), a.level}
}

func (a atLevelOf) WithGroup(name string) slog.Handler {
	return atLevelOf{a.Handler.WithGroup(name), a.level}
}
