package lockd_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
)

const (
	racers     = 5                      // nodes that are to be of one cluster
	raceTick   = 20 * time.Millisecond  // how often a race looks at all disks, and may do something
	raceSettle = 90 * time.Second       // after the faults, until all are voters of one cluster: two of them seek, join, are watched for 10 s
	raceDelay  = 100 * time.Millisecond // most that a message is under way
)

// Ways to form a cluster.
const (
	byList   = "list"
	byInit   = "init"
	byExpect = "expect"
)

// race is one forming of a cluster in a bubble, with crashes, cuts and mistakes that a seed draws. They stay within what docs/OPERATIONS.md
// allows: nobody can keep two operators apart who found clusters on two sides of a cut.
type race struct {
	*wild
	rng     *rand.Rand
	way     string
	expect  int
	callers []int // whose operators order to found a cluster
	free    bool  // the only caller may be crashed and cut off as any other
	racers  []*racer
	cuts    map[[2]int]time.Time
	spare   int // wipes that are left

	mu       sync.Mutex // guards what operators and loggers write
	log      []string
	seen     map[string]string // incarnations of clusters that were served, and by whom
	counts   map[string]int64
	finished bool
	pace     float64 // mischief in a tick
	bridged  bool    // see bridge
	leaves   time.Time
}

// racer is a node of a race.
type racer struct {
	*wildNode
	r       *race
	i       int
	at      time.Time // it starts then
	up      bool
	once    bool          // it has been started
	founder bool          // others may have promised it something
	ended   chan struct{} // of a crash under way
	mistake string        // what it was started with
	key     string
	correct func(*lockd.Config) // mends the mistake; nil: it stays out
}

// raced says what a race has met.
type raced struct {
	way    string
	at     bool // two foundings were under way at once, or one was disturbed
	two    bool // two foundings of different nodes were under way at once
	counts map[string]int64
	took   time.Duration
	forms  time.Duration // from the end of the faults until all were voters
}

// races returns how many there are and the seed of the first. LOCKD_FORMING asks for more than the few that every run takes.
func races(t *testing.T, few int) (n, first uint64) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		text, ok := os.LookupEnv(name)
		if !ok {
			return otherwise
		}
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatalf("%s=%q is no number", name, text)
		}
		return n
	}
	return max(1, number("LOCKD_FORMING", number("LOCKD_SEEDS", uint64(few)))), number("LOCKD_SEED", 1)
}

// However starts, crashes, cuts and operators race, five nodes form one cluster, and never two.
func TestFormingRaces(t *testing.T) {
	few := 12
	if testing.Short() {
		few = 3
	}
	n, first := races(t, few)
	n = min(n, 100_000)
	total := reliability.Run{Target: "forming", Layer: "cluster", Seeds: reliability.SeedRange(first, n)}
	total.Command = fmt.Sprintf("LOCKD_FORMING=%d LOCKD_SEED=%d go test ./lockd -run '^TestFormingRaces$'", n, first)
	counts, ways := map[string]int64{}, map[string]int64{}
	var worst time.Duration
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			total.Runs++
			m := runRace(t, seed)
			total.Simulated += m.took
			total.Operations += racers
			worst = max(worst, m.forms)
			ways[m.way]++
			if m.at {
				ways[m.way+", raced"]++
			}
			if m.two {
				ways["two foundings at once"]++
			}
			for what, k := range m.counts {
				counts[what] += k
			}
		})
	}
	t.Logf("%d races: %v; met %v; at most %v from the end of the faults to five voters", total.Runs, ways, counts, worst)
	if total.Runs >= 100 {
		for _, way := range []string{byList, byInit, byExpect} {
			if 2*ways[way+", raced"] < ways[way] {
				t.Errorf("of %d races by %s only %d were any", ways[way], way, ways[way+", raced"])
			}
		}
		if 20*ways["two foundings at once"] < total.Runs {
			t.Errorf("two foundings were under way at once in only %d of %d races", ways["two foundings at once"], total.Runs)
		}
	}
	if total.Runs > 0 {
		reliability.Record(t, reliability.Each(total, counts)...)
	}
}

func runRace(t *testing.T, seed uint64) (m raced) {
	t.Helper()
	inWild(t, func(t *testing.T, w *wild) {
		r := newRace(t, w, seed)
		defer r.end()
		began := time.Now()
		m = r.run()
		m.took = time.Since(began)
	})
	return m
}

func newRace(t *testing.T, w *wild, seed uint64) *race {
	t.Helper()
	r := &race{
		wild: w, rng: rand.New(rand.NewPCG(seed, 6)), cuts: map[[2]int]time.Time{}, seen: map[string]string{}, counts: map[string]int64{},
	}
	r.pace = []float64{0.003, 0.01, 0.04}[r.rng.IntN(3)]
	r.way = []string{byList, byInit, byExpect, byExpect}[r.rng.IntN(4)]
	r.draw()
	now := time.Now()
	late := []time.Duration{1, 50 * time.Millisecond, time.Second, 4 * time.Second}[r.rng.IntN(4)]
	order := r.rng.Perm(len(r.racers))
	for _, i := range order {
		r.racers[i].at = now.Add(r.upTo(late))
	}
	for i := range r.racers {
		for j := range i {
			r.net.Delay(wildHost(i), wildHost(j), r.upTo(raceDelay))
		}
	}
	if r.bridged {
		r.bridge(late)
	}
	r.saying("%s, expecting %d, callers %v, starts within %v", r.way, r.expect, r.callers, late)
	return r
}

func (r *race) upTo(d time.Duration) time.Duration { return time.Duration(r.rng.Int64N(int64(d) + 1)) }

// draw makes the nodes.
func (r *race) draw() {
	key := membership.NewKey().String()
	r.expect = 0
	switch r.way {
	case byExpect:
		r.expect = 3 + r.rng.IntN(3) // of two sets of so many, one node at least is in both
		r.bridged = r.expect == 3 && r.rng.IntN(3) > 0
		if r.expect == racers && r.rng.IntN(3) == 0 {
			r.callers, r.free = []int{r.rng.IntN(racers)}, true
		}
	case byInit:
		r.callers = r.rng.Perm(racers)[:1+r.rng.IntN(2)]
		r.free = len(r.callers) == 1
	}
	if r.expect == 0 || r.expect == racers {
		r.spare = 1
	}
	var list []lockd.Member
	for i := range racers {
		list = append(list, lockd.Member{Name: fmt.Sprintf("n%d", i+1), Raft: wildHost(i) + ":7401"})
	}
	for i := range racers {
		r.racers = append(r.racers, r.racer(i, key, func(c *lockd.Config) {
			c.Join, c.BootstrapExpect = r.seeds(i), r.expect
			if r.way == byList {
				c.InitialCluster = list
			}
		}))
	}
	if r.rng.IntN(3) == 0 {
		r.mistaken(key)
	}
}

// seeds names some nodes: one of the first two, the callers, and others by chance. A node must be told of who else founds clusters.
func (r *race) seeds(i int) []string {
	name := append([]int{r.rng.IntN(2)}, r.callers...)
	if i < 2 {
		name = append(name, 1-i)
	}
	if r.bridged {
		name = append(name, bridging)
	}
	for j := range racers {
		if r.rng.IntN(3) == 0 || r.bridged && i == bridging {
			name = append(name, j)
		}
	}
	slices.Sort(name)
	var list []string
	for _, j := range slices.Compact(name) {
		list = append(list, wildHost(j))
	}
	return list
}

func (r *race) racer(i int, key string, with ...func(*lockd.Config)) *racer {
	n := r.add(append([]func(*lockd.Config){func(c *lockd.Config) {
		c.GossipKey, c.ListenGossip = key, wildHost(i)+":7402"
		c.Logger = slog.New(&raceLog{r: r, Handler: slog.DiscardHandler, me: c.Name})
	}}, with...)...)
	return &racer{wildNode: n, r: r, i: i, key: key}
}

// mistaken adds a node that was started with something wrong, or makes one of the five be so for a while.
func (r *race) mistaken(key string) {
	i := len(r.racers)
	joins := func(c *lockd.Config) {
		c.BootstrapExpect, c.Join = r.expect, []string{wildHost(0), wildHost(1), wildHost(2)}
	}
	switch kind := r.rng.IntN(3); {
	case kind == 0:
		r.racers = append(r.racers, r.racer(i, membership.NewKey().String(), joins))
		r.racers[i].mistake = "another key"
	case kind == 1:
		r.racers = append(r.racers, r.racer(i, key, joins, func(c *lockd.Config) { c.ClusterName = "another" }))
		r.racers[i].mistake = "another cluster name"
	case r.way == byExpect:
		n := r.racers[r.rng.IntN(racers)]
		n.mistake, n.config.BootstrapExpect = "another number", r.expect+1
		n.correct = func(c *lockd.Config) { c.BootstrapExpect = r.expect }
	default:
		return
	}
	for _, n := range r.racers {
		if n.mistake != "" {
			r.counts[n.mistake]++
		}
	}
}

// raceLog keeps what nodes say.
type raceLog struct {
	slog.Handler
	r  *race
	me string
}

// Enabled implements slog.Handler.
func (h *raceLog) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }

// WithAttrs implements slog.Handler.
func (h *raceLog) WithAttrs([]slog.Attr) slog.Handler { return h }

// Handle implements slog.Handler.
func (h *raceLog) Handle(_ context.Context, l slog.Record) error {
	text := l.Message
	l.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	h.r.saying("%s: %s", h.me, text)
	return nil
}

func (r *race) saying(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf("%s ", time.Now().Format("04:05.000"))+fmt.Sprintf(format, args...))
}

func (r *race) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

func (r *race) counted(what string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts[what]
}

// said reports whether a line of the log has all the parts.
func (r *race) said(parts ...string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.log, func(line string) bool {
		return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) })
	})
}

// end tells the story of a race that went wrong.
func (r *race) end() {
	for _, n := range r.racers {
		n.finish()
	}
	if r.t.Failed() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.t.Log(strings.Join(r.log, "\n"))
	}
}

// run races, mends everything, and judges.
func (r *race) run() (m raced) {
	ctx, stop := context.WithCancel(r.t.Context())
	var operators sync.WaitGroup
	first := r.upTo(5 * time.Second)
	for _, i := range r.callers {
		wait, again := first+r.upTo(300*time.Millisecond), 50*time.Millisecond+r.upTo(2*time.Second)
		operators.Go(func() { r.operate(ctx, r.racers[i], wait, again) })
	}
	for over := time.Now().Add(3*time.Second + r.upTo(9*time.Second)); time.Now().Before(over); r.tick() {
		r.step(&m)
		r.mischief(&m)
	}
	r.mend(&m)
	healed := time.Now()
	r.await(&m)
	m.forms = time.Since(healed)
	stop()
	operators.Wait()
	r.judge()
	m.way, m.counts = r.way, maps.Clone(r.counts)
	return m
}

// operate orders a node to found a cluster until there is one.
func (r *race) operate(ctx context.Context, n *racer, wait, again time.Duration) {
	for pause := wait; ; pause = again {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		s := n.running()
		if s == nil {
			continue
		}
		r.count("order to found")
		err := s.Init(ctx)
		r.saying("the operator of %s: %v", n.config.Name, err)
		if err == nil || strings.Contains(err.Error(), "belongs to a cluster already") {
			return
		}
	}
}

// running returns the server of a node that is up.
func (n *racer) running() *lockd.Server {
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	if !n.up {
		return nil
	}
	return n.server
}

func (n *racer) start() {
	n.r.saying("start %s", n.config.Name)
	n.r.mu.Lock()
	defer n.r.mu.Unlock()
	n.r.wild.run(n.wildNode)
	n.up, n.once = true, true
}

// crash ends a node as the end of its process would: nothing that it does while it ends reaches its disk or the network.
func (n *racer) crash(down time.Duration, wipe bool) {
	n.r.saying("crash %s for %v, wiped: %v", n.config.Name, down, wipe)
	n.r.look(n)
	n.r.mu.Lock()
	n.up = false
	n.r.mu.Unlock()
	undo := n.config.Disk.Crash()
	for j := range n.r.racers {
		if j != n.i {
			n.r.net.Cut(wildHost(n.i), wildHost(j))
		}
	}
	ended := make(chan struct{})
	n.ended = ended
	n.at = time.Now().Add(down)
	go func() {
		defer close(ended)
		n.wildNode.crash()
		undo()
		n.r.net.Reset(wildHost(n.i))
	}()
	if wipe {
		n.founder = false
		n.config.Disk = &lockd.MemoryDisk{}
	}
}

// finish waits for the end of a crash, after which the network is as it was.
func (n *racer) finish() {
	if n.ended == nil {
		return
	}
	<-n.ended
	n.ended = nil
	for j := range n.r.racers {
		if _, cut := n.r.cuts[pair(n.i, j)]; j != n.i && !cut && n.r.racers[j].ended == nil {
			n.r.net.Heal(wildHost(n.i), wildHost(j))
		}
	}
}

func pair(i, j int) [2]int { return [2]int{min(i, j), max(i, j)} }

// tick lets time pass.
func (r *race) tick() {
	time.Sleep(raceTick)
	synctest.Wait()
}

// step starts who is to be started, heals what is to be healed, and looks at all disks.
func (r *race) step(m *raced) {
	now := time.Now()
	for _, n := range r.racers {
		if n.up || now.Before(n.at) {
			continue
		}
		select {
		case <-n.ended:
		default:
			if n.ended != nil {
				continue
			}
		}
		n.finish()
		n.start()
	}
	for p, until := range r.cuts {
		if now.After(until) {
			r.heal(p)
		}
	}
	r.leave(m)
	r.foundings(m)
}

func (r *race) heal(p [2]int) {
	delete(r.cuts, p)
	if r.racers[p[0]].ended == nil && r.racers[p[1]].ended == nil {
		r.net.Heal(wildHost(p[0]), wildHost(p[1]))
	}
}

// foundings looks at all disks: there may be one cluster, and any number of foundings.
func (r *race) foundings(m *raced) {
	clusters, founders := map[string]string{}, 0
	for _, n := range r.racers {
		s := n.config.Disk.Seen()
		if s.Cluster != "" {
			clusters[s.Cluster] += " " + n.config.Name
		}
		if s.Founder && s.Cluster == "" {
			founders++
			n.founder = true
		}
	}
	if len(clusters) > 1 && !r.finished {
		r.finished = true
		r.t.Errorf("two clusters: %v", clusters)
		r.saying("two clusters: %v", clusters)
	}
	m.two = m.two || founders > 1
	m.at = m.at || founders > 1
}

// look notes which incarnation a node serves.
func (r *race) look(n *racer) lockd.NodeStatus {
	s := n.running()
	if s == nil {
		return lockd.NodeStatus{}
	}
	status, err := s.Status(r.t.Context())
	if err != nil {
		return lockd.NodeStatus{}
	}
	if strings.Trim(status.Incarnation, "0") != "" {
		r.seen[status.Incarnation] += " " + n.config.Name
		if len(r.seen) > 1 && !r.finished {
			r.finished = true
			r.t.Errorf("two histories have begun: %v", r.seen)
		}
	}
	return status
}

// await lets time pass until all are voters of one cluster and know its leader.
func (r *race) await(m *raced) {
	r.t.Helper()
	var missing []string
	for over := time.Now().Add(raceSettle); time.Now().Before(over); {
		for range 10 {
			r.tick()
			r.step(m)
		}
		missing = nil
		leaders := map[string]bool{}
		for _, n := range r.racers[:racers] {
			s := r.look(n)
			voter := slices.ContainsFunc(s.Nodes, func(of lockd.NodeState) bool { return of.ID == s.ID && of.Voter })
			leaders[s.Leader+" of "+s.Cluster] = true
			if !voter || s.Leader == "" || len(leaders) > 1 { // a leader whose name is not known yet goes by its ID
				missing = append(missing, fmt.Sprintf("%s is %s of %q, led by %q", n.config.Name, s.Role, s.Cluster, s.Leader))
			}
		}
		if missing == nil {
			return
		}
	}
	r.t.Errorf("not whole %v after the faults: %s", raceSettle, strings.Join(missing, "; "))
}

// judge uses the cluster through each node, and looks at who must have stayed out.
func (r *race) judge() {
	r.t.Helper()
	if r.t.Failed() {
		return
	}
	for _, n := range r.racers[:racers] {
		if err := r.use(n); err != nil {
			r.t.Errorf("a lock through %s: %v", n.config.Name, err)
		}
	}
	for _, n := range r.racers[racers:] {
		if s := n.config.Disk.Seen(); s.Cluster != "" {
			r.t.Errorf("a node with %s is in the cluster %s", n.mistake, s.Cluster)
		}
		if !r.said("not a member", strings.TrimPrefix(n.mistake, "another ")) {
			r.t.Errorf("nobody has said why a node with %s is no member", n.mistake)
		}
	}
}

func (r *race) use(n *racer) (err error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	c, err := client.New(client.Config{
		Endpoints: []string{n.config.ListenClient}, Dial: r.net.Host("client").Dial, Identity: "client",
		Suspended: func() time.Duration { return 0 },
	})
	if err != nil {
		return err
	}
	l, err := c.TryLock(ctx, "through/"+n.config.Name)
	if err == nil {
		err = l.Unlock(ctx)
	}
	if closed := c.Close(ctx); err == nil {
		err = closed
	}
	return err
}
