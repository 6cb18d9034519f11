package rolling

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
)

// rounds returns how often the long form is to be done; 0: only the short form, once.
func rounds(t *testing.T) int {
	t.Helper()
	text := os.Getenv("LOCKD_ROLLING")
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("LOCKD_ROLLING=%q is not a number of rounds", text)
	}
	return n
}

func record(t *testing.T, target, command string, n int, requests int64, faults map[string]int64) {
	t.Helper()
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: target, Layer: "process", Runs: int64(n), Operations: requests, Command: command,
	}, faults)...)
}

// TestRestart restarts the nodes one after the other under load, as an upgrade does, once by SIGTERM and once by SIGKILL. No request
// fails, and what is held stays held.
func TestRestart(t *testing.T) {
	t.Parallel()
	n, nodes := rounds(t), 5
	if n == 0 {
		n, nodes = 1, 3
	}
	f := newFleet(t, nodes, true)
	f.found()
	l := startLoad(t, clientsOf(f.machines))
	l.more()
	for range n {
		for _, stop := range []func(*machine){f.terminate, f.kill} {
			for _, m := range f.machines {
				stop(m)
				l.more() // by the others
				f.start(m)
				f.awaitWell(m)
				l.more()
			}
		}
	}
	requests := l.finish()
	t.Logf("%d restarts of %d nodes, %d requests", 2*n*nodes, nodes, requests)
	record(t, "rolling", fmt.Sprintf("make rolling ROUNDS=%d", n), n, requests, map[string]int64{"rolling restart": int64(n * nodes), "kill of a node": int64(n * nodes)})
}

// TestReplace replaces every machine of the beginning by a new one with an address of its own: it joins by one living address, and once
// it votes the old one leaves, by its own stop or by an order. Clients that were told the first addresses only go along.
func TestReplace(t *testing.T) {
	n, nodes := rounds(t), 5
	if n == 0 {
		t.Skip("a new node proves itself for ten seconds before it votes: make rolling")
	}
	f := newFleet(t, nodes, true)
	for _, m := range f.machines {
		m.flags = append(m.flags, "--leave-on-terminate")
	}
	f.found()
	first := f.machines[:nodes:nodes]
	l := startLoad(t, clientsOf(first))
	l.more()
	present, replaced := first, 0
	for range n {
		for i := range nodes {
			old, living := present[i], present[(i+1)%nodes]
			next := f.add(fmt.Sprintf("n%d", len(f.machines)+1), "--join", living.address("7402"), "--leave-on-terminate")
			f.start(next)
			f.awaitReady(next)
			f.awaitVoters(append(slices.Clone(present), next)...)
			f.awaitWell(next)
			l.more()
			if i%2 == 0 {
				f.terminate(old)
			} else {
				f.must(f.run("cluster", "remove", old.name, "--http", old.http()))
				l.more() // while the old one runs on
				f.terminate(old)
			}
			present = slices.Clone(present)
			present[i] = next
			f.awaitVoters(present...)
			f.awaitWell(next)
			l.more()
			replaced++
		}
	}
	late(t, first[0], present[0])
	requests := l.finish()
	t.Logf("%d machines replaced, %d requests", replaced, requests)
	record(t, "rolling", fmt.Sprintf("make rolling ROUNDS=%d", n), n, requests, map[string]int64{"voter replaced": int64(replaced)})
}

// late requires that a client which is told an address where nobody is any more says so, and that one which is told a new one works.
func late(t *testing.T, gone, there *machine) {
	t.Helper()
	for _, m := range []*machine{gone, there} {
		c, err := client.New(client.Config{Endpoints: []string{m.client()}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		lock, err := c.Lock(ctx, "late")
		cancel()
		switch {
		case m == there && err != nil:
			t.Errorf("a new client with the address of %s: %v", m.name, err)
		case m == there:
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		case !errors.Is(err, client.ErrUnavailable) || !strings.Contains(err.Error(), m.client()):
			t.Errorf("a new client with the address of %s, which is gone: %v; it does not tell that nobody is at %s", m.name, err, m.client())
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		if err := c.Close(ctx); m == there && err != nil {
			t.Error(err)
		}
		cancel()
	}
}
