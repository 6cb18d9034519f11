package simworld

import "time"

// Faults plans what goes wrong with the programs and their connections, until the world is healed.
func (w *World) Faults() {
	o := &w.Opts
	long := 2 * o.TTL
	program := func() *Program { return w.Programs[w.Rand.IntN(len(w.Programs))] }
	w.Again(o.Break, func() {
		if c := program().conns[w.Rand.IntN(2)]; c != nil {
			w.Hit("break")
			c.Break()
		}
	})
	w.Again(o.ClientPause, func() {
		w.Hit("client pause")
		program().pause(w.Between(0, long), false)
	})
	w.Again(o.Suspend, func() {
		w.Hit("suspend")
		program().pause(w.Between(0, long), true)
	})
	w.Again(o.Kill, func() { w.kill(program(), w.Between(0, long)) })
	w.Again(o.Leave, func() { program().leave() })
}

// kill ends a program, and starts another in its place after a while.
func (w *World) kill(p *Program, d time.Duration) {
	if !p.alive {
		return
	}
	w.Hit("kill")
	p.kill()
	w.After(d, func() {
		if !p.alive && !w.Judge.Resting {
			p.start()
		}
	})
}

// Revive starts the programs that were killed.
func (w *World) Revive() {
	for _, p := range w.Programs {
		if !p.alive {
			p.start()
		}
	}
}
