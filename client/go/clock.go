package client

import "time"

// clock counts from a moment of its own. It is safe for concurrent use.
type clock struct {
	base   time.Time // with a monotonic reading
	asleep func() time.Duration
	slept  time.Duration // what asleep said at base
}

func newClock(suspended func() time.Duration) clock {
	c := clock{base: time.Now(), asleep: suspended}
	if c.asleep == nil {
		c.asleep = platformSuspended
	}
	c.slept = c.asleep()
	return c
}

// now returns the monotonic time, which may stand still while the machine sleeps.
func (c *clock) now() time.Duration { return time.Since(c.base) }

// missed returns how much of the real time now has missed.
func (c *clock) missed() time.Duration { return max(c.asleep()-c.slept, 0) }

// real returns the time that counts everything.
func (c *clock) real() time.Duration { return c.now() + c.missed() }

// at returns the moment of a real time. It has a monotonic reading.
func (c *clock) at(realTime time.Duration) time.Time { return c.base.Add(realTime - c.missed()) }

// marginOf is by how much a validity ends sooner than a hold of this span could be ended by the cluster, for the client's own slowness.
func marginOf(span time.Duration) time.Duration { return min(span/10, time.Second) }
