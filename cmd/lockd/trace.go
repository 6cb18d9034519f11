package main

import (
	"context"
	"os"

	"go.opentelemetry.io/otel/propagation"

	"github.com/lockd/lockd/internal/telemetry"
)

// traceParentVariable carries the context of a trace from a program to those it starts.
const traceParentVariable = "TRACEPARENT"

// tracing is the telemetry of one command.
type tracing struct{ *telemetry.Telemetry }

// telemetry sets up what the OTEL_* variables ask for, and returns a context within the trace that this program was started in.
func (c *call) telemetry(ctx context.Context) (*tracing, context.Context, error) {
	t, err := telemetry.Setup(ctx, telemetry.Options{Service: "lockd-command", Version: version()})
	if err != nil {
		return nil, ctx, err
	}
	carrier := propagation.MapCarrier{"traceparent": os.Getenv(traceParentVariable)}
	return &tracing{t}, propagation.TraceContext{}.Extract(ctx, carrier), nil
}

// stop sends what was recorded. That it did not arrive has been logged, and does not change how the command ended.
func (t *tracing) stop(ctx context.Context) { _ = t.Shutdown(context.WithoutCancel(ctx)) }

// traceParent returns what a child is told of the trace it runs in, empty if there is none.
func traceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}
