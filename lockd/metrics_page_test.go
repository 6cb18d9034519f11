package lockd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

const metricsFile = "../docs/METRICS.md"

// everything makes every instrument show itself, with every attribute it may have.
func everything(t *testing.T, m *metrics) {
	t.Helper()
	failed := errors.New("failed")
	f, n, r := m.frontEvents(), m.tenureEvents(), m.replicaEvents()
	n.Began(1, 0)
	m.applied(replica.Applied{Timings: []locktable.Timing{{Code: locktable.Granted}, {How: locktable.Expired}}})
	m.standing(raft.Standing{Term: 1, Leader: raft.PeerID{Node: 1}})
	m.slowWrite()
	m.snapshot(true, failed)
	_ = m.storage(failing{}).Write(nil)
	n.Expired(1)
	n.Round(1, failed)
	n.Late(1)
	n.Unfit()
	n.Command(1, 1)
	r.Flushed(1, 1)
	r.Delayed(1)
	r.Kept(1, failed)
	f.Connections(1, 1)
	f.Goodbye(wire.OutOfStep)
	f.Request(front.Request{Type: wire.TypeAcquire, Code: wire.Overloaded})
	f.Malformed(wire.TypeAcquire)
	f.KeepAlives(1)
	f.Forwarded(1)
	f.NoQuorum(time.Second)
	stop, err := m.observe(observed{
		Table: func(f func(*locktable.Table)) { f(locktable.NewTable()) },
		Status: func(context.Context) (raft.Status, raft.Index, error) {
			return raft.Status{Peers: []raft.PeerStatus{{ID: raft.PeerID{Node: 2}}}}, 0, nil
		},
		Name:   func(raft.PeerID) string { return "n2" },
		Free:   func() (uint64, error) { return 0, nil },
		Gossip: new(membership.Gossip),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stop() })
}

var (
	helpLine = regexp.MustCompile(`^# HELP (\w+) (.*)`)
	typeLine = regexp.MustCompile(`^# TYPE (\w+) (\w+)`)
	label    = regexp.MustCompile(`(\w+)="`)
)

// metricsTable is what the page for Prometheus tells of itself.
func metricsTable(page string) string {
	type entry struct {
		kind, help string
		labels     map[string]bool
	}
	all := make(map[string]*entry)
	of := func(name string) *entry {
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if e := all[strings.TrimSuffix(name, suffix)]; e != nil {
				return e
			}
		}
		if all[name] == nil {
			all[name] = &entry{labels: make(map[string]bool)}
		}
		return all[name]
	}
	for line := range strings.Lines(page) {
		if m := helpLine.FindStringSubmatch(line); m != nil {
			of(m[1]).help = m[2]
		} else if m := typeLine.FindStringSubmatch(line); m != nil {
			of(m[1]).kind = m[2]
		} else {
			name, rest, _ := strings.Cut(line, "{")
			for _, m := range label.FindAllStringSubmatch(rest, -1) {
				if m[1] != "le" {
					of(name).labels[m[1]] = true
				}
			}
		}
	}
	var b strings.Builder
	b.WriteString("| name | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if e := all[name]; strings.HasPrefix(name, "lockd_") || strings.HasPrefix(name, "rpc_") {
			labels := strings.Join(slices.Sorted(maps.Keys(e.labels)), ", ")
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, e.kind, cmp.Or(labels, "-"), e.help)
		}
	}
	return b.String()
}

// TestMetricsAreDocumented compares docs/METRICS.md with what a node shows, and writes it with REWRITE=1.
func TestMetricsAreDocumented(t *testing.T) {
	m, page := meters(t)
	everything(t, m)
	table := metricsTable(page())
	data, err := os.ReadFile(metricsFile)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- generated: metrics -->\n\n", "\n<!-- end -->"
	before, rest, found := strings.Cut(string(data), begin)
	old, after, closed := strings.Cut(rest, end)
	if !found || !closed {
		t.Fatalf("%s has no place for the table", metricsFile)
	}
	if os.Getenv("REWRITE") != "" {
		if err := os.WriteFile(metricsFile, []byte(before+begin+table+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table {
		t.Errorf("%s does not say what a node shows; run with REWRITE=1. A node shows\n%s", metricsFile, table)
	}
}
