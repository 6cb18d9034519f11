package client

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/wire"
)

// scope names the instrumentation.
const scope = "github.com/lockd/lockd/client/go"

// telemetry is what the client measures and traces. Names of locks are in spans only: in metrics they would have no bound.
type telemetry struct {
	tracer trace.Tracer
	wait   metric.Float64Histogram
	hold   metric.Float64Histogram
	losses metric.Int64Counter

	acquired, notAcquired, failed []metric.RecordOption
	waiting                       []trace.SpanStartOption
}

// seconds are the bounds of the histograms.
var seconds = metric.WithExplicitBucketBoundaries(.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600)

func newTelemetry(cfg *Config) (*telemetry, error) {
	tracers, meters := cfg.TracerProvider, cfg.MeterProvider
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	m := meters.Meter(scope)
	t := &telemetry{tracer: tracers.Tracer(scope)}
	var errs [3]error
	t.wait, errs[0] = m.Float64Histogram("lockd.client.lock.wait.duration", metric.WithUnit("s"), seconds,
		metric.WithDescription("from the call to the grant or the error"))
	t.hold, errs[1] = m.Float64Histogram("lockd.client.lock.hold.duration", metric.WithUnit("s"), seconds,
		metric.WithDescription("from the grant to the end of the hold"))
	t.losses, errs[2] = m.Int64Counter("lockd.client.lock.lost", metric.WithDescription("holds that ended with their session"))
	outcome := func(s string) []metric.RecordOption {
		return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("lockd.outcome", s)))}
	}
	t.waiting = []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindClient)}
	t.acquired, t.notAcquired, t.failed = outcome("acquired"), outcome("not_acquired"), outcome("error")
	return t, errors.Join(errs[:]...)
}

// startWait begins the span of a wait.
func (t *telemetry) startWait(ctx context.Context, d *demand) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, "lockd.lock.wait", t.waiting...)
	if span.IsRecording() {
		span.SetAttributes(attribute.StringSlice("lockd.lock.name", d.names), attribute.String("lockd.lock.mode", d.mode.String()))
	}
	return ctx, span
}

// endWait ends it. Not to have been granted a lock is no error.
func (t *telemetry) endWait(ctx context.Context, span trace.Span, d *demand, took time.Duration, r result) {
	defer span.End()
	outcome := t.acquired
	switch {
	case errors.Is(r.err, ErrNotAcquired):
		outcome = t.notAcquired
	case r.err != nil:
		outcome = t.failed
		span.SetStatus(codes.Error, r.err.Error())
	}
	t.wait.Record(ctx, took.Seconds(), outcome...)
	if !span.IsRecording() {
		return
	}
	if r.err == nil {
		span.SetAttributes(
			attribute.Int64("lockd.token", int64(r.grant.outcome.Token)),
			attribute.String("lockd.session.id", d.session.ID().String()),
			attribute.String("lockd.previous", How(r.grant.outcome.Previous.How).String()),
		)
	}
}

// blockedBy links the span of a wait to those of the holders it waits for.
func blockedBy(span trace.Span, ahead int, holders []Holder) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.Int("lockd.queue.ahead", ahead))
	for i := range holders {
		m, err := wire.DecodeMetadata(holders[i].Metadata)
		if err != nil {
			continue // it has another form, which is allowed
		}
		if of := spanOf(m.Trace); of.IsValid() {
			span.AddLink(trace.Link{SpanContext: of, Attributes: []attribute.KeyValue{
				attribute.String("lockd.link", "blocked_by"), attribute.Int64("lockd.token", int64(holders[i].Token)),
			}})
		}
	}
}

// held tells of a hold that has ended, in a span of its own: nobody keeps one open for hours.
func (t *telemetry) held(l *Lock, cause error) {
	now := time.Now()
	t.hold.Record(l.values, now.Sub(l.granted).Seconds())
	_, span := t.tracer.Start(l.values, "lockd.lock.hold", trace.WithTimestamp(l.granted))
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.StringSlice("lockd.lock.name", l.names), attribute.Int64("lockd.token", int64(l.token)))
	if !errors.Is(cause, ErrReleased) {
		span.SetStatus(codes.Error, cause.Error())
	}
	span.End(trace.WithTimestamp(now))
}

func (t *telemetry) lost(ctx context.Context, n int) {
	if n > 0 {
		t.losses.Add(ctx, int64(n))
	}
}

// traceOf returns the trace context of ctx as it travels: trace id, span id, flags; nil if there is none.
func traceOf(ctx context.Context) wire.TraceContext {
	s := trace.SpanContextFromContext(ctx)
	if !s.IsValid() {
		return nil
	}
	traceID, spanID := s.TraceID(), s.SpanID()
	b := make(wire.TraceContext, 0, len(traceID)+len(spanID)+1)
	b = append(append(b, traceID[:]...), spanID[:]...)
	return append(b, byte(s.TraceFlags()))
}

// spanOf reads what traceOf wrote.
func spanOf(b wire.TraceContext) trace.SpanContext {
	var traceID trace.TraceID
	var spanID trace.SpanID
	if len(b) != len(traceID)+len(spanID)+1 {
		return trace.SpanContext{}
	}
	copy(traceID[:], b)
	copy(spanID[:], b[len(traceID):])
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.TraceFlags(b[len(b)-1]), Remote: true,
	})
}
