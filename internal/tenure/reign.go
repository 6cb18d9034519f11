package tenure

import (
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// reign is one leadership. Everything in it dies with it.
type reign struct {
	term   raft.Term
	keeper *session.Keeper
	ready  chan struct{} // closed when it serves, or when it is over before that
	served bool          // its own first entry is applied
	over   bool

	turned  time.Duration             // when the last turn was taken
	rounds  int                       // quorum rounds on their way
	ticking bool                      // a tick is on its way
	ending  bool                      // a goroutine proposes what is in due
	due     []session.Life            // to be expired
	asked   map[session.Life]struct{} // in due, or on their way
}

func newReign(term raft.Term, now time.Duration) *reign {
	return &reign{
		term: term, keeper: session.NewKeeper(uint64(term), now), turned: now,
		ready: make(chan struct{}), asked: make(map[session.Life]struct{}),
	}
}

func (r *reign) serving() bool { return r.served && !r.over }

// serve starts the Keeper with the state at an entry of its own term.
func (r *reign) serve(now time.Duration, table *locktable.Table) {
	r.keeper.Start(now, table.Clock(), table.Lives())
	r.served = true
	close(r.ready)
}

func (r *reign) end() {
	r.over = true
	if !r.served {
		close(r.ready)
	}
}

// follow passes on to the Keeper what an entry did to the sessions.
func (r *reign) follow(now time.Duration, a replica.Applied) {
	for _, e := range a.Effects {
		switch e.Kind { //nolint:exhaustive // the others are not about sessions
		case locktable.Opened:
			if terms, _, ok := a.Table.Session(e.Session); ok {
				r.keeper.Opened(now, terms)
			}
		case locktable.Ended:
			r.keeper.Ended(e.Session)
		}
	}
}

// expire puts lives in line to be expired, but for those that are there already.
func (r *reign) expire(lives []session.Life) {
	for _, life := range lives {
		if _, asked := r.asked[life]; !asked {
			r.asked[life] = struct{}{}
			r.due = append(r.due, life)
		}
	}
}

// take returns the lives of the next Expire.
func (r *reign) take() []session.Life {
	n := min(len(r.due), locktable.ExpireMax)
	some := r.due[:n:n]
	r.due = r.due[n:]
	return some
}

// settle forgets lives whose Expire is applied or refused: the Keeper knows whether they are to come again.
func (r *reign) settle(lives []session.Life) {
	for _, life := range lives {
		delete(r.asked, life)
	}
}
