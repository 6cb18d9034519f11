package simworld

import "time"

// Never is a time that does not come.
const Never = time.Duration(1<<63 - 1)

// Clock is a monotonic clock that runs at a rate of its own.
type Clock struct {
	Base  time.Duration
	Drift int           // parts per million
	lost  time.Duration // time in which it stood still
	stood time.Duration // since when it stands still, true time
	still bool
}

// At reads the clock.
func (c *Clock) At(now time.Duration) time.Duration {
	if c.still {
		now = c.stood
	}
	now -= c.lost
	return c.Base + now + now/1_000_000*time.Duration(c.Drift) + now%1_000_000*time.Duration(c.Drift)/1_000_000
}

// When returns a true time, little later than the first, at which the clock shows at least t if it does not stop until then.
func (c *Clock) When(t time.Duration) time.Duration {
	now := t - c.Base + c.lost
	for range 4 { // each step leaves less than a hundredth of the error
		now += t - c.running(now)
	}
	return now + time.Microsecond
}

// running reads the clock as if it ran.
func (c *Clock) running(now time.Duration) time.Duration {
	d := *c
	d.still = false
	return d.At(now)
}

// stop lets the clock stand still, and start lets it go on; start returns how much it missed.
func (c *Clock) stop(now time.Duration) { c.still, c.stood = true, now }

func (c *Clock) start(now time.Duration) time.Duration {
	missed := now - c.stood
	c.still = false
	c.lost += missed
	return missed
}
