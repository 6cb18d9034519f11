//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
)

const (
	racers       = 5
	raceTick     = 5 * time.Millisecond
	raceTime     = 4 * time.Second  // of faults
	racePatience = 90 * time.Second // after them: two rounds of joining, each with 10 s until a learner may vote
)

// race is five processes that form a cluster, with what a seed draws. Each has an address of its own in 127.0.0.0/8.
type race struct {
	t       *testing.T
	rng     *rand.Rand
	way     string // list, init or expect
	dir     string
	net     string // the first three numbers of all addresses
	racers  []*racer
	callers []int
	counts  map[string]int64
	raced   bool   // two foundings were under way at once, or one was disturbed
	cluster string // the first that a directory names
	orders  []*process
}

// racer is a node of a race, through all its lives.
type racer struct {
	name    string
	args    []string
	dir     string
	host    string
	at      time.Time // it starts then
	process *process  // nil: it is down
	said    []*said   // by its lives
	mistake string    // it was started with
}

// tenant is what a data directory says of its node.
type tenant struct {
	Founded   bool   `json:"founded"`
	ID        uint64 `json:"id"`
	ClusterID string `json:"cluster_id"`
	Promise   *struct {
		Founder struct{ Node uint64 } `json:"founder"`
	} `json:"promise"`
}

// TestFormingProcesses lets five processes form a cluster, in each of the three ways, while they are killed and operators interfere. There
// is never a second cluster, and all five serve in the end. LOCKD_FORMING asks for more than one race.
func TestFormingProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("processes that wait for each other, under the race detector")
	}
	n, first := envNumber(t, "LOCKD_FORMING", 1), envNumber(t, "LOCKD_SEED", 1)
	total := reliability.Run{
		Target: "forming", Layer: "process", Seeds: reliability.SeedRange(first, n),
		Command: fmt.Sprintf("LOCKD_FORMING=%d LOCKD_SEED=%d go test ./cmd/lockd -run '^TestFormingProcesses$'", n, first),
	}
	counts, ways := map[string]int64{}, map[string]int{}
	var longest time.Duration
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := newRace(t, seed)
			took := r.run()
			longest = max(longest, took)
			total.Runs++
			total.Operations += racers
			ways[r.way]++
			if r.raced {
				ways[r.way+", raced"]++
			}
			for what, k := range r.counts {
				counts[what] += k
			}
		})
	}
	t.Logf("%d races: %v; met %v; at most %v from the end of the faults to five voters", total.Runs, ways, counts, longest)
	if total.Runs > 0 {
		reliability.Record(t, reliability.Each(total, counts)...)
	}
}

func envNumber(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text, ok := os.LookupEnv(name)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		t.Fatalf("%s=%q is no number from 1 on", name, text)
	}
	return n
}

func newRace(t *testing.T, seed uint64) *race {
	t.Helper()
	r := &race{t: t, rng: rand.New(rand.NewPCG(seed, 20)), dir: t.TempDir(), net: loopbackNet(t), counts: map[string]int64{}}
	r.way = []string{"expect", "init", "list"}[(seed-1)%3]
	key := r.key("gossip.key")
	if r.way == "init" {
		r.callers = r.rng.Perm(racers)[:1+r.rng.IntN(2)]
	}
	var list []string
	for i := range racers {
		list = append(list, fmt.Sprintf("n%d=%s:7401", i+1, r.host(i)))
	}
	late := []time.Duration{0, 300 * time.Millisecond, 2 * time.Second}[r.rng.IntN(3)]
	for i := range racers {
		seeds := []string{r.host(0), r.host(1)}
		for _, j := range r.callers {
			seeds = append(seeds, r.host(j))
		}
		n := r.node(i, late, "--gossip-key-file", key, "--join", strings.Join(seeds, ","))
		switch r.way {
		case "list":
			n.args = append(n.args, "--initial-cluster", strings.Join(list, ","))
		case "expect":
			n.args = append(n.args, "--bootstrap-expect", strconv.Itoa(racers))
		}
	}
	stranger := []string{"--join", r.host(0) + "," + r.host(1), "--bootstrap-expect", strconv.Itoa(racers)}
	switch r.rng.IntN(3) {
	case 0:
		r.node(racers, late, append(stranger, "--gossip-key-file", r.key("other.key"))...).mistake = "another key"
	case 1:
		r.node(racers, late, append(stranger, "--gossip-key-file", key, "--cluster-name", "another")...).mistake = "another cluster name"
	}
	return r
}

// loopbackNet returns three numbers of an address that are the test's own, as long as nobody else asks in the same way.
func loopbackNet(t *testing.T) string {
	t.Helper()
	const tries = 100
	var err error
	for range tries {
		numbers := fmt.Sprintf("127.%d.%d", 1+rand.IntN(254), rand.IntN(256))
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(t.Context(), "tcp", numbers+".1:7398"); err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return numbers
		}
	}
	t.Fatal(err)
	return ""
}

func (r *race) host(i int) string { return fmt.Sprintf("%s.%d", r.net, i+1) }

func (r *race) key(name string) string {
	r.t.Helper()
	file := filepath.Join(r.dir, name)
	if err := os.WriteFile(file, []byte(membership.NewKey().String()+"\n"), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return file
}

func (r *race) node(i int, late time.Duration, args ...string) *racer {
	host := r.host(i)
	n := &racer{name: fmt.Sprintf("n%d", i+1), dir: filepath.Join(r.dir, fmt.Sprint(i)), host: host, at: time.Now().Add(r.upTo(late))}
	n.args = append([]string{
		"serve", "--name", n.name, "--data-dir", n.dir, "--min-free", "32MiB", "--listen-client", host + ":7400", "--listen-raft", host + ":7401",
		"--listen-gossip", host + ":7402", "--listen-http", host + ":7403",
	}, args...)
	r.racers = append(r.racers, n)
	return n
}

func (r *race) upTo(d time.Duration) time.Duration { return time.Duration(r.rng.Int64N(int64(d) + 1)) }

// run races until the faults end, and returns how long it took from then until all were voters.
func (r *race) run() time.Duration {
	defer r.tell()
	tick := time.NewTicker(raceTick)
	defer tick.Stop()
	began := time.Now()
	order, again := began.Add(r.upTo(raceTime/2)), 50*time.Millisecond+r.upTo(500*time.Millisecond)
	for time.Since(began) < raceTime {
		<-tick.C
		r.start(time.Now())
		r.look()
		r.harm()
		if len(r.callers) > 0 && time.Now().After(order) {
			r.order()
			order = time.Now().Add(again)
		}
	}
	healed := time.Now()
	for _, n := range r.racers {
		n.at = time.Time{}
	}
	limit := time.NewTimer(racePatience)
	defer limit.Stop()
	missing := []string{"nobody was asked"}
	for look := time.NewTicker(100 * time.Millisecond); missing != nil; {
		select {
		case <-look.C:
		case <-limit.C:
			r.t.Fatalf("not whole %v after the faults: %v", racePatience, missing)
		}
		r.start(time.Now())
		r.look()
		if r.cluster == "" && len(r.callers) > 0 && time.Now().After(order) {
			r.order()
			order = time.Now().Add(again + time.Second)
		}
		if missing = r.missing(); missing == nil {
			look.Stop()
		}
	}
	took := time.Since(healed)
	r.judge()
	return took
}

// start starts who is to be started.
func (r *race) start(now time.Time) {
	for _, n := range r.racers {
		if n.process != nil {
			select {
			case <-n.process.ended:
				r.t.Fatalf("%s has ended by itself: %s", n.name, n.process.err.String())
			default:
			}
			continue
		}
		if now.After(n.at) {
			n.process = command(r.t, n.host+":7400", n.args...).start()
			n.said = append(n.said, &n.process.err)
		}
	}
}

// look reads all directories: at most one cluster may be named.
func (r *race) look() {
	r.t.Helper()
	founders := 0
	for _, n := range r.racers {
		d := n.read()
		if d.Promise != nil && d.Promise.Founder.Node == d.ID && !d.Founded {
			founders++
		}
		if !d.Founded || d.ClusterID == "" {
			continue
		}
		if r.cluster == "" {
			r.cluster = d.ClusterID
		}
		if d.ClusterID != r.cluster {
			r.t.Fatalf("two clusters: %s of %s, and %s", d.ClusterID, n.name, r.cluster)
		}
	}
	r.raced = r.raced || founders > 1
}

func (n *racer) read() (d tenant) {
	b, err := os.ReadFile(filepath.Join(n.dir, "node.json"))
	if err == nil {
		_ = json.Unmarshal(b, &d) // a file that is replaced in one step is whole
	}
	return d
}

// harm kills a process now and then, more often one that takes part in a founding.
func (r *race) harm() {
	n := r.racers[r.rng.IntN(racers)]
	chance := 0.004
	d := n.read()
	if d.Promise != nil {
		chance = 0.15
	}
	founds := len(r.callers) > 1 && slices.Contains(r.callers, slices.Index(r.racers, n)) // beside another operator's
	if n.process == nil || founds && !r.settled() || r.counts["crash"] >= 8 || r.rng.Float64() >= chance {
		return
	}
	_ = n.process.Process.Kill()
	<-n.process.ended
	n.process, n.at = nil, time.Now().Add(r.upTo(time.Second))
	r.counts["crash"]++
	r.raced = true
}

// settled reports whether all whose operators found clusters have one.
func (r *race) settled() bool {
	return !slices.ContainsFunc(r.callers, func(i int) bool { return !r.racers[i].read().Founded })
}

// order lets an operator found a cluster, on one node after the other or on two at once.
func (r *race) order() {
	for _, i := range r.callers {
		if n := r.racers[i]; n.process != nil {
			r.orders = append(r.orders, command(r.t, "", "cluster", "init", "--http", n.host+":7403").start())
			r.counts["order to found"]++
		}
	}
}

// missing says who is not a voter of a cluster that knows its leader.
func (r *race) missing() (list []string) {
	leaders, histories := map[string]bool{}, map[string]bool{}
	for _, n := range r.racers[:racers] {
		s, err := n.status(r.t.Context())
		voter := slices.ContainsFunc(s.Nodes, func(of lockd.NodeState) bool { return of.ID == s.ID && of.Voter })
		if s.Cluster != "" {
			histories[s.Cluster+" "+s.Incarnation] = true
		}
		leaders[s.Leader] = true
		if err != nil || !voter || s.Leader == "" {
			list = append(list, fmt.Sprintf("%s is %s of %q led by %q (%v)", n.name, s.Role, s.Cluster, s.Leader, err))
		}
	}
	if list == nil && (len(leaders) > 1 || len(histories) > 1) {
		list = []string{fmt.Sprintf("leaders %v, histories %v", leaders, histories)}
	}
	return list
}

func (n *racer) status(ctx context.Context) (s lockd.NodeStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.host+":7403/status", nil)
	if err != nil {
		return s, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// judge uses the cluster through each node, and looks at who must have stayed out.
func (r *race) judge() {
	for _, n := range r.racers[:racers] {
		c, err := client.New(client.Config{Endpoints: []string{n.host + ":7400"}, Identity: "the-test"})
		if err != nil {
			r.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(r.t.Context(), patience)
		l, err := c.TryLock(ctx, "through/"+n.name)
		if err == nil {
			err = l.Unlock(ctx)
		}
		if closed := c.Close(ctx); err == nil {
			err = closed
		}
		cancel()
		if err != nil {
			r.t.Errorf("a lock through %s: %v", n.name, err)
		}
	}
	for _, n := range r.racers[racers:] {
		if d := n.read(); d.ClusterID != "" || d.Founded {
			r.t.Errorf("a node with %s is in a cluster: %+v", n.mistake, d)
		}
		until(r.t, "a reason why a node with "+n.mistake+" is no member", func() bool {
			return slices.ContainsFunc(r.racers, func(m *racer) bool {
				return slices.ContainsFunc(m.said, func(s *said) bool {
					text := s.String()
					return strings.Contains(text, "not a member") && strings.Contains(text, strings.TrimPrefix(n.mistake, "another "))
				})
			})
		})
	}
}

// tell ends all processes, and tells the story of a race that went wrong.
func (r *race) tell() {
	for _, n := range r.racers {
		if n.process != nil {
			_ = n.process.Process.Kill()
			<-n.process.ended
		}
	}
	for _, o := range r.orders {
		<-o.ended
	}
	if !r.t.Failed() {
		return
	}
	for _, n := range r.racers {
		for i, s := range n.said {
			const most = 3000
			text := s.String()
			r.t.Logf("%s, life %d:\n%s", n.name, i+1, text[max(0, len(text)-most):])
		}
	}
}
