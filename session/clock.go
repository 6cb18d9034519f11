package session

import "time"

// How the leader's loop is timed.
const (
	TurnMax  = 125 * time.Millisecond // the loop takes a turn at least this often
	StallMax = 250 * time.Millisecond // a turn that comes later than this after the one before is late

	// StallCount is what counts of the time before a late turn, unless more of it has been told already. It is less than the margin of
	// a client, whose TTL is at least half a second: a monotonic clock that leaps once ends nothing before its holder knows.
	StallCount = 50 * time.Millisecond
)

// clock counts the time in which the leader's loop was running: the monotonic time less what it stood still before a late turn. So a
// leader that was stopped finds everybody's time where it was, and expires nobody for its own stall.
//
// Lateness is measured against the previous turn, not against the wake-up that the loop had asked for: a loop that is stopped just
// before a far wake-up would not look late at all.
type clock struct {
	turn    time.Duration // monotonic time of the last turn
	counted time.Duration // what was counted up to it
	told    time.Duration // the greatest counted time that anybody was told
	offset  time.Duration // cluster time less counted time; fixed once for a leadership
}

// at returns the counted time at the monotonic time now. It never goes back.
func (c *clock) at(now time.Duration) time.Duration {
	ran := max(now-c.turn, 0)
	if ran > StallMax {
		ran = StallCount
	}
	c.told = max(c.told, c.counted+ran)
	return c.told
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
