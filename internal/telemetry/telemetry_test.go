package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/lockd/lockd/internal/telemetry"
	"github.com/lockd/lockd/internal/telemetry/otlptest"
)

// environ clears what the environment of the test may say, and sets what the test wants.
func environ(t *testing.T, set map[string]string) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OTEL_") {
			t.Setenv(name, "")
		}
	}
	for name, value := range set {
		t.Setenv(name, value)
	}
}

func setup(t *testing.T, o telemetry.Options) *telemetry.Telemetry {
	t.Helper()
	got, err := telemetry.Setup(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = got.Shutdown(context.Background()) })
	return got
}

func get(t *testing.T, h http.Handler, accept string) string {
	t.Helper()
	q := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	q.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, q)
	if w.Code != http.StatusOK {
		t.Fatalf("the page answers %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// TestExportersReachARealReceiver sends a span, a metric and a log record over each protocol and finds them at the other end, with the
// names that the program and the environment gave.
func TestExportersReachARealReceiver(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(strings.ReplaceAll(protocol, "/", "+"), func(t *testing.T) {
			receiver := otlptest.Start(t)
			endpoint := receiver.HTTP
			if protocol == "grpc" {
				endpoint = "http://" + receiver.GRPC
			}
			environ(t, map[string]string{
				"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp",
				"OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
				"OTEL_TRACES_SAMPLER": "always_on", "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
			})
			got := setup(t, telemetry.Options{Service: "lockd", Version: "1.2.3", Instance: "a", Logs: slog.NewTextHandler(new(bytes.Buffer), nil)})
			ctx, parent := got.TracerProvider.Tracer("test").Start(t.Context(), "parent")
			_, child := got.TracerProvider.Tracer("test").Start(ctx, "child", trace.WithSpanKind(trace.SpanKindServer),
				trace.WithLinks(trace.Link{SpanContext: parent.SpanContext(), Attributes: []attribute.KeyValue{attribute.String("lockd.link", "blocked_by")}}))
			count, err := got.MeterProvider.Meter("test").Int64Counter("lockd.test.count")
			if err != nil {
				t.Fatal(err)
			}
			count.Add(ctx, 1)
			got.Logger.InfoContext(ctx, "it happened", "what", "this")
			got.Logger.DebugContext(ctx, "below the level of the handler")
			child.End()
			parent.End()
			if err := got.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			checkSpans(t, receiver.Spans(), parent.SpanContext(), child.SpanContext())
			if list := receiver.Metrics(); len(list) != 1 || list[0].Name != "lockd.test.count" {
				t.Errorf("metrics received: %+v", list)
			}
			list := receiver.Logs()
			if len(list) != 1 || list[0].Text != "it happened" || list[0].Attributes["what"] != "this" || list[0].TraceID != parent.SpanContext().TraceID().String() {
				t.Errorf("logs received: %+v", list)
			}
		})
	}
}

func checkSpans(t *testing.T, spans []otlptest.Span, parent, child trace.SpanContext) {
	t.Helper()
	if len(spans) != 2 || spans[0].Name != "child" || spans[1].Name != "parent" {
		t.Fatalf("spans received: %+v", spans)
	}
	got := spans[0]
	if got.TraceID != parent.TraceID().String() || got.Parent != parent.SpanID().String() || got.ID != child.SpanID().String() || got.Kind != "SERVER" {
		t.Errorf("the child does not hang on its parent: %+v", got)
	}
	if len(got.Links) != 1 || got.Links[0].ID != parent.SpanID().String() || got.Links[0].Attributes["lockd.link"] != "blocked_by" {
		t.Errorf("links received: %+v", got.Links)
	}
	for name, want := range map[string]string{
		"service.name": "lockd", "service.version": "1.2.3", "service.instance.id": "a", "deployment.environment.name": "test",
	} {
		if got.Resource[name] != want {
			t.Errorf("resource: %s is %q, want %q", name, got.Resource[name], want)
		}
	}
}

// TestTheEnvironmentNamesTheService because who runs the program knows best.
func TestTheEnvironmentNamesTheService(t *testing.T) {
	receiver := otlptest.Start(t)
	environ(t, map[string]string{
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.HTTP, "OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "locks-eu",
	})
	got := setup(t, telemetry.Options{Service: "lockd"})
	_, span := got.TracerProvider.Tracer("test").Start(t.Context(), "one")
	span.End()
	if err := got.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if spans := receiver.Spans(); len(spans) != 1 || spans[0].Resource["service.name"] != "locks-eu" {
		t.Errorf("spans received: %+v", spans)
	}
}

func TestNothingIsExportedByDefault(t *testing.T) {
	environ(t, nil)
	got := setup(t, telemetry.Options{Service: "lockd"})
	_, span := got.TracerProvider.Tracer("test").Start(t.Context(), "one")
	if span.IsRecording() || span.SpanContext().IsValid() {
		t.Error("a span is recorded though nobody asked for one")
	}
}

func TestDefaultSampler(t *testing.T) {
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
	for _, test := range []struct {
		name     string
		argument string
		parent   trace.SpanContext
		kept     func(int) bool // of 10,000
	}{
		{"one in a hundred of those that begin here", "", trace.SpanContext{}, func(n int) bool { return n > 20 && n < 400 }},
		{"as many as the argument says", "0.5", trace.SpanContext{}, func(n int) bool { return n > 4000 && n < 6000 }},
		{"all that are kept elsewhere", "", parent, func(n int) bool { return n == 10_000 }},
	} {
		t.Run(test.name, func(t *testing.T) {
			receiver := otlptest.Start(t)
			environ(t, map[string]string{
				"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.HTTP, "OTEL_TRACES_SAMPLER_ARG": test.argument,
			})
			tracer := setup(t, telemetry.Options{Service: "lockd"}).TracerProvider.Tracer("test")
			ctx, n := trace.ContextWithSpanContext(t.Context(), test.parent), 0
			for range 10_000 {
				_, span := tracer.Start(ctx, "one")
				if span.SpanContext().IsSampled() {
					n++
				}
			}
			if !test.kept(n) {
				t.Errorf("%d of 10,000 were kept", n)
			}
		})
	}
}

func TestMistakesInTheEnvironmentAreNamed(t *testing.T) {
	for _, test := range []struct{ variable, value, want string }{
		{"OTEL_TRACES_EXPORTER", "jaeger", `OTEL_TRACES_EXPORTER="jaeger": unknown exporter`},
		{"OTEL_METRICS_EXPORTER", "statsd", `OTEL_METRICS_EXPORTER="statsd": unknown exporter`},
		{"OTEL_LOGS_EXPORTER", "syslog", `OTEL_LOGS_EXPORTER="syslog": unknown exporter`},
		{"OTEL_SDK_DISABLED", "maybe", `OTEL_SDK_DISABLED is "maybe", which is neither true nor false`},
		{"OTEL_TRACES_SAMPLER", "often", `OTEL_TRACES_SAMPLER is "often"; known are always_on`},
		{"OTEL_TRACES_SAMPLER_ARG", "1.5", `OTEL_TRACES_SAMPLER_ARG is "1.5"; it must be a number from 0 to 1`},
		{"OTEL_RESOURCE_ATTRIBUTES", "nothing", `OTEL_RESOURCE_ATTRIBUTES: `},
		{"OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", `invalid OTLP protocol`},
	} {
		t.Run(test.variable, func(t *testing.T) {
			set := map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
			set[test.variable] = test.value
			environ(t, set)
			if _, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "lockd"}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Setup says %v; want %s", err, test.want)
			}
		})
	}
}

// TestThePageIsThereWithoutAnyVariable and shows metrics under the names that Prometheus expects.
func TestThePageIsThereWithoutAnyVariable(t *testing.T) {
	environ(t, nil)
	got := setup(t, telemetry.Options{Service: "lockd", Version: "1.2.3"})
	histogram, err := got.MeterProvider.Meter("test").Float64Histogram("lockd.lock.wait.duration", metric.WithUnit("s"))
	if err != nil {
		t.Fatal(err)
	}
	histogram.Record(t.Context(), 0.003, metric.WithAttributes(attribute.String("lockd.lock.class", "jobs/")))
	text := get(t, got.Metrics, "text/plain")
	for _, want := range []string{
		`lockd_lock_wait_duration_seconds_count{lockd_lock_class="jobs/"} 1`, `service_version="1.2.3"`, "go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestThePageShowsExemplars: from a slow bucket one gets to a trace.
func TestThePageShowsExemplars(t *testing.T) {
	receiver := otlptest.Start(t)
	environ(t, map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.HTTP, "OTEL_TRACES_SAMPLER": "always_on"})
	got := setup(t, telemetry.Options{Service: "lockd"})
	histogram, err := got.MeterProvider.Meter("test").Float64Histogram("lockd.lock.wait.duration", metric.WithUnit("s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := got.TracerProvider.Tracer("test").Start(t.Context(), "wait")
	histogram.Record(ctx, 0.003)
	if text := get(t, got.Metrics, "application/openmetrics-text"); !strings.Contains(text, `trace_id="`+span.SpanContext().TraceID().String()) {
		t.Errorf("no exemplar of the span on the page:\n%s", text)
	}
}

func TestDisabled(t *testing.T) {
	receiver := otlptest.Start(t)
	environ(t, map[string]string{"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.HTTP, "OTEL_TRACES_SAMPLER": "always_on"})
	got := setup(t, telemetry.Options{Service: "lockd"})
	_, span := got.TracerProvider.Tracer("test").Start(t.Context(), "one")
	if span.IsRecording() {
		t.Error("a span is recorded")
	}
	span.End()
	count, err := got.MeterProvider.Meter("test").Int64Counter("lockd.test.count")
	if err != nil {
		t.Fatal(err)
	}
	count.Add(t.Context(), 1)
	if text := get(t, got.Metrics, "text/plain"); strings.Contains(text, "lockd_") || !strings.Contains(text, "go_goroutines ") {
		t.Errorf("the page should show the runtime and nothing else:\n%s", text)
	}
	if err := got.Shutdown(t.Context()); err != nil || len(receiver.Spans()) != 0 {
		t.Errorf("shutdown: %v; %d spans arrived", err, len(receiver.Spans()))
	}
}

// TestADeadCollectorHoldsNobodyUp: one that takes connections and never answers.
func TestADeadCollectorHoldsNobodyUp(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	environ(t, map[string]string{
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + listener.Addr().String(), "OTEL_TRACES_SAMPLER": "always_on",
	})
	got := setup(t, telemetry.Options{Service: "lockd"})
	for range 10_000 { // more than the queue holds
		_, span := got.TracerProvider.Tracer("test").Start(t.Context(), "one")
		span.End()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := got.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown ends with %v, want %v", err, context.DeadlineExceeded)
	}
}

// TestFailuresOfTheSDKAreLogged, where an operator looks.
func TestFailuresOfTheSDKAreLogged(t *testing.T) {
	environ(t, map[string]string{
		"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_SAMPLER": "always_on",
		"OTEL_EXPORTER_OTLP_TIMEOUT": "100", "OTEL_BSP_SCHEDULE_DELAY": "1",
	})
	told := make(chan string, 16)
	got := setup(t, telemetry.Options{Service: "lockd", Logs: slog.NewTextHandler(lines(told), nil)})
	_, span := got.TracerProvider.Tracer("test").Start(t.Context(), "one")
	span.End()
	for line := range told { // the SDK's place for failures is the process's: those of a collector of another test may come here too
		if strings.Contains(line, `level=WARN msg="telemetry failed" error=`) && strings.Contains(line, "127.0.0.1:1:") {
			return
		}
	}
}

type lines chan string

func (l lines) Write(b []byte) (int, error) {
	select {
	case l <- string(b):
	default: // the test has seen enough
	}
	return len(b), nil
}

func TestLogHandlerAddsTheSpan(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(telemetry.LogHandler(slog.NewJSONHandler(&out, nil)))
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{0xab}, SpanID: trace.SpanID{0xcd}})
	logger.InfoContext(trace.ContextWithSpanContext(t.Context(), span), "with")
	logger.InfoContext(t.Context(), "without")
	var with, without map[string]any
	decoder := json.NewDecoder(&out)
	if err := errors.Join(decoder.Decode(&with), decoder.Decode(&without)); err != nil {
		t.Fatal(err)
	}
	if with["trace_id"] != span.TraceID().String() || with["span_id"] != span.SpanID().String() {
		t.Errorf("logged inside a span: %v", with)
	}
	if _, ok := without["trace_id"]; ok {
		t.Errorf("logged outside any span: %v", without)
	}
}

func TestLogHandlerIsAHandler(t *testing.T) {
	var out bytes.Buffer
	results := func() []map[string]any {
		var all []map[string]any
		for decoder := json.NewDecoder(&out); ; {
			var one map[string]any
			if err := decoder.Decode(&one); err != nil {
				return all
			}
			all = append(all, one)
		}
	}
	if err := slogtest.TestHandler(telemetry.LogHandler(slog.NewJSONHandler(&out, nil)), results); err != nil {
		t.Error(err)
	}
}
