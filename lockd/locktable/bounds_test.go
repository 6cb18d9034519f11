package locktable_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// names returns n names that begin with prefix, the last bytes of which count up from first.
func names(prefix string, first, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprint(prefix, first+i)
	}
	return list
}

// A session dies with many waits for many names each: every wait is one record, and leaves a lock with nothing in it behind for
// each of its names but the first.
func TestDeadWaitsForManyNamesAreCollectedInSteps(t *testing.T) {
	r := newRun(t)
	holder, dead := r.open(), r.open()
	const waits = 600
	for i := range waits {
		held := fmt.Sprint("held/", i/locktable.RecordsPerNameMax)
		if i%locktable.RecordsPerNameMax == 0 {
			r.want(r.acquire(holder, locktable.Exclusive, 0, held).Code, locktable.Granted)
		}
		wanted := append(names("free/", i*locktable.NamesMax, locktable.NamesMax-1), held)
		r.want(r.acquire(dead, locktable.Exclusive, locktable.Forever, wanted...).Code, locktable.Queued)
		r.table.Cut()
	}
	r.apply(&locktable.Expire{Term: 1, Lives: []session.Life{dead}})
	r.changed()
	r.tickAll()
	if locks, _, _ := r.table.Len(); locks != (waits+locktable.RecordsPerNameMax-1)/locktable.RecordsPerNameMax {
		t.Fatalf("%d locks are left", locks)
	}
}

// One request names one lock of each of many dead holds, and each of those has many more, whose bad end is to be remembered.
func TestRequestMeetsManyDeadHoldsOfManyNames(t *testing.T) {
	r := newRun(t)
	dead, next := r.open(), r.open()
	for i := range 1 << 16 / locktable.NamesMax { // as many as are remembered at most
		r.want(r.acquire(dead, locktable.Exclusive, 0, names("old/", i*locktable.NamesMax, locktable.NamesMax)...).Code, locktable.Granted)
		r.table.Cut()
	}
	r.apply(&locktable.Expire{Term: 1, Lives: []session.Life{dead}})
	r.changed()
	r.tickAll()

	dead = r.open()
	var wanted []string
	for i := range 600 {
		all := names("new/", i*locktable.NamesMax, locktable.NamesMax)
		r.want(r.acquire(dead, locktable.Exclusive, 0, all...).Code, locktable.Granted)
		if i >= 600-locktable.NamesMax {
			wanted = append(wanted, all[0])
		}
		r.table.Cut()
	}
	r.apply(&locktable.Expire{Term: 1, Lives: []session.Life{dead}})
	r.changed()
	reply := r.acquire(next, locktable.Exclusive, 0, wanted...)
	r.want(reply.Code, locktable.Granted)
	r.changed()
	r.tickAll()
	if locks, _, _ := r.table.Len(); locks != locktable.NamesMax {
		t.Fatalf("%d locks are left", locks)
	}
}

// The same for shared holds. The first session that dies fills what is remembered, from then on an old end is forgotten for each new one.
func TestDeadReadersOfManyNamesAreCollectedInSteps(t *testing.T) {
	r := newRun(t)
	for range 3 {
		dead := r.open()
		for i := range 1 << 16 / locktable.NamesMax {
			r.want(r.acquire(dead, locktable.Shared, 0, names("old/", i*locktable.NamesMax, locktable.NamesMax)...).Code, locktable.Granted)
			r.table.Cut()
		}
		r.apply(&locktable.Expire{Term: 1, Lives: []session.Life{dead}})
		r.changed()
		r.tickAll()
	}
}

// What is due grants many large values, and then the command writes as much as a command can.
func TestLargestRequestAfterLargeGrants(t *testing.T) {
	r := newRun(t)
	s := r.open()
	lease := func(mode locktable.Mode, wait time.Duration, value int, names ...string) locktable.Command {
		q := r.request(s)
		return &locktable.Acquire{
			Request: q, Names: names, Mode: mode, Wait: wait, Owner: q.Seq, LeaseID: session.ID{1}, LeaseTTL: time.Second,
			Value: make([]byte, value), Metadata: make([]byte, session.MetadataMax),
		}
	}
	long := names(strings.Repeat("n", locktable.NameMax-3), 100, locktable.NamesMax)
	for _, name := range long {
		r.want(r.apply(lease(locktable.Exclusive, 0, 0, name)).Reply.Code, locktable.Granted)
	}
	r.clock = time.Second
	r.tickAll() // and they are remembered
	r.want(r.apply(lease(locktable.Exclusive, 0, 0, "x")).Reply.Code, locktable.Granted)
	for range 10 {
		r.want(r.apply(lease(locktable.Shared, locktable.Forever, locktable.ValueMax, "x")).Reply.Code, locktable.Queued)
	}
	r.table.Cut()
	r.clock = 2 * time.Second
	applied := r.apply(lease(locktable.Exclusive, 0, locktable.ValueMax, long...))
	r.want(applied.Reply.Code, locktable.Granted)
	if len(waitsOver(applied.Effects)) == 0 {
		t.Fatal("nobody was granted before the command")
	}
	r.changed()
	r.tickAll()
}

// A dead session still has its record on "y" when "x" comes free. A request that waits for both passes nobody who waits for "y" alone,
// and is told how the dead hold ended.
func TestGrantOverTheRecordsOfTheDead(t *testing.T) {
	for _, test := range []struct {
		name   string
		mode   locktable.Mode
		before bool // somebody waits for y before
		order  []int
	}{
		{"alone", locktable.Exclusive, false, []int{2}},
		{"behind another", locktable.Shared, true, []int{1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRun(t)
			holder, dead := r.open(), r.open()
			waiters := []session.Life{1: r.open(), 2: r.open()}
			for _, name := range names("dead/", 0, 2*locktable.EntryRecordsMax) {
				r.want(r.acquire(dead, locktable.Exclusive, 0, name).Code, locktable.Granted)
				r.table.Cut()
			}
			r.want(r.acquire(holder, locktable.Exclusive, 0, "x").Code, locktable.Granted)
			x := r.table.Counter()
			r.want(r.acquire(dead, locktable.Exclusive, 0, "y").Code, locktable.Granted)
			last := locktable.Ending{How: locktable.Expired, Token: r.table.Counter()}
			if test.before {
				r.want(r.acquire(waiters[1], test.mode, locktable.Forever, "y").Code, locktable.Queued)
			}
			r.want(r.acquire(waiters[2], test.mode, locktable.Forever, "x", "y").Code, locktable.Queued)
			over := waitsOver(r.apply(&locktable.Expire{Term: 1, Lives: []session.Life{dead}}).Effects)
			over = append(over, waitsOver(r.apply(&locktable.Release{Request: r.request(holder), Name: "x", Token: x}).Effects)...)
			for r.table.Work().Left {
				over = append(over, waitsOver(r.apply(&locktable.Tick{Term: 1}).Effects)...)
			}
			if len(over) != len(test.order) {
				t.Fatalf("%d waits are over: %+v", len(over), over)
			}
			for i, e := range over {
				if e.Session != waiters[test.order[i]] || e.Reply.Code != locktable.Granted || e.Reply.Previous != last {
					t.Errorf("wait %d that is over: %+v", i, e)
				}
			}
		})
	}
}
