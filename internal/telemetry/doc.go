// Package telemetry sets up the OpenTelemetry SDK for a program: traces, metrics and logs. All other packages use the API only and
// get their providers from here through their Configs.
//
//	t, err := telemetry.Setup(ctx, telemetry.Options{Service: "lockd", Version: version, Logs: slog.NewTextHandler(os.Stderr, nil)})
//	if err != nil { … }
//	defer t.Shutdown(context.WithoutCancel(ctx))
//
// # What decides
//
// The standard environment variables do: OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER (otlp, console, none;
// metrics also prometheus, which listens on a port of its own), OTEL_EXPORTER_OTLP_* (endpoint, protocol, headers, certificate,
// timeout), OTEL_TRACES_SAMPLER and its _ARG, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*, OTEL_METRIC_EXPORT_INTERVAL.
// Unlike the SDK's own, the defaults of this package cost nothing: the exporter is *none*, and with one the sampler is
// parentbased_traceidratio of one in a hundred. OTEL_SDK_DISABLED=true turns all of it off.
//
// The page for Prometheus is there always, beside whatever is pushed: metrics of the program, of the Go runtime and of the process;
// with OTEL_SDK_DISABLED the last two only. It shows exemplars to a reader that asks for OpenMetrics.
//
// # Concurrency
//
// Everything is safe for concurrent use. A collector that does not answer never holds up who records: what does not fit the queue
// is dropped, and Shutdown waits for no longer than ShutdownMax.
package telemetry
