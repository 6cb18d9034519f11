package simworld

import (
	"fmt"

	"github.com/lockd/lockd/session"
)

// Unserved returns a worker that has had no lock since the world was healed, empty if all have had one.
func (w *World) Unserved() string {
	for _, p := range w.Programs {
		for i, wk := range p.workers {
			if wk.rounds == 0 {
				return fmt.Sprintf("worker %d of program %d", i, p.id)
			}
		}
	}
	return ""
}

// Left returns what has not come to an end yet, empty if everything has: no call is open, and nobody holds or waits for anything.
func (w *World) Left() string {
	for _, p := range w.Programs {
		switch {
		case len(p.calls) > 0:
			return fmt.Sprintf("a call of program %d does not end", p.id)
		case len(p.holds)+len(p.leases) > 0:
			return fmt.Sprintf("program %d holds something", p.id)
		}
	}
	if names := w.Judge.table.Names(""); len(names) > 0 {
		return fmt.Sprintf("a hold or a wait is left behind: %q", names)
	}
	return ""
}

// KillHalf kills the first half of the programs, and returns their sessions.
func (w *World) KillHalf() (dead []session.Life) {
	for _, p := range w.Programs[:(len(w.Programs)+1)/2] {
		if life, ok := p.machine.Life(); ok && p.alive {
			dead = append(dead, sessionLife(life))
		}
		p.kill()
	}
	return dead
}
