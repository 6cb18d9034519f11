package nemesis

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

// step is something that the course of a scenario does at a time.
type step struct {
	at    time.Duration
	fault fault
	heal  func() int64 // nil: the fault is to be injected
}

// course is a plan while it happens, in one goroutine.
type course struct {
	*arena
	steps []step // by at
	hits  map[kind]int64
	dull  []fault // that hit nothing
}

// follow injects and heals what the plan says. It returns when everything has been healed.
func (a *arena) follow(p plan) *course {
	a.t.Helper()
	c := &course{arena: a, hits: map[kind]int64{}}
	for _, f := range p.faults {
		c.steps = append(c.steps, step{at: f.at, fault: f})
	}
	begun := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(c.steps) > 0 {
		next := c.steps[0]
		timer.Reset(next.at - time.Since(begun))
		select {
		case <-timer.C:
		case <-a.t.Context().Done():
			return c
		}
		c.steps = c.steps[1:]
		if next.heal == nil {
			c.injectNow(next)
		} else {
			c.healNow(next)
		}
	}
	return c
}

// injectNow lets a fault begin, or puts it off while there is nobody whom it could hit.
func (c *course) injectNow(s step) {
	c.t.Helper()
	heal, err := c.inject(s.fault)
	const later = 200 * time.Millisecond
	switch {
	case errors.Is(err, errNobody) && s.at < s.fault.at+10*time.Second:
		s.at += later
		c.add(s)
	case err != nil:
		c.t.Fatalf("%s: %v", s.fault, err)
	default:
		c.event("inject %s", s.fault)
		c.add(step{at: s.at + s.fault.last, fault: s.fault, heal: heal})
	}
}

func (c *course) healNow(s step) {
	hits := s.heal()
	c.event("heal %s: it hit %d", s.fault, hits)
	c.hits[s.fault.kind] += hits
	if hits == 0 {
		c.dull = append(c.dull, s.fault)
	}
}

// add puts a step where it belongs by its time, behind those of the same time.
func (c *course) add(s step) {
	i, _ := slices.BinarySearchFunc(c.steps, s.at, func(o step, at time.Duration) int { return cmp.Or(cmp.Compare(o.at, at), -1) })
	c.steps = slices.Insert(c.steps, i, s)
}
