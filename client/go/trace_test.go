//go:build unix

package client_test

import (
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lockd/lockd/client/go"
)

// TestSpans follows a wait and a hold, and the link from who waits to who holds.
func TestSpans(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		recorder := tracetest.NewSpanRecorder()
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder))
		traced := func(c *client.Config) { c.TracerProvider = provider }
		a, b := w.client("a", traced), w.client("b", traced)
		ctx, parent := provider.Tracer("test").Start(t.Context(), "job")
		l := got[*client.Lock](t)(a.Lock(ctx, "a"))
		waiting := make(chan *client.Lock)
		go func() {
			l, err := b.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
			}
			waiting <- l
		}()
		time.Sleep(time.Second)
		must(t, l.Unlock(ctx))
		must(t, (<-waiting).Unlock(t.Context()))
		parent.End()

		spans := func(name string) (list []sdktrace.ReadOnlySpan) {
			for _, s := range recorder.Ended() {
				if s.Name() == name {
					list = append(list, s)
				}
			}
			return list
		}
		waits, holds := spans("lockd.lock.wait"), spans("lockd.lock.hold")
		if len(waits) != 2 || len(holds) != 2 {
			t.Fatalf("%d waits, %d holds", len(waits), len(holds))
		}
		if waits[0].Parent().SpanID() != parent.SpanContext().SpanID() || holds[0].Parent().SpanID() != parent.SpanContext().SpanID() {
			t.Error("the spans of the first lock are no children of the caller's")
		}
		if took := holds[0].EndTime().Sub(holds[0].StartTime()); took < time.Second || took > 2*time.Second {
			t.Errorf("held for %v", took)
		}
		if took := waits[1].EndTime().Sub(waits[1].StartTime()); took < time.Second || took > 2*time.Second {
			t.Errorf("waited for %v", took)
		}
		token := attribute.Int64("lockd.token", int64(l.Token()))
		if !slices.Contains(waits[0].Attributes(), token) || !slices.Contains(holds[0].Attributes(), token) {
			t.Errorf("attributes %v, %v", waits[0].Attributes(), holds[0].Attributes())
		}
		links := waits[1].Links()
		if len(links) != 1 || links[0].SpanContext.SpanID() != waits[0].SpanContext().SpanID() ||
			links[0].SpanContext.TraceID() != parent.SpanContext().TraceID() ||
			!slices.Contains(links[0].Attributes, attribute.String("lockd.link", "blocked_by")) {
			t.Errorf("links %+v", links)
		}
	})
}
