package lockd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/membership"
)

// clusterOf returns a handler whose orders are written down in told.
func clusterOf(told *[]string) http.Handler {
	return adminOf(func(o *adminOptions) {
		o.Cluster = &clusterAdmin{
			Members: func() ([]GossipMember, error) { return []GossipMember{{Name: "n1", Status: "alive"}}, nil },
			Health:  func(context.Context) (*ClusterHealth, error) { return &ClusterHealth{Leader: "n1", Margin: -1}, nil },
			Init:    func(context.Context) error { return errHasCluster },
			Join: func(_ context.Context, seed string) (string, error) {
				*told = append(*told, seed)
				return "n1 is let in", nil
			},
			Order: func(_ context.Context, order Order) (string, error) {
				*told = append(*told, fmt.Sprint(order))
				switch order.Node {
				case "n9":
					return "", fmt.Errorf("%w: %q", ErrNode, order.Node)
				case "n2":
					return "", fmt.Errorf("%w: now 2 of 3", membership.ErrQuorum)
				}
				return order.Node + " is removed", nil
			},
			Keys: func(_ context.Context, order KeyOrder) error {
				*told = append(*told, fmt.Sprint(order))
				return nil
			},
		}
	})
}

func TestHTTPOrders(t *testing.T) {
	const kind = "application/json"
	for _, test := range []struct {
		path, body   string
		kind, remote string
		host         string
		code         int
		text, told   string
	}{
		{"/cluster/order", `{"kind":"remove","node":"n3"}`, kind, "127.0.0.1:9", "127.0.0.1:7403", 200, "n3 is removed", "{remove n3 false}"},
		{"/cluster/order", `{"kind":"remove","node":"n3"}`, kind, "[::1]:9", "localhost:7403", 200, "n3 is removed", "{remove n3 false}"},
		{"/cluster/order", `{"kind":"remove","node":"n3"}`, kind, "[::1]:9", "[::1]", 200, "n3 is removed", "{remove n3 false}"},
		{"/cluster/order", `{"kind":"remove","node":"n3"}`, kind, "10.0.0.7:9", "127.0.0.1:7403", 403, "own machine only", ""},
		{"/cluster/order", `{"kind":"remove","node":"n3"}`, kind, "127.0.0.1:9", "evil.example", 403, "own machine only", ""},
		{"/cluster/order", `{"kind":"remove","node":"n3"}`, "text/plain", "127.0.0.1:9", "localhost", 415, "application/json", ""},
		{"/cluster/order", `{"kind":"remove","nodes":"n3"}`, kind, "127.0.0.1:9", "localhost", 400, "unknown field", ""},
		{"/cluster/order", `{`, kind, "127.0.0.1:9", "localhost", 400, "not understood", ""},
		{"/cluster/order", `{"kind":"remove","node":"` + strings.Repeat("x", httpBodyMax) + `"}`, kind, "127.0.0.1:9", "localhost", 400, "not understood", ""},
		{"/cluster/order", `{"kind":"remove","node":"n9"}`, kind, "127.0.0.1:9", "localhost", 404, "no such node", "{remove n9 false}"},
		{"/cluster/order", `{"kind":"remove","node":"n2"}`, kind, "127.0.0.1:9", "localhost", 409, "now 2 of 3", "{remove n2 false}"},
		{"/cluster/init", `{}`, kind, "127.0.0.1:9", "localhost", 409, "belongs to a cluster already", ""},
		{"/cluster/join", `{"seed":"n2:7402"}`, kind, "127.0.0.1:9", "localhost", 200, "n1 is let in", "n2:7402"},
		{"/cluster/join", `{"seed":"n2:7402"}`, kind, "10.0.0.7:9", "127.0.0.1:7403", 403, "own machine only", ""},
		{"/keyring", `{"kind":"use","key":"1f"}`, kind, "127.0.0.1:9", "localhost", 200, "followed", "{use 1f}"},
	} {
		var told []string
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, test.path, strings.NewReader(test.body))
		r.RemoteAddr, r.Host = test.remote, test.host
		r.Header.Set("Content-Type", test.kind)
		w := httptest.NewRecorder()
		clusterOf(&told).ServeHTTP(w, r)
		if w.Code != test.code || !strings.Contains(w.Body.String(), test.text) || strings.Join(told, "") != test.told {
			t.Errorf("%s from %s to %s: %d %q, told %v; want %d %q, %q", test.body, test.remote, test.host, w.Code, w.Body, told, test.code, test.text, test.told)
		}
	}
	var told []string
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/cluster/order", strings.NewReader(`{"kind":"remove","node":"n3"}`))
	r.RemoteAddr, r.Host = "127.0.0.1:9", "localhost"
	r.Header.Set("Content-Type", kind)
	r.Header.Set("X-Forwarded-For", "10.0.0.7")
	w := httptest.NewRecorder()
	if clusterOf(&told).ServeHTTP(w, r); w.Code != 403 || len(told) > 0 {
		t.Errorf("passed on by a proxy: %d %q", w.Code, w.Body)
	}
	for _, path := range []string{"/cluster/order", "/cluster/init", "/keyring"} {
		if w := ask(t, clusterOf(&told), "GET", path); w.Code != 405 {
			t.Errorf("GET %s: %d", path, w.Code)
		}
	}
	if w := ask(t, clusterOf(&told), "GET", "/cluster/health"); w.Code != 200 || !strings.Contains(w.Body.String(), `"margin": -1`) {
		t.Errorf("GET /cluster/health: %d %s", w.Code, w.Body)
	}
	if w := ask(t, clusterOf(&told), "GET", "/gossip"); w.Code != 200 || !strings.Contains(w.Body.String(), `"name": "n1"`) {
		t.Errorf("GET /gossip: %d %s", w.Code, w.Body)
	}
}

// TestTheEndOfALongOrderIsTold: an order that has used all its time has an end too, and who gave it hears it.
func TestTheEndOfALongOrderIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := memnet.New().Host("127.0.0.1")
		listener, err := host.Listen("127.0.0.1:7403")
		if err != nil {
			t.Fatal(err)
		}
		handler := adminOf(func(o *adminOptions) {
			o.Cluster = &clusterAdmin{Order: func(ctx context.Context, _ Order) (string, error) {
				<-ctx.Done()
				return "", fmt.Errorf("it may have been done: %w", context.Cause(ctx))
			}}
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- serveAdmin(ctx, listener, handler, slog.New(slog.DiscardHandler)) }()
		from := &http.Transport{DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return host.Dial(ctx, address) }}
		defer from.CloseIdleConnections()
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1:7403/cluster/order", strings.NewReader(`{"kind":"transfer"}`))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/json")
		r, err := (&http.Client{Transport: from}).Do(q)
		if err != nil {
			t.Fatalf("the answer is lost: %v", err)
		}
		text, err := io.ReadAll(r.Body)
		if err != nil || r.StatusCode != http.StatusConflict || !strings.Contains(string(text), "it may have been done") {
			t.Errorf("%s: %s, %v", r.Status, text, err)
		}
		_ = r.Body.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
