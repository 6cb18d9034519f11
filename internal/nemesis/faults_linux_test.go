package nemesis

import (
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/clockskew"
)

// inject lets a fault happen. The function that it returns heals it, and tells what it has hit.
func (a *arena) inject(f fault) (heal func() int64, err error) {
	switch f.kind {
	case loss, delay, duplicate, reorder, corrupt, bandwidth:
		return a.degrade(f)
	case reset:
		return a.resetAll(f)
	case split, oneWay, isolation, partial, clientCut:
		return a.sever(f)
	case halfOpen:
		return a.killBehindACut(f)
	case killNode, killLeader, killMinority, killAll:
		return a.crash(f)
	case stopNode, stopLeader:
		return a.freeze(f)
	case slowDisk:
		return a.brake(f)
	case hungDisk:
		return a.hang(f)
	case fullDisk:
		return a.fill(f)
	case powerCut, powerCutAll:
		return a.blackout(f)
	case stopHolder:
		return a.stopWorker(f)
	case killHolder:
		return a.killWorker(f)
	case wallNode, jumpNode, driftNode, driftBeyond:
		return a.skewNode(f)
	case wallClient, jumpClient, driftClient:
		return a.skewWorker(f)
	}
	return nil, fmt.Errorf("nobody injects %s", f.kind)
}

// skew returns the clock of a fault.
func (f fault) skew() clockskew.Clock {
	sign := 1 - 2*int64(f.pick>>20&1)
	switch f.kind {
	case wallNode, wallClient:
		return clockskew.Clock{Wall: time.Duration(sign * int64(72*time.Hour))}
	case jumpNode, jumpClient:
		return clockskew.Clock{Jump: time.Duration(1 + f.size*float64(time.Hour))}
	case driftBeyond:
		return clockskew.Clock{Drift: sign * int64(30_000+f.size*100_000)}
	default: // together less than 1 %
		return clockskew.Clock{Drift: sign * int64(1000+f.size*3500)}
	}
}

func (a *arena) skewNode(f fault) (func() int64, error) {
	one, err := a.free(f)
	if f.kind == driftBeyond || f.pick%2 == 0 {
		one, err = a.leader()
	}
	if err != nil {
		return nil, err
	}
	line := &a.clocks[one]
	pid := a.cluster.PID(one)
	if err := line.set(f.skew()); err != nil {
		return nil, fmt.Errorf("clock of node %d: %w", one+1, err)
	}
	return func() int64 {
		// A process that was started again has a right clock, one that is stopped gets it when it goes on.
		if !a.taken[one] && a.serves(one) && a.cluster.PID(one) == pid {
			if err := line.set(clockskew.Clock{}); err != nil {
				a.t.Errorf("clock of node %d: %v", one+1, err)
			}
		} else {
			a.crooked = append(a.crooked, crooked{one, pid})
		}
		return 1
	}, nil
}

// crooked is a node whose clock could not be set right when it should have been.
type crooked struct{ node, pid int }

// straighten sets the clocks that are left, once nobody is stopped any more.
func (a *arena) straighten() error {
	var errs []error
	for _, c := range a.crooked {
		if a.cluster.Running(c.node) && a.cluster.PID(c.node) == c.pid {
			errs = append(errs, a.clocks[c.node].set(clockskew.Clock{}))
		}
	}
	a.crooked = nil
	return errors.Join(errs...)
}

func (a *arena) skewWorker(f fault) (func() int64, error) {
	w, err := a.idle(f)
	if err != nil {
		return nil, err
	}
	if err := w.clock.set(f.skew()); err != nil {
		return nil, fmt.Errorf("clock of worker %s: %w", w.config.Name, err)
	}
	return func() int64 { // only this lane stops or kills workers
		if err := w.clock.set(clockskew.Clock{}); err != nil {
			a.t.Errorf("clock of worker %s: %v", w.config.Name, err)
		}
		return 1
	}, nil
}
