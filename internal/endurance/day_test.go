package endurance

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

const (
	changesPerHour = 60
	settling       = 80 * time.Second // until everything has ended that ends by itself; leases last up to a minute
)

// stays is the node that is never crashed or stopped, so that what a node gathers in its life shows.
const stays = 0

// ways in which a leader goes, one after the other.
var ways = []string{"transferred", "cut off", "crashed", "stopped"}

// day is a cluster in a bubble whose leaders come and go under load.
type day struct {
	t       *testing.T
	c       *testcluster.Cluster
	crowd   *crowd
	began   time.Time
	lasted  time.Duration
	changes map[string]int
	stayed  int // how often the node that stays led before a change
	looks   int
	found   courses
}

// TestDayOfLeaders runs three nodes, under load, through hours of cluster time with a new leader every minute: it is transferred, cut off,
// crashed or stopped. Now and then the load stops, and when all is quiet there are as many goroutines, and as many entries in each table, list, queue
// and channel of nodes and clients as before, and as much memory.
func TestDayOfLeaders(t *testing.T) {
	const shortLooks, shortFrom = 30, 4 // a short run looks more often: of a few values that swing, some rise by chance
	changes, seed := changesPerHour*rounds(t, "LOCKD_HOURS", 2), uint64(rounds(t, "LOCKD_SEED", 1))
	looks, from := changes/changesPerHour, 4
	if looks < 2*from {
		looks, from = shortLooks, shortFrom
	}
	if testing.Short() {
		changes = shortLooks
	}
	if !walks {
		t.Log("under the race detector only goroutines are counted: it would take the walk through the tables for a race")
	}
	d := &day{changes: map[string]int{}, found: courses{}}
	synctest.Test(t, func(t *testing.T) {
		d.t, d.c, d.began = t, testcluster.StartBubble(t, 3), time.Now()
		d.crowd = newCrowd(t, d.c, seed)
		for range looks {
			d.spend(changes / looks)
			d.look()
		}
		d.judge(from)
		d.crowd.close()
	})
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "day", Layer: "soak", Runs: 1, Operations: d.crowd.operations.Load(), Simulated: d.lasted, Seeds: strconv.FormatUint(seed, 10),
		Command: fmt.Sprintf("make day HOURS=%d SEED=%d", changes/changesPerHour, seed),
	}, map[string]int64{"leader change": int64(d.total()), "cut": int64(d.changes["cut off"]), "crash": int64(d.changes["crashed"])})...)
}

// spend changes the leader so many times, a minute apart, and waits until all is quiet.
func (d *day) spend(changes int) {
	d.crowd.start()
	for range changes {
		minute := time.NewTimer(time.Minute)
		way := ways[d.total()%len(ways)]
		d.change(way)
		d.changes[way]++
		<-minute.C
	}
	d.crowd.stop()
	d.quiesce()
}

func (d *day) total() (n int) {
	for _, k := range d.changes {
		n += k
	}
	return n
}

// change ends the present leader's term, and waits for another leader and then for all nodes.
func (d *day) change(way string) {
	d.t.Helper()
	const absence = 8 * time.Second
	old, term := d.leader()
	if old == stays {
		d.stayed++
		if way == "crashed" || way == "stopped" { // another one, then
			d.handOver(old)
			d.awaitNext(old, term, "handed over")
			old, term = d.leader()
		}
	}
	switch way {
	case "transferred":
		d.handOver(old)
	case "cut off":
		d.cut(old, d.c.Net.Cut)
	case "crashed":
		d.c.Crash(old)
		d.c.Net.Reset(d.c.Name(old))
	case "stopped":
		d.c.Stop(old)
	}
	d.awaitNext(old, term, way)
	pass(absence)
	if way == "cut off" {
		d.cut(old, d.c.Net.Heal)
	}
	if !d.c.Running(old) {
		d.c.Run(old)
	}
	d.c.WaitReady()
}

func (d *day) handOver(i int) {
	d.t.Helper()
	if err := d.c.Server(i).HandOver(d.t.Context()); err != nil {
		d.t.Fatalf("hand over from %s: %v", d.c.Name(i), err)
	}
}

// awaitNext waits until another node leads, in a later term.
func (d *day) awaitNext(old int, term uint64, way string) {
	d.t.Helper()
	d.await(fmt.Sprintf("another leader after %s was %s", d.c.Name(old), way), func() bool {
		i, now := d.leader()
		return i >= 0 && i != old && now > term
	})
}

func (d *day) cut(i int, f func(a, b string)) {
	for j := range 3 {
		if j != i {
			f(d.c.Name(i), d.c.Name(j))
		}
	}
}

// leader returns the node that leads in the highest term, -1 if none does.
func (d *day) leader() (who int, term uint64) {
	who = -1
	for i := range 3 {
		if s := d.c.Server(i); s != nil {
			status, err := s.Status(d.t.Context())
			if err == nil && status.Role == "leader" && status.Term > term {
				who, term = i, status.Term
			}
		}
	}
	return who, term
}

// await lets time pass until something is so.
func (d *day) await(what string, so func() bool) {
	d.t.Helper()
	const patience, pause = time.Minute, 50 * time.Millisecond
	for end := time.Now().Add(patience); !so(); pass(pause) {
		if time.Now().After(end) {
			d.t.Fatalf("still waiting for %s after %v", what, patience)
		}
	}
}

// quiesce waits until what ends by itself has ended, and requires that only the sessions of the regular clients are left, on every node.
func (d *day) quiesce() {
	d.t.Helper()
	pass(settling)
	synctest.Wait()
	for i := range 3 {
		s, err := d.c.Server(i).Status(d.t.Context())
		if err != nil {
			d.t.Fatalf("%s: %v", d.c.Name(i), err)
		}
		if s.Sessions != regulars || s.Locks != 0 || s.Holds != 0 || s.Waiters != 0 {
			d.t.Errorf("%s: %d sessions, %d locks, %d holds and %d waits when all is quiet; want the %d sessions of the clients that stay",
				s.Node, s.Sessions, s.Locks, s.Holds, s.Waiters, regulars)
		}
	}
	synctest.Wait()
}

// look counts everything.
func (d *day) look() {
	d.t.Helper()
	found, bytes := census{}, census{}
	if walks {
		found, bytes = count(d.c, d.crowd.clients)
	}
	threads := goroutines(d.t)
	total := 0
	for name, n := range threads {
		found[name] = n
		total += n
	}
	if walks { // without them it is not known what the log holds
		found[heapName] = heap() - bytes[logEntries] - bytes[logCache] - found[logBytes] - rounding*found[logEntries]
	}
	d.found.note(found)
	d.looks++
	d.lasted = time.Since(d.began)
	d.t.Logf("after %v: %d changes of the leader, %d operations; %d goroutines, %d connections, heap %.2f MiB without the log of %d entries",
		d.lasted.Round(time.Minute), d.total(), d.crowd.operations.Load(), total, found["memnet.Network.pipes"]/2,
		float64(found[heapName])/(1<<20), found[logEntries])
}

const (
	heapName   = "heap without the log"
	logEntries = "memlog.Log.entries"
	logCache   = "raft.raftLog.cache"
	logBytes   = "raft.Entry.frame" + inBytes
)

// rounding is what an entry of the log takes beyond its bytes, about.
const rounding = 16

// bounded are what may grow up to a bound and is cut then, so that it rises and falls over hours: by the name of the field, the most of it on all
// nodes together. A node's log is cut when it has 100,000 entries and an eighth more; its end is kept in memory too, and of each term where it begins.
var bounded = map[string]int{
	logEntries:             3 * 112_600,
	logCache:               3 * 112_600,
	logBytes:               3 * 112_600 * 200,
	"raft.raftLog.runs":    3 * 112_600,
	"front.beats.order":    3 * 4096, // of ten minutes, if the first is not answered
	"raft.retention.marks": 3 * 66,   // one for each MiB of the log that is kept, up to 64 MiB
}

// judge requires that nothing has grown, in all that was counted from one census on.
func (d *day) judge(from int) {
	d.t.Helper()
	for _, way := range ways {
		if d.changes[way] == 0 {
			d.t.Errorf("no leader was %s", way)
		}
	}
	if d.stayed < d.total()/10 {
		d.t.Errorf("%s led only %d times of %d", d.c.Name(stays), d.stayed, d.total())
	}
	var grown []course
	all := d.found.from(from - 1)
	for _, c := range all {
		if most, ok := bounded[c.name]; ok {
			if got := slices.Max(c.values); got > float64(most) {
				d.t.Errorf("%v: more than %d", c, most)
			}
		} else if c.grows() {
			grown = append(grown, c)
		}
	}
	for _, c := range grown {
		d.t.Errorf("it grows: %v: %v", c, c.values)
	}
	d.t.Logf("%v, %s led %d times; %d kinds of things counted %d times; from number %d on %d of them grow",
		d.changes, d.c.Name(stays), d.stayed, len(all), d.looks, from, len(grown))
	if os.Getenv("LOCKD_CENSUS") != "" {
		for _, c := range all {
			d.t.Log(c)
		}
	}
}
