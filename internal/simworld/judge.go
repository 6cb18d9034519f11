package simworld

import (
	"slices"
	"time"

	"github.com/lockd/lockd/internal/naive"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// Judge knows what is committed, and judges everything else by it. See the package's documentation.
type Judge struct {
	w        *World
	table    *locktable.Table
	model    *naive.Model
	clusters int            // how often a cluster has begun: what was granted in another one is not in the table
	base     uint64         // the first entry that is known here
	log      []committed    // from base on
	hashes   []session.Hash // after each of them

	token    uint64 // the last one granted
	ended    map[session.Life]locktable.How
	spans    map[session.Life]time.Duration  // what a confirmation is good for
	outcomes map[requestName]locktable.Reply // of requests, once final
	asked    map[requestName]*locktable.Acquire
	renewed  map[session.Life]time.Duration // true time at which the newest KeepAlive was sent that a leader confirmed
	leases   map[uint64]time.Duration       // true time before which a lease must not run out, by its token

	SettledAt time.Duration // from then on nobody has a reason to lose a session
	Resting   bool          // the workers begin nothing new
}

// requestName names a request of a session.
type requestName struct {
	life session.Life
	seq  uint64
}

type committed struct {
	term uint64
	data []byte
}

func newJudge(w *World) *Judge {
	return &Judge{
		w: w, table: locktable.NewTable(), model: naive.New(), base: 1, ended: map[session.Life]locktable.How{},
		spans: map[session.Life]time.Duration{}, outcomes: map[requestName]locktable.Reply{}, asked: map[requestName]*locktable.Acquire{},
		renewed: map[session.Life]time.Duration{}, leases: map[uint64]time.Duration{}, SettledAt: Never,
	}
}

// Index returns the last entry that was committed.
func (t *Judge) Index() uint64 { return t.base + uint64(len(t.log)) - 1 }

// Table returns the state after it, to be read.
func (t *Judge) Table() *locktable.Table { return t.table }

// Ended reports whether a session has ended.
func (t *Judge) Ended(life session.Life) bool { return t.ended[life] != locktable.NotEnded }

// Commit takes the next entry; without data it is no command.
func (t *Judge) Commit(term uint64, data []byte) {
	t.log = append(t.log, committed{term, data})
	index := t.Index()
	if data != nil {
		t.apply(index, term, data)
	} else if err := t.table.Skip(index, term); err != nil {
		t.w.Fail("entry %d: %v", index, err)
	}
	hash, _ := t.table.Hash()
	t.hashes = append(t.hashes, hash)
	t.w.trace.hash ^= hash[0]
}

// Found takes the state that a cluster begins with: what there was before and one more entry.
func (t *Judge) Found(index, term uint64, data []byte) {
	if index != t.Index()+1 {
		t.w.Fail("a cluster is founded with entry %d, and the one before is %d", index, t.Index())
		return
	}
	t.clusters++
	t.Commit(term, data)
}

// GoBack forgets what was committed after an entry: all nodes are lost, and a backup is all there is.
func (t *Judge) GoBack(index uint64) {
	if index < t.base || index > t.Index() {
		t.w.Fail("a backup is of entry %d, known are %d to %d", index, t.base, t.Index())
		return
	}
	log := t.log[:index-t.base+1]
	t.table, t.model = locktable.NewTable(), naive.New()
	for i, e := range log {
		at := t.base + uint64(i)
		if e.data == nil {
			_ = t.table.Skip(at, e.term) // it was skipped before
			continue
		}
		cmd, err := locktable.Decode(e.data)
		if err == nil {
			_, err = t.table.Apply(at, e.term, e.data)
		}
		if err != nil {
			t.w.Fail("entry %d: %v", at, err)
			return
		}
		t.model.Apply(at, e.term, cmd, t.table.Clock())
	}
	t.log, t.hashes = slices.Clip(log), t.hashes[:len(log):len(log)]
	for terms := range t.table.Lives() {
		delete(t.ended, terms.Life) // it may have ended since; it ends once more now
	}
	for life := range t.spans {
		if _, _, there := t.table.Session(life); !there && t.ended[life] == locktable.NotEnded {
			t.ended[life] = locktable.Forgotten
		}
	}
	clear(t.leases)
}

// Compare checks that a node that has applied an entry is in the state that everybody is in (invariant 8).
func (t *Judge) Compare(node int, table *locktable.Table) {
	index, _ := table.Index()
	if index < t.base || index > t.Index() {
		t.w.Fail("node %d has applied entry %d of %d to %d", node, index, t.base, t.Index())
		return
	}
	if hash, _ := table.Hash(); hash != t.hashes[index-t.base] {
		t.w.Fail("node %d is in another state after entry %d", node, index)
	}
}

func (t *Judge) apply(index, term uint64, data []byte) {
	t.w.Stats.Commits++
	cmd, err := locktable.Decode(data)
	if err != nil {
		t.w.Fail("entry %d: %v", index, err)
		return
	}
	applied, err := t.table.Apply(index, term, data)
	if err != nil {
		t.w.Fail("%v", err)
		return
	}
	t.agree(index, term, cmd, applied)
	t.w.Tracef("%d (%d) %s → %d token %d", index, term, describe(cmd), applied.Reply.Code, applied.Reply.Token)
	if clock, now := t.table.Clock(), t.w.now; clock > now+now/100+time.Millisecond {
		t.w.Fail("cluster time %v is ahead of real time", clock)
	}
	// The effects come first: what time has to do is done before the command, and what a grant is the reply to follows it.
	for _, effect := range applied.Effects {
		t.effect(effect)
	}
	t.reply(cmd, applied.Reply)
	t.beliefs()
}

// agree checks that the naive machine does the same (invariants 4 and 6: the order of grants, and one outcome of each request).
func (t *Judge) agree(index, term uint64, cmd locktable.Command, got locktable.Applied) {
	stamp := t.table.Clock() // it is by the same stamp, or the clock was there before
	reply, effects := t.model.Apply(index, term, cmd, stamp)
	if reply != got.Reply || !slices.Equal(effects, got.Effects) {
		t.w.Fail("entry %d, %s: the table answers %+v with %+v, the naive one %+v with %+v", index, describe(cmd), got.Reply, got.Effects, reply, effects)
	}
}
