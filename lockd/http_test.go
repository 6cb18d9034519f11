package lockd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// adminOf returns the handler of a node that is well, changed by change.
func adminOf(change func(*adminOptions)) http.Handler {
	o := adminOptions{
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "lockd_locks 3\n") }),
		Status: func(context.Context) (NodeStatus, error) {
			return NodeStatus{Node: "a", Role: "leader", Term: 7, Leader: "a", Nodes: []NodeState{{Name: "a", Voter: true}}, Locks: 3}, nil
		},
		Ready:  func(context.Context) error { return nil },
		Save:   func(_ context.Context, w io.Writer) error { _, err := io.WriteString(w, "a snapshot"); return err },
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o)
	}
	return newAdmin(o)
}

func ask(t *testing.T, h http.Handler, method, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, path, nil))
	return w
}

func TestHTTPPaths(t *testing.T) {
	down := errors.New("no leader is known")
	for _, test := range []struct {
		method, path string
		change       func(*adminOptions)
		code         int
		body         string // a part of it
	}{
		{"GET", "/", nil, 200, "/snapshot"},
		{"GET", "/health", nil, 200, "ok"},
		{"GET", "/health", func(o *adminOptions) { o.Ready = func(context.Context) error { return down } }, 200, "ok"},
		{"GET", "/ready", nil, 200, "ready"},
		{"GET", "/ready", func(o *adminOptions) { o.Ready = func(context.Context) error { return down } }, 503, "not ready: no leader is known"},
		{"GET", "/metrics", nil, 200, "lockd_locks 3"},
		{"GET", "/metrics", func(o *adminOptions) { o.Metrics = nil }, 404, "not found"},
		{"GET", "/status", nil, 200, `"role": "leader"`},
		{"GET", "/status", func(o *adminOptions) {
			o.Status = func(context.Context) (NodeStatus, error) { return NodeStatus{}, down }
		}, 503, "no leader is known"},
		{"GET", "/snapshot", nil, 200, "a snapshot"},
		{"GET", "/snapshot", func(o *adminOptions) { o.Save = func(context.Context, io.Writer) error { return down } }, 500, "no leader is known"},
		{"HEAD", "/snapshot", func(o *adminOptions) {
			o.Save = func(context.Context, io.Writer) error { panic("a HEAD saves nothing") }
		}, 200, ""},
		{"POST", "/snapshot", nil, 405, "Method Not Allowed"},
		{"DELETE", "/status", nil, 405, "Method Not Allowed"},
		{"GET", "/nothing", nil, 404, "not found"},
		{"GET", "/debug/pprof/", nil, 404, "not found"},
		{"GET", "/debug/pprof/", func(o *adminOptions) { o.Pprof = true }, 200, "goroutine"},
		{"GET", "/debug/pprof/heap", func(o *adminOptions) { o.Pprof = true }, 200, ""},
	} {
		w := ask(t, adminOf(test.change), test.method, test.path)
		if w.Code != test.code || !strings.Contains(w.Body.String(), test.body) {
			t.Errorf("%s %s is answered %d %q; want %d and %q in it", test.method, test.path, w.Code, w.Body, test.code, test.body)
		}
	}
}

func TestHTTPStatusIsJSON(t *testing.T) {
	w := ask(t, adminOf(nil), "GET", "/status")
	var got NodeStatus
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%v, %v: %s", err, w.Header(), w.Body)
	}
	if got.Node != "a" || got.Term != 7 || len(got.Nodes) != 1 || got.Locks != 3 {
		t.Errorf("status: %+v", got)
	}
}

// TestHTTPWaitsNoLongerThanItSays for a node that does not answer.
func TestHTTPWaitsNoLongerThanItSays(t *testing.T) {
	stuck := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	h := adminOf(func(o *adminOptions) {
		o.Ready = stuck
		o.Status = func(ctx context.Context) (NodeStatus, error) { return NodeStatus{}, stuck(ctx) }
	})
	synctest.Test(t, func(t *testing.T) {
		for _, path := range []string{"/ready", "/status"} {
			began := time.Now()
			w := ask(t, h, "GET", path)
			if w.Code != 503 || !strings.Contains(w.Body.String(), errNoAnswer.Error()) || time.Since(began) != httpAskTimeout {
				t.Errorf("%s is answered %d %q after %v", path, w.Code, w.Body, time.Since(began))
			}
		}
	})
}

// serveHTTP serves on loopback until the test ends, and returns the address.
func serveHTTP(t *testing.T, h http.Handler) string {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serveAdmin(ctx, listener, h, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// TestHTTPSnapshotThatBreaksOff must not look like a whole one.
func TestHTTPSnapshotThatBreaksOff(t *testing.T) {
	address := serveHTTP(t, adminOf(func(o *adminOptions) {
		o.Save = func(_ context.Context, w io.Writer) error {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
			return errors.New("the disk failed")
		}
	}))
	r, err := http.Get("http://" + address + "/snapshot")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	if n, err := io.Copy(io.Discard, r.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the reader gets %d bytes and then %v; it must see that there is no end", n, err)
	}
}

// TestHTTPSendsOneSnapshotAtATime, as each one costs the disk.
func TestHTTPSendsOneSnapshotAtATime(t *testing.T) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	h := adminOf(func(o *adminOptions) {
		o.Save = func(_ context.Context, w io.Writer) error {
			close(begun)
			<-goOn
			_, err := io.WriteString(w, "whole")
			return err
		}
	})
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- ask(t, h, "GET", "/snapshot") }()
	<-begun
	if w := ask(t, h, "GET", "/snapshot"); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("a second one is answered %d %q", w.Code, w.Body)
	}
	close(goOn)
	if w := <-first; w.Code != 200 || w.Body.String() != "whole" {
		t.Errorf("the first one is answered %d %q", w.Code, w.Body)
	}
}

// TestHTTPConnectionsAreBounded: more than there is room for are closed, and there is room again when one goes.
func TestHTTPConnectionsAreBounded(t *testing.T) {
	inner, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newLimited(inner, 2)
	defer func() { _ = l.Close() }()
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	if n, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatalf("a third connection reads %d bytes; it should be closed", n)
	}
	_ = first.Close()
	_ = first.Close() // makes room once
	dial()
	<-accepted
	if n, err := dial().Read(make([]byte, 1)); err == nil {
		t.Fatalf("a fourth connection reads %d bytes; it should be closed", n)
	}
}

// TestHTTPEndsWithItsContext, though a client keeps its connection.
func TestHTTPEndsWithItsContext(t *testing.T) {
	address := serveHTTP(t, adminOf(nil))
	r, err := http.Get("http://" + address + "/health")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	if body, err := io.ReadAll(r.Body); err != nil || string(body) != "ok\n" {
		t.Errorf("/health: %q, %v", body, err)
	}
	// The cleanup of serveHTTP fails if serveAdmin does not return.
}
