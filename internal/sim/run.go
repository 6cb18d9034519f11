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
	report := rafttest.RunWith(opts.Raft, s, nil, s)
	r := Result{
		Options: opts.String(), Stats: s.Stats, Raft: report.Coverage, Steps: report.Steps, Virtual: report.Time, WAL: opts.Raft.WAL,
		Hash: report.Hash ^ s.World.Hash(), Err: s.Err,
	}
	if r.Err == nil {
		r.Err = report.Err
	}
	if r.Err != nil {
		r.Tail = s.Tail() + "\nthe last events of raft:\n" + strings.Join(report.Trace, "\n")
	}
	return r
}

// Failure describes a failed run, and how to see it again.
func (r Result) Failure(seed uint64) string {
	return fmt.Sprintf("seed %d: %v\noptions: %s\n%s\nreplay: LOCKD_SEED=%d LOCKD_SEEDS=1 LOCKD_TRACE=1 go test ./internal/sim/ -run '^TestSimSeeds$' -v",
		seed, r.Err, r.Options, r.Tail, seed)
}
