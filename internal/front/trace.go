package front

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/internal/wire"
)

// spanNames tells what the span of a request is called.
var spanNames = map[wire.Type]string{
	wire.TypeOpen: "lockd.v1.Session/Open", wire.TypeClose: "lockd.v1.Session/Close",
	wire.TypeAcquire: "lockd.v1.Lock/Acquire", wire.TypeRelease: "lockd.v1.Lock/Release", wire.TypeCancel: "lockd.v1.Lock/Cancel",
	wire.TypeSetValue: "lockd.v1.Lock/SetValue", wire.TypeRenewLease: "lockd.v1.Lease/Renew",
	wire.TypeReleaseLease: "lockd.v1.Lease/Release", wire.TypeTakeLease: "lockd.v1.Lease/Take",
	wire.TypeCheckTokens: "lockd.v1.Lock/CheckTokens", wire.TypeGet: "lockd.v1.Lock/Get", wire.TypeList: "lockd.v1.Lock/List",
	wire.TypeGetSession: "lockd.v1.Session/Get", wire.TypeListSessions: "lockd.v1.Session/List", wire.TypeStatus: "lockd.v1.Node/Status",
}

// Lengths of the parts of a trace context on the wire: trace id, span id, flags.
const (
	traceIDBytes = 16
	spanIDBytes  = 8
	traceBytes   = traceIDBytes + spanIDBytes + 1
)

// spanContext returns what a trace context of the wire says.
func spanContext(t wire.TraceContext) trace.SpanContext {
	if len(t) != traceBytes {
		return trace.SpanContext{}
	}
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(t[:traceIDBytes]), SpanID: trace.SpanID(t[traceIDBytes : traceIDBytes+spanIDBytes]),
		TraceFlags: trace.TraceFlags(t[traceBytes-1]), Remote: true,
	})
}

// wireTrace returns a span's context as it travels.
func wireTrace(sc trace.SpanContext) wire.TraceContext {
	if !sc.IsValid() {
		return nil
	}
	id, span := sc.TraceID(), sc.SpanID()
	t := make(wire.TraceContext, 0, traceBytes)
	t = append(append(t, id[:]...), span[:]...)
	return append(t, byte(sc.TraceFlags()))
}

// startSpan begins the span of a request, as a child of the client's. Without a tracer there is none.
func (f *Front) startSpan(ctx context.Context, kind wire.Type, from wire.TraceContext, name string) trace.Span {
	if f.o.Tracer == nil {
		return nil
	}
	ctx = trace.ContextWithRemoteSpanContext(ctx, spanContext(from))
	_, span := f.o.Tracer.Start(ctx, spanNames[kind], trace.WithSpanKind(trace.SpanKindServer))
	if span.IsRecording() {
		span.SetAttributes(attribute.Int64("lockd.node", int64(f.o.Peer.Node)))
		if name != "" {
			span.SetAttributes(attribute.String("lockd.lock.name", name))
		}
	}
	return span
}

// begin begins the span of a command, which carries its context on.
func (f *Front) begin(ctx context.Context, cmd *command) {
	cmd.span = f.startSpan(ctx, cmd.kind, cmd.order.trace, cmd.order.name)
	if cmd.span != nil {
		if own := wireTrace(cmd.span.SpanContext()); own != nil {
			cmd.order.trace = own
		}
	}
}

// endSpan ends the span of a request with its verdict.
func endSpan(span trace.Span, v *verdict) {
	if span == nil {
		return
	}
	if span.IsRecording() {
		code := v.outcome.Code
		span.SetAttributes(attribute.String("lockd.outcome", code.String()))
		if v.index != 0 {
			span.SetAttributes(attribute.Int64("lockd.index", int64(v.index)))
		}
		if code == wire.Granted {
			span.SetAttributes(attribute.Int64("lockd.token", int64(v.outcome.Token)))
		}
		if code.Failed() {
			span.SetStatus(codes.Error, v.text)
		}
	}
	span.End()
}

// traceResult tells, on the leader, what a command spent its time with: the log, and the state machine.
func (f *Front) traceResult(ctx context.Context, cmd *command, r tenure.Result) {
	if f.o.Tracer == nil || len(cmd.order.trace) == 0 {
		return
	}
	ctx = trace.ContextWithRemoteSpanContext(ctx, spanContext(cmd.order.trace))
	ctx, propose := f.o.Tracer.Start(ctx, "raft.propose", trace.WithTimestamp(r.Proposed))
	defer propose.End()
	if !propose.IsRecording() {
		return
	}
	propose.SetAttributes(attribute.Int64("raft.index", int64(r.At.Index)), attribute.Int64("raft.term", int64(r.At.Term)),
		attribute.Int64("lockd.node", int64(f.o.Peer.Node)))
	part := func(name string, from, to time.Time) {
		_, span := f.o.Tracer.Start(ctx, name, trace.WithTimestamp(from))
		span.End(trace.WithTimestamp(to))
	}
	part("raft.replicate", r.Proposed, r.Outcome.Began)
	part("fsm.apply", r.Outcome.Began, r.Outcome.Ended)
}
