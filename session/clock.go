package session

import "time"

// How the leader's loop is timed.
const (
	TurnMax  = 125 * time.Millisecond // the loop takes a turn at least this often
	StallMax = 250 * time.Millisecond // of the time between two turns, no more than this is counted
)

// clock counts the time in which the leader's loop was running: the monotonic time less what it stood still beyond StallMax. So a
// leader that was stopped finds everybody's time where it was, and expires nobody for its own stall.
//
// Lateness is measured against the previous turn, not against the wake-up that the loop had asked for: a loop that is stopped just
// before a far wake-up would not look late at all.
type clock struct {
	turn    time.Duration // monotonic time of the last turn
	counted time.Duration // what was counted up to it
	offset  time.Duration // cluster time less counted time; fixed once for a leadership
}

// at returns the counted time at the monotonic time now. It never goes back as long as now does not.
func (c *clock) at(now time.Duration) time.Duration {
	return c.counted + min(max(now-c.turn, 0), StallMax)
}

// step begins a turn and reports whether it was late.
func (c *clock) step(now time.Duration) (late bool) {
	late = now-c.turn > StallMax
	c.counted, c.turn = c.at(now), max(now, c.turn)
	return late
}

// when returns the earliest monotonic time at which the counted time is at, if no turn is late.
func (c *clock) when(at time.Duration) time.Duration { return c.turn + at - c.counted }

// Late loops, after which a leader is no use: more than half of the turns of a span.
const (
	unfitSpan  = 10 * time.Second
	unfitTurns = 4 // fewer turns than this in a span are one long stop, not a habit
)

// fitness counts late turns.
type fitness struct {
	since       time.Duration
	turns, late int
	unfit       bool
}

func (f *fitness) turn(now time.Duration, late bool) {
	f.turns++
	if late {
		f.late++
	}
	if now-f.since < unfitSpan {
		return
	}
	f.unfit = f.turns >= unfitTurns && 2*f.late > f.turns
	f.since, f.turns, f.late = now, 0, 0
}
