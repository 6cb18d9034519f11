package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
)

// ShutdownMax is the longest that Shutdown takes.
const ShutdownMax = 3 * time.Second

// Options say whose telemetry it is.
type Options struct {
	Service  string       // service.name, unless the environment gives one
	Version  string       // service.version
	Instance string       // service.instance.id: the node's name; empty: none
	Logs     slog.Handler // where logs are written to, and which levels are logged at all; nil: no logs
}

// Telemetry is what Setup has made. Its fields are never nil.
type Telemetry struct {
	TracerProvider trace.TracerProvider // a no-op one without an exporter
	MeterProvider  metric.MeterProvider
	Metrics        http.Handler // the page for Prometheus
	Logger         *slog.Logger // writes to Options.Logs, with the ids of the span in the context, and to the log exporter

	stop []func(context.Context) error
}

// Setup makes providers as the environment asks for. It connects to nothing yet. An error names what in the environment is wrong;
// nothing is left running then.
//
// It also makes the SDK report its own failures, such as a collector that cannot be reached, to the Logger: the SDK has one place for
// that in the whole process.
func Setup(ctx context.Context, o Options) (*Telemetry, error) {
	t := &Telemetry{
		TracerProvider: nooptrace.NewTracerProvider(),
		MeterProvider:  noopmetric.NewMeterProvider(),
		Logger:         slog.New(LogHandler(o.logs())),
	}
	registry := newRegistry()
	t.Metrics = page(registry)
	disabled, err := disabled()
	if err != nil {
		return nil, err
	}
	if disabled {
		return t, nil
	}
	res, err := o.resource(ctx)
	if err != nil {
		return nil, err
	}
	reportTo(t.Logger) // without the log exporter: it would be asked to send why it cannot send
	for _, set := range []func() error{
		func() error { return t.setLogs(ctx, res, o) },
		func() error { return t.setTraces(ctx, res) },
		func() error { return t.setMetrics(ctx, res, registry) },
	} {
		if err := set(); err != nil {
			return nil, errors.Join(err, t.Shutdown(ctx))
		}
	}
	return t, nil
}

// Shutdown sends what is still queued and stops the exporters. It blocks for at most ShutdownMax, and less if ctx ends; use a context
// that outlives the reason to stop. What could not be sent by then is lost, and the error says why.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, ShutdownMax)
	defer cancel()
	errs := make([]error, len(t.stop))
	var all sync.WaitGroup
	for i, stop := range t.stop {
		all.Go(func() { errs[i] = stop(ctx) })
	}
	all.Wait()
	t.stop = nil
	return errors.Join(errs...)
}

func (o *Options) logs() slog.Handler {
	if o.Logs == nil {
		return slog.DiscardHandler
	}
	return o.Logs
}

// resource names the program; what the environment says stands above what o says.
func (o *Options) resource(ctx context.Context) (*resource.Resource, error) {
	attributes := []attribute.KeyValue{semconv.ServiceName(o.Service), semconv.ServiceVersion(o.Version)}
	if o.Instance != "" {
		attributes = append(attributes, semconv.ServiceInstanceID(o.Instance))
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(),
		resource.WithAttributes(attributes...), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return res, nil
}

// disabled reads OTEL_SDK_DISABLED; a value that is no boolean is an error rather than a guess.
func disabled() (bool, error) {
	value := strings.TrimSpace(os.Getenv("OTEL_SDK_DISABLED"))
	if value == "" {
		return false, nil
	}
	off, err := strconv.ParseBool(value)
	if err != nil {
		return false, fmt.Errorf("OTEL_SDK_DISABLED is %q, which is neither true nor false", value)
	}
	return off, nil
}

// reportTo makes the SDK log its own failures.
func reportTo(logger *slog.Logger) {
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		logger.Warn("telemetry failed", "error", err)
	}))
}
