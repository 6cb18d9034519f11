package client

import (
	"time"

	"github.com/lockd/lockd/internal/machine"
	"github.com/lockd/lockd/internal/wire"
)

// toWire returns the message of the machine as it is sent under an id.
func (o *owner) toWire(msg machine.Message, id uint64) wire.Message {
	switch msg := msg.(type) {
	case machine.OpenRequest:
		return &wire.Open{ID: id, Session: wire.ID(msg.ID), TTL: msg.TTL, Grace: msg.Grace, Metadata: o.metadata}
	case machine.CloseRequest:
		return &wire.Close{ID: id, Life: wireLife(msg.Life)}
	case machine.KeepAlive:
		return &wire.KeepAlive{Life: wireLife(msg.Life), Number: msg.Number}
	case machine.Request:
		return o.drafts.command(msg, id)
	default:
		return nil // the machine sends nothing else
	}
}

// drafts are the messages that are sent most, to be filled in anew for each request. They are written before the next one is.
type drafts struct {
	acquire wire.Acquire
	release wire.Release
}

// command returns a command of a session.
func (d *drafts) command(r machine.Request, id uint64) wire.Message {
	head := wire.Request{Life: wireLife(r.Life), Seq: r.Seq, Acked: r.Acked, Seen: r.Seen}
	if v, ok := r.Op.Body.(*valueChange); ok {
		return &wire.SetValue{ID: id, Trace: v.trace, Request: head, Name: v.name, Token: v.token, Value: v.value}
	}
	a, ok := r.Op.Body.(*acquisition)
	if !ok {
		return nil
	}
	switch r.Op.Kind {
	case machine.OpRelease:
		d.release = wire.Release{ID: id, Trace: a.trace, Request: head, Name: a.names[0], Token: r.Op.Token}
		return &d.release
	case machine.OpCancel:
		return &wire.Cancel{ID: id, Trace: a.trace, Request: head, Target: r.Op.Target, Name: a.names[0]}
	case machine.OpAcquire, machine.OpTry:
		d.acquire = wire.Acquire{
			ID: id, Trace: a.trace, Request: head, Names: a.names, Mode: wire.Mode(a.mode), Limit: a.limit, Wait: waitOf(r.Op), Owner: a.owner,
			Reentrant: a.reentrant, Delay: a.delay, Lease: wire.ID(a.lease), LeaseTTL: a.leaseTTL, Value: a.value, Metadata: a.metadata,
		}
		return &d.acquire
	case machine.OpOther:
	}
	return nil
}

func waitOf(op machine.Op) time.Duration {
	switch {
	case op.Kind == machine.OpTry:
		return 0
	case op.Wait == 0:
		return wire.Forever
	default:
		return op.Wait
	}
}

func wireLife(l machine.Life) wire.Life { return wire.Life{ID: wire.ID(l.ID), Index: l.Index} }

func machineLife(l wire.Life) machine.Life {
	return machine.Life{ID: machine.SessionID(l.ID), Index: l.Index}
}

// outcomes are the codes of the log in the words of the machine. What is not named is a refusal.
var outcomes = map[wire.Code]machine.Code{
	wire.OK:             machine.Done,
	wire.Granted:        machine.Granted,
	wire.Reentered:      machine.Granted,
	wire.Queued:         machine.Queued,
	wire.Held:           machine.NotAcquired,
	wire.TimedOut:       machine.TimedOut,
	wire.Cancelled:      machine.Cancelled,
	wire.NotHeld:        machine.NotHeld,
	wire.SessionUnknown: machine.SessionUnknown,
	wire.WindowFull:     machine.Retry, // it overtook those that make room for it
}

// verdict returns what an outcome means to the machine, and the body for the caller.
func verdict(out wire.Outcome, endpoint string) (machine.Code, answer) {
	if code, ok := outcomes[out.Code]; ok {
		return code, answer{outcome: out}
	}
	return machine.Refused, answer{outcome: out, err: &Error{
		Code: uint16(out.Code), Endpoint: endpoint, Known: true, Err: told(out.Code, ""),
	}}
}

// judge returns what a failure of a request means to the machine: only what had no effect, and would not fare better, is a refusal.
// A full disk is one to who asks for more: he should hear of it, rather than wait until somebody else has.
func judge(asked machine.Message, f *wire.Failure, endpoint string) (machine.Code, answer) {
	e := failure(f, endpoint)
	r, _ := asked.(machine.Request)
	grows := r.Op.Kind == machine.OpAcquire || r.Op.Kind == machine.OpTry || r.Op.Kind == machine.OpOther
	if e.final() || grows && e.diskFull() {
		return machine.Refused, answer{err: e}
	}
	return machine.Retry, answer{err: e}
}

// keepAliveVerdicts are the verdicts in the words of the machine.
var keepAliveVerdicts = map[wire.Verdict]machine.Code{
	wire.Renewed: machine.Done, wire.NotRenewed: machine.Retry, wire.Ended: machine.SessionUnknown,
}

// replied returns what an answer to a message of the machine tells it, nil if that is nothing.
func replied(asked machine.Message, code machine.Code, body *answer, r *wire.Reply, wait time.Duration) machine.Message {
	switch asked := asked.(type) {
	case machine.OpenRequest:
		a := machine.OpenAnswer{ID: asked.ID, Code: code, Index: r.Index, Cluster: r.Clock, Wait: wait}
		if code != machine.Done && code != machine.Retry {
			a.Code, a.Body = machine.Refused, body
		}
		return a
	case machine.CloseRequest:
		if code == machine.Done || code == machine.SessionUnknown {
			return machine.CloseAnswer{Life: asked.Life}
		}
		return nil // it is repeated
	case machine.Request:
		return machine.Answer{
			Life: asked.Life, Seq: asked.Seq, Code: code, Token: r.Outcome.Token, Cluster: r.Clock, Wait: wait, Body: body,
		}
	default:
		return nil
	}
}
