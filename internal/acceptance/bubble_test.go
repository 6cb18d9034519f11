package acceptance

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

func TestMain(m *testing.M) { main(m) }

// bubble runs a test against three nodes on fake time.
func bubble(t *testing.T, f func(t *testing.T, c *testcluster.Cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, testcluster.StartBubble(t, 3)) })
}

// runs returns how often to repeat; LOCKD_RUNS asks for more than the few that every run takes.
func runs(t *testing.T, few int) int {
	t.Helper()
	text := os.Getenv("LOCKD_RUNS")
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("LOCKD_RUNS=%q is not a number of runs", text)
	}
	return n
}

// record tells the scorecard what a test of this package has done in whole nodes that share a process.
func record(t *testing.T, total reliability.Run, faults map[string]int64) {
	t.Helper()
	total.Target, total.Layer = t.Name(), "cluster"
	total.Command = fmt.Sprintf("LOCKD_RUNS=%d go test ./internal/acceptance -run '^%s$'", total.Runs, t.Name())
	reliability.Record(t, reliability.Each(total, faults)...)
}

// dialFrom returns a client on a host of its own.
func dialFrom(t *testing.T, c *testcluster.Cluster, host string, ttl time.Duration, with ...func(*client.Config)) *client.Client {
	t.Helper()
	config := client.Config{Endpoints: c.Endpoints(), TTL: ttl, Identity: host, Dial: c.Net.Host(host).Dial}
	for _, f := range with {
		f(&config)
	}
	cl, err := client.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := cl.Close(ctx); err != nil {
			t.Errorf("close the client of %s: %v", host, err)
		}
	})
	return cl
}

func lock(t *testing.T, c *client.Client, name string) *client.Lock {
	t.Helper()
	l, err := c.Lock(t.Context(), name)
	if err != nil {
		t.Fatalf("lock %s: %v", name, err)
	}
	return l
}

func unlock(t *testing.T, l *client.Lock) {
	t.Helper()
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatalf("unlock %s: %v", l.Name(), err)
	}
}

func get(t *testing.T, c *client.Client, name string) client.LockInfo {
	t.Helper()
	info, err := c.Get(t.Context(), name)
	if err != nil {
		t.Fatalf("get %s: %v", name, err)
	}
	return info
}

// cut separates a host from all nodes, or heals that.
func cut(c *testcluster.Cluster, host string, heal bool) {
	for i := range 3 {
		if heal {
			c.Net.Heal(host, c.Name(i))
		} else {
			c.Net.Cut(host, c.Name(i))
		}
	}
}

// ended returns a channel that brings the moment at which a lock's context ended.
func ended(l *client.Lock) <-chan time.Time {
	at := make(chan time.Time, 1)
	context.AfterFunc(l.Context(), func() { at <- time.Now() })
	return at
}

// pending is a Lock call that goes on.
type pending struct {
	lock *client.Lock
	err  error
	at   time.Time
	done chan struct{}
}

func begin(ctx context.Context, c *client.Client, name string, opts ...client.Option) *pending {
	p := &pending{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.lock, p.err = c.Lock(ctx, name, opts...)
		p.at = time.Now()
	}()
	return p
}

func (p *pending) wait(t *testing.T) *client.Lock {
	t.Helper()
	<-p.done
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.lock
}
