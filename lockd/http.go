package lockd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"
)

// Bounds of the HTTP port.
const (
	httpHeaderTimeout = 5 * time.Second
	httpIdleTimeout   = time.Minute
	httpAnswerTimeout = 10 * time.Second // to write an answer; of a snapshot: each part of it
	httpProfileTime   = 5 * time.Minute  // for a profile, which takes as long as was asked for
	httpAskTimeout    = 2 * time.Second  // for the node to say how it is
	httpHeaderMax     = 16 << 10
	httpConnections   = 256
	httpDrain         = time.Second
)

// adminOptions are what an admin shows.
type adminOptions struct {
	Metrics http.Handler // nil: /metrics is not there
	Pprof   bool
	Status  func(ctx context.Context) (NodeStatus, error)
	// Ready returns why the node cannot serve; nil when it knows a leader and has applied what it had committed.
	Ready  func(ctx context.Context) error
	Save   func(ctx context.Context, w io.Writer) error
	Logger *slog.Logger
	// Cluster changes the cluster; nil: nothing can.
	Cluster *clusterAdmin
}

// admin serves the HTTP port: for probes, for Prometheus and for operators.
type admin struct {
	o      adminOptions
	saving chan struct{} // holds a token while a snapshot is sent: one at a time
}

const adminPaths = `lockd

/health    200: the process lives. Restart it otherwise, and for no other reason
/ready     200: it knows a leader and serves; 503: why not
/metrics   for Prometheus
/status    the node and its cluster, as JSON
/snapshot  a snapshot of the state, for "lockd snapshot restore"
/gossip    the nodes that this one knows by gossip, as JSON
`

// newAdmin returns the handler of the HTTP port.
func newAdmin(o adminOptions) http.Handler {
	a := &admin{o: o, saving: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", plain(func(context.Context) (string, error) { return adminPaths, nil }))
	mux.HandleFunc("GET /health", plain(func(context.Context) (string, error) { return "ok\n", nil }))
	mux.HandleFunc("GET /ready", plain(a.ready))
	mux.HandleFunc("GET /status", bounded(a.status))
	mux.HandleFunc("GET /snapshot", a.snapshot)
	if o.Cluster != nil {
		o.Cluster.routes(mux)
	}
	if o.Metrics != nil {
		mux.HandleFunc("GET /metrics", bounded(o.Metrics.ServeHTTP))
	}
	if o.Pprof {
		for path, h := range map[string]http.HandlerFunc{
			"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			mux.HandleFunc("GET /debug/pprof/"+path, within(httpProfileTime, h))
		}
	}
	return mux
}

// serveAdmin serves h on the listener until ctx ends, and closes it. Answers under way have a second to end.
func serveAdmin(ctx context.Context, listener net.Listener, h http.Handler, logger *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: httpHeaderTimeout, IdleTimeout: httpIdleTimeout, MaxHeaderBytes: httpHeaderMax,
		// Bodies are short, and answers have deadlines of their own.
		ReadTimeout: httpHeaderTimeout,
		ErrorLog:    slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), httpDrain)
		defer cancel()
		if server.Shutdown(end) != nil {
			_ = server.Close()
		}
	}()
	err := server.Serve(newLimited(listener, httpConnections))
	cancel()
	<-drained
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("lockd: serve HTTP: %w", err)
}

// bounded gives an answer its deadline.
func bounded(h http.HandlerFunc) http.HandlerFunc { return within(httpAnswerTimeout, h) }

func within(most time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		extend(w, most)
		h(w, r)
	}
}

// extend moves the deadline of the answer. What cannot have one, such as a recorder in a test, needs none.
func extend(w http.ResponseWriter, by time.Duration) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(by))
}

// plain answers with a text, or with 503 and the reason.
func plain(text func(ctx context.Context) (string, error)) http.HandlerFunc {
	return bounded(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeoutCause(r.Context(), httpAskTimeout, errNoAnswer)
		defer cancel()
		answer, err := text(ctx)
		if err != nil {
			unavailable(w, err)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, answer)
	})
}

var errNoAnswer = errors.New("the node has not answered in time: it is overloaded, or its disk is slow")

func unavailable(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}

func (a *admin) ready(ctx context.Context) (string, error) {
	if err := a.o.Ready(ctx); err != nil {
		return "", fmt.Errorf("not ready: %w", err)
	}
	return "ready\n", nil
}

func (a *admin) status(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeoutCause(r.Context(), httpAskTimeout, errNoAnswer)
	defer cancel()
	status, err := a.o.Status(ctx)
	if err != nil {
		unavailable(w, err)
		return
	}
	writeJSON(w, status)
}

// snapshot streams a snapshot. An answer that breaks off is no snapshot: the connection is cut then, and the stream has no end.
func (a *admin) snapshot(w http.ResponseWriter, r *http.Request) {
	select {
	case a.saving <- struct{}{}:
		defer func() { <-a.saving }()
	default:
		w.Header().Set("Retry-After", "10")
		unavailable(w, errors.New("another snapshot is being sent; try again when it is over"))
		return
	}
	if r.Method == http.MethodHead {
		return
	}
	to := &stream{w: w}
	if err := a.o.Save(r.Context(), to); err != nil {
		a.o.Logger.WarnContext(r.Context(), "a snapshot could not be sent", "to", r.RemoteAddr, "bytes", to.sent, "error", err)
		if to.sent > 0 {
			panic(http.ErrAbortHandler) // the only way to tell a reader that has a part of it
		}
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	a.o.Logger.InfoContext(r.Context(), "snapshot sent", "to", r.RemoteAddr, "bytes", to.sent)
}

// stream is an answer of unknown length that may take long, as long as its reader goes on.
type stream struct {
	w    http.ResponseWriter
	sent int64
}

func (s *stream) Write(b []byte) (int, error) {
	if s.sent == 0 {
		s.w.Header().Set("Content-Type", "application/octet-stream")
		s.w.Header().Set("Content-Disposition", `attachment; filename="lockd.snapshot"`)
	}
	extend(s.w, httpAnswerTimeout)
	n, err := s.w.Write(b)
	s.sent += int64(n)
	return n, err
}
