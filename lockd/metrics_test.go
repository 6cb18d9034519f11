package lockd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/telemetry"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// meters returns the metrics of a node and what shows them to Prometheus.
func meters(t *testing.T, classes ...string) (*metrics, func() string) {
	t.Helper()
	all, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "lockd"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = all.Shutdown(context.Background()) })
	m, err := newMetrics(all.MeterProvider, classes)
	if err != nil {
		t.Fatal(err)
	}
	return m, func() string {
		w := httptest.NewRecorder()
		all.Metrics.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
		if w.Code != http.StatusOK {
			t.Fatalf("the page is answered %d: %s", w.Code, w.Body)
		}
		return w.Body.String()
	}
}

func wantLines(t *testing.T, page string, lines ...string) {
	t.Helper()
	have := make(map[string]bool)
	var ours []string
	for line := range strings.Lines(page) {
		have[strings.TrimSpace(line)] = true
		if strings.HasPrefix(line, "lockd_") || strings.HasPrefix(line, "rpc_") {
			ours = append(ours, line)
		}
	}
	for _, line := range lines {
		if !have[line] {
			t.Errorf("the page lacks %s\nof\n%s", line, strings.Join(ours, ""))
			return
		}
	}
}

func TestMetricsOfLocksAreByClass(t *testing.T) {
	m, page := meters(t, "jobs/", "jobs/nightly/")
	timings := []locktable.Timing{
		{Name: "jobs/a", Took: 20 * time.Millisecond, Code: locktable.Granted},
		{Name: "jobs/nightly/b", Took: time.Minute, Code: locktable.TimedOut},
		{Name: "jobs/a", Took: 2 * time.Second, How: locktable.Released},
		{Name: "users/42", Took: time.Hour, How: locktable.Expired},
	}
	m.applied(replica.Applied{Timings: timings}) // a follower's, which the leader counts
	if text := page(); strings.Contains(text, "lockd_lock_wait") {
		t.Errorf("a follower counts waits:\n%s", text)
	}
	m.tenureEvents().Began(3, 0)
	m.applied(replica.Applied{Timings: timings})
	text := page()
	wantLines(t, text,
		`lockd_lock_wait_duration_seconds_sum{lockd_lock_class="jobs/",lockd_wait_end="granted"} 0.02`,
		`lockd_lock_wait_duration_seconds_bucket{lockd_lock_class="jobs/nightly/",lockd_wait_end="timed out",le="60"} 1`,
		`lockd_lock_hold_duration_seconds_count{lockd_hold_end="released",lockd_lock_class="jobs/"} 1`,
		`lockd_lock_hold_duration_seconds_sum{lockd_hold_end="expired",lockd_lock_class="other"} 3600`,
		`lockd_lock_lost_total{lockd_hold_end="expired",lockd_lock_class="other"} 1`)
	if strings.Contains(text, "users/42") {
		t.Error("the page names a lock")
	}
	m.tenureEvents().Ended(3)
	m.applied(replica.Applied{Timings: timings})
	wantLines(t, page(), `lockd_lock_lost_total{lockd_hold_end="expired",lockd_lock_class="other"} 1`) // no more
}

// TestMetricsAreBounded: ten thousand names make as many series as one.
func TestMetricsAreBounded(t *testing.T) {
	m, page := meters(t, "jobs/")
	m.tenureEvents().Began(1, 0)
	for i := range 10_000 {
		m.applied(replica.Applied{Timings: []locktable.Timing{{Name: fmt.Sprintf("user/%d", i), Took: 1, Code: locktable.Granted}}})
		m.frontEvents().Request(front.Request{Type: wire.TypeAcquire, Code: wire.Granted, Name: fmt.Sprintf("user/%d", i), Took: 1})
	}
	text := page()
	wantLines(t, text,
		`lockd_lock_wait_duration_seconds_count{lockd_lock_class="other",lockd_wait_end="granted"} 10000`,
		`rpc_server_call_duration_seconds_count{rpc_method="lockd.v1.Lock/Acquire",rpc_response_status_code="GRANTED",rpc_system_name="lockd"} 10000`)
	if n := strings.Count(text, "duration_seconds_count{"); n != 2 {
		t.Errorf("%d series of histograms instead of 2", n)
	}
}

func TestMetricsRefuseBadClasses(t *testing.T) {
	many := make([]string, classesMax+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	for _, test := range []struct {
		classes []string
		want    string
	}{
		{[]string{""}, "cannot be a prefix"},
		{[]string{"other"}, "cannot be a prefix"},
		{[]string{"a/", "b/", "a/"}, `names "a/" twice`},
		{[]string{strings.Repeat("x", 513)}, "has 513 bytes"},
		{many, "has 65 prefixes; 64 are the most"},
	} {
		if _, err := newMetrics(nil, test.classes); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q: %v; want %s", test.classes, err, test.want)
		}
	}
}

func TestMetricsOfRequests(t *testing.T) {
	m, page := meters(t)
	e := m.frontEvents()
	for kind := wire.TypeOpen; kind <= wire.TypeStatus; kind++ {
		if front.Method(kind) == "" {
			continue
		}
		e.Request(front.Request{Type: kind, Code: wire.OK, Took: time.Millisecond})
		if m.callSets[call{kind, wire.NoLeader}] == nil {
			t.Errorf("no attributes for %v answered with %v", kind, wire.NoLeader)
		}
	}
	e.Request(front.Request{Type: wire.TypeAcquire, Code: wire.Overloaded})
	e.Request(front.Request{Type: wire.TypeAcquire, Code: wire.Held, Took: time.Millisecond})
	e.Connections(12, 2)
	e.Goodbye(wire.OutOfStep)
	e.Goodbye(wire.Overloaded)
	e.Malformed(wire.TypeAcquire)
	e.KeepAlives(40)
	e.Forwarded(7)
	e.NoQuorum(time.Second)
	wantLines(t, page(),
		`rpc_server_call_duration_seconds_count{rpc_method="lockd.v1.Session/Open",rpc_response_status_code="OK",rpc_system_name="lockd"} 1`,
		`rpc_server_call_duration_seconds_count{rpc_method="lockd.v1.Lock/Acquire",rpc_response_status_code="HELD",rpc_system_name="lockd"} 1`,
		`rpc_server_call_duration_seconds_count{error_type="OVERLOADED",rpc_method="lockd.v1.Lock/Acquire",rpc_response_status_code="OVERLOADED",rpc_system_name="lockd"} 1`,
		`lockd_overloaded_total{lockd_what="request"} 1`,
		`lockd_overloaded_total{lockd_what="connection"} 1`,
		`lockd_wire_goodbyes_total{lockd_reason="out of step"} 1`,
		`lockd_wire_bad_frames_total{lockd_what="stream"} 1`,
		`lockd_wire_bad_frames_total{lockd_what="body"} 1`,
		`lockd_keepalives_forwarded_total 40`,
		`lockd_commands_forwarded_total 7`,
		`lockd_no_quorum_total 1`)
}

// failing is a log whose disk fails.
type failing struct{ raft.Storage }

func (failing) Write([]raft.Write) error { return raft.ErrDiskFull }

func TestMetricsOfTheLog(t *testing.T) {
	m, page := meters(t)
	if err := m.storage(failing{}).Write(nil); !errors.Is(err, raft.ErrDiskFull) {
		t.Errorf("the error of the disk became %v", err)
	}
	leader := raft.PeerID{Node: 1, Incarnation: 1}
	m.standing(raft.Standing{Term: 1})
	m.standing(raft.Standing{Term: 1, Leader: leader})
	m.standing(raft.Standing{Term: 1, Leader: leader, Config: 9})
	m.standing(raft.Standing{Term: 2})
	m.standing(raft.Standing{Term: 3, Leader: leader})
	e := m.tenureEvents()
	e.Command(2*time.Millisecond, 30*time.Microsecond)
	e.Expired(5)
	e.Round(time.Millisecond, nil)
	e.Round(time.Second, errors.New("deposed"))
	e.Late(time.Second)
	e.Unfit()
	m.slowWrite()
	m.snapshot(true, nil)
	r := m.replicaEvents()
	r.Flushed(100, time.Millisecond)
	r.Delayed(time.Millisecond)
	r.Kept(time.Second, nil)
	wantLines(t, page(),
		`lockd_raft_fsync_duration_seconds_count 1`,
		`lockd_raft_elections_total 2`,
		`lockd_raft_commit_duration_seconds_sum 0.002`,
		`lockd_raft_apply_duration_seconds_bucket{le="0.0001"} 1`,
		`lockd_session_expired_total 5`,
		`lockd_raft_round_duration_seconds_count 1`,
		`lockd_raft_round_duration_seconds_count{error="true"} 1`,
		`lockd_leader_late_duration_seconds_count 1`,
		`lockd_leader_unfit_total 1`,
		`lockd_raft_slow_writes_total 1`,
		`lockd_raft_snapshots_total{error="false",lockd_direction="sent"} 1`,
		`lockd_checkpoint_flushed_total 100`,
		`lockd_checkpoint_delay_duration_seconds_count 1`,
		`lockd_checkpoint_keep_duration_seconds_count 1`)
}

func TestMetricsOfTheState(t *testing.T) {
	m, page := meters(t)
	table := locktable.NewTable()
	index := uint64(0)
	apply := func(cmd locktable.Command) locktable.Reply {
		index++
		applied, err := table.Apply(index, 1, locktable.Encode(cmd))
		if err != nil {
			t.Fatal(err)
		}
		return applied.Reply
	}
	life := session.Life{ID: session.ID{1}, Index: apply(&locktable.Open{ID: session.ID{1}, TTL: time.Minute}).Index}
	for seq := range uint64(2) {
		apply(&locktable.Acquire{
			Request: locktable.Request{Session: life, Seq: seq + 1}, Names: []string{"x"}, Mode: locktable.Exclusive, Wait: time.Hour, Owner: seq,
		})
	}
	self, other := raft.PeerID{Node: 1, Incarnation: 1}, raft.PeerID{Node: 2, Incarnation: 1}
	var asked error
	stop, err := m.observe(observed{
		Table: func(f func(*locktable.Table)) { f(table) },
		Status: func(context.Context) (raft.Status, raft.Index, error) {
			return raft.Status{
				ID: self, Role: raft.Leader, Leader: self, Term: 4, Last: raft.Position{Index: 90}, Commit: 80,
				Peers: []raft.PeerStatus{{ID: self, Match: 90}, {ID: other, Match: 60}},
			}, 79, asked
		},
		Name: func(id raft.PeerID) string { return fmt.Sprint("n", id.Node) },
		Free: func() (uint64, error) { return 1 << 30, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	m.frontEvents().Connections(12, 2)
	state := []string{
		`lockd_locks 1`, `lockd_holds 1`, `lockd_waiters 1`, `lockd_sessions 1`, `lockd_sessions_dead 0`,
		`lockd_connections{lockd_role="client"} 12`, `lockd_connections{lockd_role="node"} 2`, `lockd_disk_free_bytes 1.073741824e+09`,
	}
	wantLines(t, page(), append(state,
		`lockd_raft_is_leader 1`, `lockd_raft_has_leader 1`, `lockd_raft_term 4`, `lockd_raft_commit_index 80`,
		`lockd_raft_applied_index 79`, `lockd_raft_follower_lag{lockd_node_name="n2"} 30`)...)

	asked = errNoAnswer // a node that is stuck shows the rest
	wantLines(t, page(), state...)
	if strings.Contains(page(), "lockd_raft_term") {
		t.Error("gauges of raft are shown though the node has not answered")
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if text := page(); strings.Contains(text, "lockd_locks") {
		t.Errorf("a node that has stopped goes on showing its state:\n%s", text)
	}
}

// BenchmarkMetrics is what a request costs the leader in instruments: its answer, and its place in the log.
func BenchmarkMetrics(b *testing.B) {
	all, err := telemetry.Setup(b.Context(), telemetry.Options{Service: "lockd"})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = all.Shutdown(b.Context()) }()
	m, err := newMetrics(all.MeterProvider, []string{"jobs/", "shop/", "users/"})
	if err != nil {
		b.Fatal(err)
	}
	m.leads.Store(true)
	answered, leads := m.frontEvents(), m.tenureEvents()
	applied := replica.Applied{Timings: []locktable.Timing{{Name: "users/42", Took: time.Millisecond, Code: locktable.Granted}}}
	b.ReportAllocs()
	for b.Loop() {
		m.applied(applied)
		leads.Command(time.Millisecond, time.Microsecond)
		answered.Request(front.Request{Type: wire.TypeAcquire, Code: wire.Granted, Took: time.Millisecond})
	}
}
