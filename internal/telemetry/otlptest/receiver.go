package otlptest

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	logspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	spanpb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// bodyMax bounds one request.
const bodyMax = 16 << 20

// Receiver keeps what was sent to it.
type Receiver struct {
	GRPC string // address, host:port
	HTTP string // address, http://host:port

	mu      sync.Mutex
	spans   []Span
	metrics []Metric
	logs    []Log
}

// Span is one span as it arrived. Ids are in hexadecimal; Parent is empty for a root.
type Span struct {
	Resource              map[string]string
	Scope, Name, Kind     string // Kind: INTERNAL, SERVER, CLIENT, …
	TraceID, ID, Parent   string
	Start, End            time.Time
	Attributes            map[string]string
	Links                 []Link
	Events                []string
	Status, StatusMessage string // Status: UNSET, OK, ERROR
}

// Link is a link of a span to another one.
type Link struct {
	TraceID, ID string
	Attributes  map[string]string
}

// Metric is one metric as it arrived.
type Metric struct {
	Resource   map[string]string
	Name, Unit string
}

// Log is one log record as it arrived.
type Log struct {
	Resource    map[string]string
	Text        string
	TraceID, ID string
	Attributes  map[string]string
}

// Start starts both servers.
func Start(tb testing.TB) *Receiver {
	tb.Helper()
	r := new(Receiver)
	listener, err := new(net.ListenConfig).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	server := grpc.NewServer()
	tracepb.RegisterTraceServiceServer(server, traces{r: r})
	metricspb.RegisterMetricsServiceServer(server, metrics{r: r})
	logspb.RegisterLogsServiceServer(server, logs{r: r})
	var served sync.WaitGroup
	served.Go(func() { _ = server.Serve(listener) })
	web := httptest.NewServer(r.handler())
	tb.Cleanup(func() {
		server.Stop()
		served.Wait()
		web.Close()
	})
	r.GRPC, r.HTTP = listener.Addr().String(), web.URL
	return r
}

// Spans returns all spans that have arrived, in the order of their arrival.
func (r *Receiver) Spans() []Span { return kept(r, &r.spans) }

// Metrics returns all metrics that have arrived.
func (r *Receiver) Metrics() []Metric { return kept(r, &r.metrics) }

// Logs returns all log records that have arrived.
func (r *Receiver) Logs() []Log { return kept(r, &r.logs) }

func kept[T any](r *Receiver, list *[]T) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]T(nil), *list...)
}

type traces struct {
	tracepb.UnimplementedTraceServiceServer
	r *Receiver
}

func (t traces) Export(_ context.Context, m *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	t.r.addSpans(m)
	return &tracepb.ExportTraceServiceResponse{}, nil
}

type metrics struct {
	metricspb.UnimplementedMetricsServiceServer
	r *Receiver
}

func (t metrics) Export(_ context.Context, m *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	t.r.addMetrics(m)
	return &metricspb.ExportMetricsServiceResponse{}, nil
}

type logs struct {
	logspb.UnimplementedLogsServiceServer
	r *Receiver
}

func (t logs) Export(_ context.Context, m *logspb.ExportLogsServiceRequest) (*logspb.ExportLogsServiceResponse, error) {
	t.r.addLogs(m)
	return &logspb.ExportLogsServiceResponse{}, nil
}

// handler is OTLP over HTTP with protobuf, compressed or not.
func (r *Receiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", post(r.addSpans))
	mux.HandleFunc("POST /v1/metrics", post(r.addMetrics))
	mux.HandleFunc("POST /v1/logs", post(r.addLogs))
	return mux
}

func post[M any, P interface {
	*M
	proto.Message
}](add func(P),
) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		var body io.Reader = http.MaxBytesReader(w, q.Body, bodyMax)
		if q.Header.Get("Content-Encoding") == "gzip" {
			plain, err := gzip.NewReader(body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			body = io.LimitReader(plain, bodyMax)
		}
		data, err := io.ReadAll(body)
		message := P(new(M))
		if err == nil {
			err = proto.Unmarshal(data, message)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		add(message)
		w.Header().Set("Content-Type", "application/x-protobuf") // and an empty body: an empty message
	}
}

func (r *Receiver) addSpans(m *tracepb.ExportTraceServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range m.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, span(of.GetResource(), scope.GetScope().GetName(), s))
			}
		}
	}
}

func (r *Receiver) addMetrics(m *metricspb.ExportMetricsServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range m.GetResourceMetrics() {
		for _, scope := range of.GetScopeMetrics() {
			for _, one := range scope.GetMetrics() {
				r.metrics = append(r.metrics, Metric{Resource: resource(of.GetResource()), Name: one.GetName(), Unit: one.GetUnit()})
			}
		}
	}
}

func (r *Receiver) addLogs(m *logspb.ExportLogsServiceRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range m.GetResourceLogs() {
		for _, scope := range of.GetScopeLogs() {
			for _, one := range scope.GetLogRecords() {
				r.logs = append(r.logs, Log{
					Resource: resource(of.GetResource()), Text: one.GetBody().GetStringValue(), Attributes: attributes(one.GetAttributes()),
					TraceID: hex.EncodeToString(one.GetTraceId()), ID: hex.EncodeToString(one.GetSpanId()),
				})
			}
		}
	}
}

func span(of *resourcepb.Resource, scope string, s *spanpb.Span) Span {
	got := Span{
		Resource: resource(of), Scope: scope, Name: s.GetName(), Kind: s.GetKind().String()[len("SPAN_KIND_"):],
		TraceID: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()), Parent: hex.EncodeToString(s.GetParentSpanId()),
		Start: moment(s.GetStartTimeUnixNano()), End: moment(s.GetEndTimeUnixNano()), Attributes: attributes(s.GetAttributes()),
		Status: s.GetStatus().GetCode().String()[len("STATUS_CODE_"):], StatusMessage: s.GetStatus().GetMessage(),
	}
	for _, l := range s.GetLinks() {
		got.Links = append(got.Links, Link{
			TraceID: hex.EncodeToString(l.GetTraceId()), ID: hex.EncodeToString(l.GetSpanId()), Attributes: attributes(l.GetAttributes()),
		})
	}
	for _, e := range s.GetEvents() {
		got.Events = append(got.Events, e.GetName())
	}
	return got
}

func moment(nanoseconds uint64) time.Time { return time.Unix(0, int64(nanoseconds)) }

func resource(of *resourcepb.Resource) map[string]string { return attributes(of.GetAttributes()) }

func attributes(list []*commonpb.KeyValue) map[string]string {
	m := make(map[string]string, len(list))
	for _, a := range list {
		m[a.GetKey()] = text(a.GetValue())
	}
	return m
}

// text returns a value as a person would write it.
func text(v *commonpb.AnyValue) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonpb.AnyValue_ArrayValue:
		var list []string
		for _, one := range v.ArrayValue.GetValues() {
			list = append(list, text(one))
		}
		return strings.Join(list, ",")
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	default:
		return ""
	}
}
