package tenure

import (
	"time"

	"github.com/lockd/lockd/raft"
)

// Events tell what a Tenure does. They must not block; a nil func is not called.
type Events struct {
	Began   func(term raft.Term, sessions int)  // it serves: its own first entry is applied
	Ended   func(term raft.Term)                // a leadership is over
	Expired func(sessions int)                  // so many sessions were ended by one entry
	Round   func(took time.Duration, err error) // a quorum round is over
	Late    func(by time.Duration)              // a turn came that long after the one before; only session.StallCount of it counts
	Unfit   func()                              // turns are late all the time: leadership is given away
	// Command: a client's command was applied. Commit is the time from its stamp to the beginning of the batch it was applied in,
	// apply the time that batch took.
	Command func(commit, apply time.Duration)
}

func (e *Events) began(term raft.Term, sessions int) {
	if e.Began != nil {
		e.Began(term, sessions)
	}
}

func (e *Events) ended(term raft.Term) {
	if e.Ended != nil {
		e.Ended(term)
	}
}

func (e *Events) expired(sessions int) {
	if e.Expired != nil {
		e.Expired(sessions)
	}
}

func (e *Events) round(took time.Duration, err error) {
	if e.Round != nil {
		e.Round(took, err)
	}
}

func (e *Events) late(by time.Duration) {
	if e.Late != nil {
		e.Late(by)
	}
}

func (e *Events) command(commit, apply time.Duration) {
	if e.Command != nil {
		e.Command(commit, apply)
	}
}

func (e *Events) unfit() {
	if e.Unfit != nil {
		e.Unfit()
	}
}
