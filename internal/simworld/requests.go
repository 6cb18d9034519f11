package simworld

import (
	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// Command translates a request of a session, as the front of a node does.
func Command(r machine.Request) locktable.Command {
	head := locktable.Request{Session: sessionLife(r.Life), Seq: r.Seq, Acked: r.Acked, Seen: r.Seen}
	job, _ := r.Op.Body.(job)
	switch r.Op.Kind {
	case machine.OpAcquire, machine.OpTry:
		wait := r.Op.Wait
		if r.Op.Kind == machine.OpTry {
			wait = 0
		} else if wait == 0 {
			wait = locktable.Forever
		}
		return &locktable.Acquire{
			Request: head, Names: job.names, Mode: job.mode, Limit: job.limit, Wait: wait, Owner: job.owner, Delay: job.delay,
			Value: job.value, LeaseID: job.leaseID, LeaseTTL: job.lease,
		}
	case machine.OpRelease:
		return &locktable.Release{Request: head, Name: job.names[0], Token: r.Op.Token}
	case machine.OpCancel:
		return &locktable.Cancel{Request: head, Target: r.Op.Target, Name: job.names[0]}
	default:
		return &locktable.SetValue{Request: head, Name: job.names[0], Token: job.token, Value: job.value}
	}
}

// Answer translates the outcome of a request of a session, as the client does.
func (w *World) Answer(life session.Life, seq uint64, r locktable.Reply) machine.Answer {
	return machine.Answer{Life: clientLife(life), Seq: seq, Code: w.code(r.Code), Token: r.Token}
}

// code translates an outcome. Two of them no client of ours may ever see.
func (w *World) code(c locktable.Code) machine.Code {
	switch c { //nolint:exhaustive // what is not named is a refusal
	case locktable.OK:
		return machine.Done
	case locktable.Granted, locktable.Reentered:
		return machine.Granted
	case locktable.Queued:
		return machine.Queued
	case locktable.Held:
		return machine.NotAcquired
	case locktable.TimedOut:
		return machine.TimedOut
	case locktable.Cancelled:
		return machine.Cancelled
	case locktable.NotHeld:
		return machine.NotHeld
	case locktable.SessionUnknown:
		return machine.SessionUnknown
	case locktable.WindowFull, locktable.Invalid:
		w.Fail("a request is answered with %v", c)
	}
	return machine.Refused
}
