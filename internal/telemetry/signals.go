package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// sampleRatio is the part of the traces that begin here which are kept, if the environment does not say.
const sampleRatio = 0.01

// scope names what records logs through the bridge.
const scope = "github.com/lockd/lockd"

func (t *Telemetry) setTraces(ctx context.Context, res *resource.Resource) error {
	exporter, err := autoexport.NewSpanExporter(ctx, autoexport.WithFallbackSpanExporter(none[sdktrace.SpanExporter]))
	if err != nil {
		return wrong("OTEL_TRACES_EXPORTER", err)
	}
	if exporter == nil || autoexport.IsNoneSpanExporter(exporter) {
		return nil
	}
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(res), sdktrace.WithBatcher(exporter)}
	sampler, err := sampler()
	if err != nil {
		return err
	}
	if sampler != nil {
		options = append(options, sdktrace.WithSampler(sampler))
	}
	provider := sdktrace.NewTracerProvider(options...)
	t.TracerProvider = provider
	t.stop = append(t.stop, provider.Shutdown)
	return nil
}

// setMetrics makes one provider with two readers: the page's, and the exporter's if there is one.
func (t *Telemetry) setMetrics(ctx context.Context, res *resource.Resource, registry *prometheus.Registry) error {
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return fmt.Errorf("set up the page for Prometheus: %w", err)
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(reader)}
	pushed, err := autoexport.NewMetricReader(ctx, autoexport.WithFallbackMetricReader(none[sdkmetric.Reader]))
	if err != nil {
		return wrong("OTEL_METRICS_EXPORTER", err)
	}
	if pushed != nil && !autoexport.IsNoneMetricReader(pushed) {
		options = append(options, sdkmetric.WithReader(pushed))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.MeterProvider = provider
	t.stop = append(t.stop, provider.Shutdown)
	return nil
}

// setLogs lets the logger write to the exporter too, if there is one.
func (t *Telemetry) setLogs(ctx context.Context, res *resource.Resource, o Options) error {
	exporter, err := autoexport.NewLogExporter(ctx, autoexport.WithFallbackLogExporter(none[sdklog.Exporter]))
	if err != nil {
		return wrong("OTEL_LOGS_EXPORTER", err)
	}
	if exporter == nil || autoexport.IsNoneLogExporter(exporter) {
		return nil
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	bridge := otelslog.NewHandler(scope, otelslog.WithLoggerProvider(provider), otelslog.WithVersion(o.Version))
	local := LogHandler(o.logs())
	t.Logger = slog.New(slog.NewMultiHandler(local, atLevelOf{bridge, local}))
	t.stop = append(t.stop, provider.Shutdown)
	return nil
}

// none is the exporter when the environment names none.
func none[T any](context.Context) (T, error) {
	var nothing T
	return nothing, nil
}

// wrong says which variable an exporter could not be made from.
func wrong(variable string, err error) error {
	if value := os.Getenv(variable); value != "" {
		variable += "=" + strconv.Quote(value)
	}
	return fmt.Errorf("%s: %w", variable, err)
}

// sampler returns the sampler of this package if the environment names none, and nil if it names one, which the SDK then takes. The
// SDK answers a mistake there by keeping every trace; here it is an error.
func sampler() (sdktrace.Sampler, error) {
	const name, argument = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	kind := strings.ToLower(strings.TrimSpace(os.Getenv(name)))
	known := []string{"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"}
	if kind != "" && !slices.Contains(known, kind) {
		return nil, fmt.Errorf("%s is %q; known are %s", name, kind, strings.Join(known, ", "))
	}
	ratio := sampleRatio
	if value := strings.TrimSpace(os.Getenv(argument)); value != "" && (kind == "" || strings.HasSuffix(kind, "traceidratio")) {
		var err error
		if ratio, err = strconv.ParseFloat(value, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
			return nil, fmt.Errorf("%s is %q; it must be a number from 0 to 1", argument, value)
		}
	}
	if kind != "" {
		return nil, nil //nolint:nilnil // no sampler, no mistake: the SDK reads the environment itself
	}
	return sdktrace.ParentBased(sdktrace.TraceIDRatioBased(ratio)), nil
}
