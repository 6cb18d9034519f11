package front_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/wire"
)

// One command can be followed from the client's span over the node that it asked, and the leader, into the log and the state.
func TestTraces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdk.NewTracerProvider(sdk.WithSyncer(exporter))
		defer func() {
			if err := provider.Shutdown(context.WithoutCancel(t.Context())); err != nil {
				t.Error(err)
			}
		}()
		w := newWorld(t, 2, func(o *front.Options) { o.Tracer = provider.Tracer("lockd") })
		c := w.connect(1)
		life := c.open(1)
		exporter.Reset()
		m := c.acquire(life, 1, 0, "jobs/a")
		m.Trace = make(wire.TraceContext, 25)
		for i := range m.Trace {
			m.Trace[i] = byte(i + 1)
		}
		m.Trace[24] = 1
		c.want(m, wire.Granted)
		get := &wire.Get{ID: c.next(), Trace: m.Trace, Name: "jobs/a"}
		c.send(get)
		next[*wire.LockReply](c)
		synctest.Wait()

		spans := exporter.GetSpans()
		find := func(name string) tracetest.SpanStub {
			t.Helper()
			i := slices.IndexFunc(spans, func(s tracetest.SpanStub) bool { return s.Name == name })
			if i < 0 {
				t.Fatalf("no span %s among %d", name, len(spans))
			}
			if id := spans[i].SpanContext.TraceID(); id != trace.TraceID(m.Trace[:16]) {
				t.Errorf("%s is of trace %v", name, id)
			}
			return spans[i]
		}
		server, read := find("lockd.v1.Lock/Acquire"), find("lockd.v1.Lock/Get")
		for _, s := range []tracetest.SpanStub{server, read} {
			if s.Parent.SpanID() != trace.SpanID(m.Trace[16:24]) || s.SpanKind != trace.SpanKindServer || !s.Parent.IsRemote() {
				t.Errorf("%+v", s)
			}
		}
		propose := find("raft.propose")
		if propose.Parent.SpanID() != server.SpanContext.SpanID() {
			t.Errorf("raft.propose is a child of %v", propose.Parent.SpanID())
		}
		for _, name := range []string{"raft.replicate", "fsm.apply"} {
			if s := find(name); s.Parent.SpanID() != propose.SpanContext.SpanID() || s.EndTime.Sub(s.StartTime) > time.Second {
				t.Errorf("%+v", s)
			}
		}
		attributes := map[string]string{}
		for _, a := range server.Attributes {
			attributes[string(a.Key)] = a.Value.String()
		}
		if attributes["lockd.lock.name"] != "jobs/a" || attributes["lockd.outcome"] != "granted" || attributes["lockd.token"] == "" {
			t.Errorf("%v", attributes)
		}
	})
}

// A node without a tracer passes the client's context on.
func TestTraceIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exporter := tracetest.NewInMemoryExporter()
		provider := sdk.NewTracerProvider(sdk.WithSyncer(exporter))
		w := newWorld(t, 2, func(o *front.Options) {
			if o.Peer == peerID(0) {
				o.Tracer = provider.Tracer("lockd")
			}
		})
		c := w.connect(1)
		life := c.open(1)
		exporter.Reset()
		m := c.acquire(life, 1, 0, "a")
		m.Trace = append(wire.TraceContext{9}, make([]byte, 24)...)
		m.Trace[23], m.Trace[24] = 7, 1
		c.want(m, wire.Granted)
		synctest.Wait()
		for _, s := range exporter.GetSpans() {
			if s.Name == "raft.propose" && s.Parent.SpanID() == trace.SpanID(m.Trace[16:24]) {
				return
			}
		}
		t.Errorf("%+v", exporter.GetSpans())
	})
}
