package acceptance

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

// number returns what an environment variable asks for, or what every run takes.
func number(t *testing.T, variable string, usual int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return usual
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number", variable, text)
	}
	return n
}

// leader returns which node leads.
func leader(t *testing.T, c *client.Client, p *testcluster.Processes) int {
	t.Helper()
	nodes, err := c.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		for i, address := range p.Endpoints() {
			if n.Leader && n.Address == address {
				return i
			}
		}
	}
	t.Fatalf("nobody leads: %+v", nodes)
	return 0
}

func open(t *testing.T, endpoints []string, ttl time.Duration) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Endpoints: endpoints, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

// holdMany takes a lock in each of many sessions.
func holdMany(t *testing.T, c *client.Client, sessions int, ttl time.Duration) []*client.Lock {
	t.Helper()
	held := make([]*client.Lock, sessions)
	var wg sync.WaitGroup
	for part := range 16 {
		wg.Go(func() {
			for i := part; i < sessions; i += 16 {
				s, err := c.NewSession(t.Context(), client.SessionConfig{TTL: ttl})
				if err == nil {
					held[i], err = c.Lock(t.Context(), fmt.Sprint("many/", i), client.InSession(s))
				}
				if err != nil {
					t.Errorf("session %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return held
}

// allHeld requires that no lock was lost, by its holder and by the cluster.
func allHeld(t *testing.T, c *client.Client, held []*client.Lock) {
	t.Helper()
	lost := 0
	for _, l := range held {
		check, err := c.CheckToken(t.Context(), l.Name(), l.Token())
		if err != nil {
			t.Fatal(err)
		}
		if l.Err() != nil || check.Validity != client.TokenValid {
			if lost++; lost <= 5 {
				t.Errorf("%s: %v, its token is %v", l.Name(), l.Err(), check.Validity)
			}
		}
	}
	t.Logf("%d of %d sessions lost", lost, len(held))
}

// TestField03LeaderPaused stops the leader's process for longer than the TTL of many sessions that renew at the other nodes: none is
// lost. When it goes on it does not serve what it knew before.
func TestField03LeaderPaused(t *testing.T) {
	const ttl = 6 * time.Second
	sessions := number(t, "LOCKD_SESSIONS", 200)
	pause := time.Duration(number(t, "LOCKD_PAUSE", 8)) * time.Second
	cluster := testcluster.StartProcesses(t, 3)
	old := leader(t, open(t, cluster.Endpoints(), ttl), cluster)
	var others []string
	for i, address := range cluster.Endpoints() {
		if i != old {
			others = append(others, address)
		}
	}
	c := open(t, others, ttl)
	held := holdMany(t, c, sessions, ttl)
	cluster.Signal(old, syscall.SIGSTOP)
	over := time.NewTimer(pause)
	defer over.Stop()
	during := lock(t, c, "during")
	<-over.C
	cluster.Signal(old, syscall.SIGCONT)
	info, err := open(t, cluster.Endpoints()[old:old+1], ttl).Get(t.Context(), "during")
	if err != nil || info.Newest != during.Token() {
		t.Errorf("the node that was stopped answers %+v, %v; token %d was granted", info, err, during.Token())
	}
	allHeld(t, c, held)
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "acceptance", Layer: "process", Runs: 1, Operations: int64(sessions),
		Command: fmt.Sprintf("make acceptance SESSIONS=%d PAUSE=%d", sessions, int(pause.Seconds())),
	}, map[string]int64{"stop of the leader": 1})...)
}
