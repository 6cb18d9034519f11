package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/lockd/lockd/internal/simworld"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
)

// Result is what a run came to.
type Result struct {
	Options string
	Stats   simworld.Stats
	Raft    rafttest.Coverage
	Steps   int           // events of all kinds
	Virtual time.Duration // how long it took in the world
	WAL     bool
	Hash    uint64 // of everything that happened: the same for the same seed
	Err     error  // what was wrong
	Tail    string // the last events
}

// Run runs one seed. Show, if it is not nil, is given every line of the service's trace.
func Run(seed uint64, show func(string)) Result {
	rng := rand.New(rand.NewPCG(seed, 0x736572766963))
	opts := draw(seed, rng)
	opts.Programs.Trace = show
	s := &service{opts: opts, swarm: opts.Raft, World: simworld.New(opts.Programs, rng), states: map[raft.PeerID]*state{}}
	r := Result{Options: opts.String(), Raft: rafttest.Coverage{}, WAL: opts.Raft.WAL}
	raftRun := func(swarm rafttest.Swarm, lost bool) {
		report := rafttest.RunWith(swarm, s, rafttest.SimOptions{Beside: s, Lost: lost})
		r.Raft.Add(report.Coverage)
		r.Steps += report.Steps
		r.Virtual += report.Time
		r.Hash = r.Hash*31 ^ report.Hash
		if r.Err = s.Err; r.Err == nil {
			r.Err = report.Err
		}
		if r.Err != nil {
			r.Tail = s.Tail() + "\nthe last events of raft:\n" + strings.Join(report.Trace, "\n")
		}
	}
	raftRun(opts.Raft, opts.Lost)
	if r.Err == nil && opts.Lost && s.disaster() {
		next := opts.Raft
		next.Seed += 1 << 32
		raftRun(next, false)
	}
	if r.Err == nil {
		r.Err = s.Err
	}
	r.Stats, r.Hash = s.Stats, r.Hash^s.Hash()
	return r
}

// Failure describes a failed run, and how to see it again.
func (r Result) Failure(seed uint64) string {
	return fmt.Sprintf("seed %d: %v\noptions: %s\n%s\nreplay: LOCKD_SEED=%d LOCKD_SEEDS=1 LOCKD_TRACE=1 go test ./internal/sim/ -run '^TestSimSeeds$' -v",
		seed, r.Err, r.Options, r.Tail, seed)
}
