package endurance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

const (
	busyNodes   = 3
	busyTTL     = 10 * time.Second
	pauseOfNode = 200 * time.Millisecond
	lookEvery   = 500 * time.Millisecond
	pauseEvery  = 4               // looks
	gossipBears = 2 * time.Second // by the default profile
	clientBears = busyTTL * 2 / 3 // of its session, when its last word came just before
	never       = time.Duration(math.MaxInt64)
)

// Metrics of the nodes that the test looks at.
const (
	won         = "lockd_raft_elections_won_total"
	hints       = "lockd_raft_hints_total"
	campaigns   = "lockd_raft_campaigns_total"
	earlyVotes  = "lockd_raft_early_votes_total"
	suspicions  = "lockd_gossip_suspicions_total"
	failures    = "lockd_gossip_failures_total"
	refutations = "lockd_gossip_refutations_total"
	expired     = "lockd_session_expired_total"
	lockLost    = "lockd_lock_lost_total"
	syncTime    = "lockd_raft_fsync_duration_seconds_sum"
	syncs       = "lockd_raft_fsync_duration_seconds_count"
)

// TestBusy keeps the process of every node busy with work of its own and stops nodes for a moment, now and then two at once. It fails, in
// every case, when a hint has changed the leader, which is one that is elected before the election timeout has passed since its voters
// heard the last one, and when a member has left the configuration. It fails when a leader has changed otherwise, a member was taken for
// dead, or a session, a lock or a request of a client was lost, unless something stood still for so long that it had to be: for the
// election timeout, for what the gossip's profile bears, for two thirds of a session's time to live. What stood still is told by probes:
// nodes ask each other for an echo all the time, nodes and clients look at their own clock, and nodes tell how long the disk took.
func TestBusy(t *testing.T) {
	text := os.Getenv("LOCKD_BUSY")
	if text == "" {
		t.Skip("twelve goroutines that never rest would take the processors from the tests beside this one: make busy")
	}
	long, err := time.ParseDuration(text)
	if err != nil || long <= 0 {
		t.Fatalf("LOCKD_BUSY=%q is not a time", text)
	}
	dir, key := t.TempDir(), membership.NewKey().String()
	places := make([]testcluster.Place, busyNodes)
	for i := range places {
		places[i].Command = func(ctx context.Context, name string, args ...string) *exec.Cmd {
			cmd := exec.CommandContext(ctx, name, args...)
			cmd.Env = append(os.Environ(), busyDir+"="+dir, busyKey+"="+key)
			return cmd
		}
	}
	c := testcluster.StartAt(t, places)
	var operations int64
	var pauses int
	defer func() { // in a test that has ended early too
		reliability.Record(t, reliability.Each(reliability.Run{
			Target: "busy", Layer: "process", Runs: 1, Operations: operations, Command: fmt.Sprintf("make busy TIME=%v", long),
		}, map[string]int64{"stop of a node": int64(pauses), "overload": busyNodes * spinners})...)
	}()
	own, err := os.Create(filepath.Join(dir, "client"))
	if err != nil {
		t.Fatal(err)
	}
	go probe(own) // as long as the process lives
	w := &watcher{t: t, c: c, counts: make([]map[string]float64, busyNodes)}
	w.awaitMembers()
	h := holdBusily(t, c.Endpoints())
	w.look()
	begin := w.sums()
	pauses = w.watch(long)
	operations = h.finish(t)
	w.look()
	w.events = append(w.events, h.noted()...)
	w.judge(begin, append(stalls(t, dir), w.disks...))
	if operations == 0 || pauses == 0 {
		t.Errorf("%d operations and %d pauses show nothing", operations, pauses)
	}
	t.Logf("%v: %d pauses of %v, %d pairs of lock and unlock", long, pauses, pauseOfNode, operations)
}

// watcher asks the nodes what they have seen.
type watcher struct {
	t      *testing.T
	c      *testcluster.Processes
	counts []map[string]float64 // of each node, as it told last: all of them only rise
	at     time.Time            // of the last look
	events []event
	disks  []stall
	health float64 // the worst score of gossip
}

// event is something that should not happen, between two looks.
type event struct {
	what     string
	from, to time.Time
	bears    time.Duration // what stood still for so long justifies it
}

// watch looks at the nodes and stops some of them for a moment, for a time.
func (w *watcher) watch(long time.Duration) (pauses int) {
	w.t.Helper()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	end := time.Now().Add(long)
	for looks := 1; time.Now().Before(end); looks++ {
		<-tick.C
		if looks%pauseEvery == 0 {
			pauses++
			nodes := rand.Perm(busyNodes)[:1]
			if pauses%5 == 0 {
				nodes = rand.Perm(busyNodes)[:2]
			}
			w.pause(nodes)
		}
		w.look()
	}
	return pauses
}

func (w *watcher) pause(nodes []int) {
	w.t.Helper()
	over := time.NewTimer(pauseOfNode)
	defer over.Stop()
	for _, i := range nodes {
		w.c.Signal(i, syscall.SIGSTOP)
	}
	<-over.C
	for _, i := range nodes {
		w.c.Signal(i, syscall.SIGCONT)
	}
}

func (w *watcher) awaitMembers() {
	w.t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for w.whole() != "" {
		select {
		case <-again.C:
		case <-limit.C:
			w.t.Fatal(w.whole())
		}
	}
}

// configured begins what whole says of a configuration.
const configured = "in the configuration"

// whole returns what is missing, by gossip and by the configuration of any node.
func (w *watcher) whole() string {
	for i := range busyNodes {
		var members []lockd.GossipMember
		var status lockd.NodeStatus
		w.ask(i, "/gossip", func(r io.Reader) error { return json.NewDecoder(r).Decode(&members) })
		w.ask(i, "/status", func(r io.Reader) error { return json.NewDecoder(r).Decode(&status) })
		alive := 0
		for _, m := range members {
			if m.Status == "alive" {
				alive++
			}
		}
		if alive != busyNodes || len(members) != busyNodes {
			return fmt.Sprintf("n%d sees %d members, %d of them alive", i+1, len(members), alive)
		}
		if len(status.Nodes) != busyNodes || slices.ContainsFunc(status.Nodes, func(n lockd.NodeState) bool { return !n.Voter }) {
			return fmt.Sprintf("%s of n%d there are %+v", configured, i+1, status.Nodes)
		}
	}
	return ""
}

// look asks all nodes, and notes what has happened since the last time.
func (w *watcher) look() {
	w.t.Helper()
	from, before := w.at, w.sums()
	missing := w.whole()
	for i := range w.counts {
		counts := map[string]float64{}
		maps.Copy(counts, w.counts[i]) // raft's are missing when its loop does not answer at once
		w.ask(i, "/metrics", func(r io.Reader) error { return readMetrics(r, counts) })
		w.health = max(w.health, counts["lockd_gossip_health_score"])
		if n := counts[syncs] - w.counts[i][syncs]; n > 0 && w.counts[i] != nil {
			took := time.Duration((counts[syncTime] - w.counts[i][syncTime]) / n * float64(time.Second))
			if took >= leastStall {
				w.disks = append(w.disks, stall{fmt.Sprintf("the disk of n%d", i+1), from, from.Add(took)})
			}
		}
		w.counts[i] = counts
	}
	w.at = time.Now()
	if from.IsZero() {
		return
	}
	note := func(what string, bears time.Duration) { w.events = append(w.events, event{what, from, w.at, bears}) }
	switch {
	case strings.HasPrefix(missing, configured):
		note(missing, never)
	case missing != "":
		note(missing, gossipBears)
	}
	after := w.sums()
	for key, n := range after {
		switch name, _, _ := strings.Cut(key, "{"); {
		case n == before[key]:
		case name == won:
			bears := never
			if key == fmt.Sprintf("%s{lockd_cause=%q}", won, raft.CauseTimeout) && after[earlyVotes] == before[earlyVotes] {
				bears = lockd.DefaultElection
			}
			note(fmt.Sprintf("a change of leader: %s, with %v votes because of a hint", key, after[earlyVotes]-before[earlyVotes]), bears)
		case name == failures:
			note("a member was taken for dead", gossipBears)
		case name == expired, name == lockLost:
			note("a session or a lock was lost: "+key, clientBears)
		}
	}
}

// sums adds up what the nodes count.
func (w *watcher) sums() map[string]float64 {
	sum := map[string]float64{}
	for _, counts := range w.counts {
		for key, n := range counts {
			sum[key] += n
		}
	}
	return sum
}

func (w *watcher) ask(i int, path string, read func(io.Reader) error) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.c.Addresses(i).HTTP+path, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if err := read(answer.Body); err != nil {
		w.t.Fatalf("%s of n%d: %v", path, i+1, err)
	}
}

// readMetrics reads lockd's own of a page.
func readMetrics(page io.Reader, into map[string]float64) error {
	lines := bufio.NewScanner(page)
	for lines.Scan() {
		at := strings.LastIndexByte(lines.Text(), ' ')
		if !strings.HasPrefix(lines.Text(), "lockd_") || at < 0 {
			continue
		}
		n, err := strconv.ParseFloat(lines.Text()[at+1:], 64)
		if err != nil {
			return err
		}
		into[lines.Text()[:at]] = n
	}
	return lines.Err()
}

// judge tells what has happened, and fails for what no stall justifies.
func (w *watcher) judge(begin map[string]float64, all []stall) {
	w.t.Helper()
	end := w.sums()
	for _, name := range []string{won, campaigns, hints} {
		text := name
		for c := range raft.Causes {
			key := fmt.Sprintf("%s{lockd_cause=%q}", name, c)
			text += fmt.Sprintf(" %v: %v", c, end[key]-begin[key])
		}
		w.t.Log(text)
	}
	for _, key := range []string{earlyVotes, suspicions, failures, refutations, syncs, syncTime} {
		if _, ok := end[key]; !ok {
			w.t.Errorf("no node tells of %s", key)
		}
		w.t.Logf("%s: %v", key, end[key]-begin[key])
	}
	w.t.Logf("the worst health score of gossip: %v", w.health)
	w.t.Log(describe(all))
	justified, not := sortEvents(w.events, all)
	for _, text := range justified {
		w.t.Logf("justified: %s", text)
	}
	for _, text := range not {
		w.t.Errorf("not justified: %s", text)
	}
	w.t.Logf("%d events that a stall justifies, %d that none does", len(justified), len(not))
}

// sortEvents parts events into those behind which a node stood still for longer than can be borne, and the others.
func sortEvents(events []event, all []stall) (justified, not []string) {
	for _, e := range events {
		text := fmt.Sprintf("%s to %s: %s", e.from.UTC().Format("15:04:05.000"), e.to.UTC().Format("15:04:05.000"), e.what)
		behind := func(s stall) bool {
			return e.bears < never && s.took() >= e.bears && s.begin.Before(e.to) && s.end.After(e.from.Add(-2*e.bears))
		}
		if i := slices.IndexFunc(all, behind); i >= 0 {
			justified = append(justified, fmt.Sprintf("%s; %v", text, all[i]))
		} else {
			not = append(not, text)
		}
	}
	return justified, not
}

// TestBusyIsJudged: what a long stall lies behind is told apart, and what none does is found; a change of leader may have had its stall
// before the look that saw the old one.
func TestBusyIsJudged(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1e12 + int64(ms)) }
	ofLeader := event{what: "of leader", from: at(10_000), to: at(10_500), bears: time.Second}
	dead := event{what: "dead", from: at(10_000), to: at(10_500), bears: 2 * time.Second}
	hinted := event{what: "hinted", from: at(10_000), to: at(10_500), bears: never}
	for name, test := range map[string]struct {
		all       []stall
		justified []event
	}{
		"no stall":             {},
		"short ones":           {all: []stall{{"n1", at(9_000), at(9_990)}, {"n2", at(9_990), at(10_400)}}},
		"one of a second":      {all: []stall{{"n1", at(9_100), at(10_100)}}, justified: []event{ofLeader}},
		"one some time before": {all: []stall{{"n1", at(7_500), at(8_600)}}, justified: []event{ofLeader}},
		"one long before":      {all: []stall{{"n1", at(1_000), at(5_900)}}},
		"one that came after":  {all: []stall{{"n1", at(10_600), at(19_000)}}},
		"one of three seconds": {all: []stall{{"n1", at(7_000), at(10_000)}}, justified: []event{ofLeader, dead}},
	} {
		justified, not := sortEvents([]event{ofLeader, dead, hinted}, test.all)
		ok := len(justified) == len(test.justified) && len(justified)+len(not) == 3
		for i := range test.justified {
			ok = ok && strings.Contains(justified[i], test.justified[i].what+"; n1 stood still")
		}
		if !ok {
			t.Errorf("%s: %q are justified, %q are not", name, justified, not)
		}
	}
}

func describe(all []stall) string {
	var longest stall
	count := map[time.Duration]int{}
	steps := []time.Duration{leastStall, 250 * time.Millisecond, 420 * time.Millisecond, lockd.DefaultElection, gossipBears}
	for _, s := range all {
		if s.took() > longest.took() {
			longest = s
		}
		for _, d := range steps {
			if s.took() >= d {
				count[d]++
			}
		}
	}
	text := "times that something stood still for so long:"
	for _, d := range steps {
		text += fmt.Sprintf(" %v: %d,", d, count[d])
	}
	return fmt.Sprintf("%s at worst: %v", text, longest)
}
