package front

import (
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// order is a client's command, as the lock table knows it, and what the node has to know of it.
type order struct {
	id      uint64            // of the request
	trace   wire.TraceContext // of the client
	command locktable.Command
	topic   topic  // whose events the connection is to be told from here on
	index   uint64 // of the life; zero if it is not known yet
	name    string // the first lock that it names
	grows   bool   // it may make the state grow: the others go on when the disk is nearly full
}

// orderOf returns the order that a message is; ok is false if it is none.
func orderOf(m wire.Message) (o order, ok bool) {
	switch m := m.(type) {
	case *wire.Open:
		return order{
			id: m.ID, trace: m.Trace, topic: topic{session: m.Session}, grows: true,
			command: &locktable.Open{ID: session.ID(m.Session), TTL: m.TTL, Grace: m.Grace, Metadata: m.Metadata},
		}, true
	case *wire.Close:
		return order{
			id: m.ID, trace: m.Trace, topic: topic{session: m.Life.ID}, index: m.Life.Index,
			command: &locktable.Close{Session: lifeOf(m.Life)},
		}, true
	case *wire.Acquire:
		return acquireOf(m), true
	case *wire.Release:
		return ofSession(m.ID, m.Trace, m.Request, m.Name,
			&locktable.Release{Request: requestOf(m.Request), Name: m.Name, Token: m.Token}), true
	case *wire.Cancel:
		return ofSession(m.ID, m.Trace, m.Request, m.Name,
			&locktable.Cancel{Request: requestOf(m.Request), Target: m.Target, Name: m.Name}), true
	case *wire.SetValue:
		o = ofSession(m.ID, m.Trace, m.Request, m.Name, &locktable.SetValue{
			Request: requestOf(m.Request), Name: m.Name, Token: m.Token, LeaseID: session.ID(m.Lease), Value: m.Value,
		})
		o.grows = true
		return o, true
	}
	return leaseOrderOf(m)
}

func acquireOf(m *wire.Acquire) order {
	o := ofSession(m.ID, m.Trace, m.Request, "", &locktable.Acquire{
		Request: requestOf(m.Request), Names: m.Names, Mode: locktable.Mode(m.Mode), Limit: m.Limit, Wait: m.Wait,
		Owner: m.Owner, Reentrant: m.Reentrant, Delay: m.Delay, LeaseID: session.ID(m.Lease), LeaseTTL: m.LeaseTTL,
		Value: m.Value, Metadata: m.Metadata,
	})
	o.grows = true
	if len(m.Names) > 0 {
		o.name = m.Names[0]
	}
	return o
}

func leaseOrderOf(m wire.Message) (o order, ok bool) {
	switch m := m.(type) {
	case *wire.RenewLease:
		return order{
			id: m.ID, trace: m.Trace, topic: topic{token: m.Token}, name: m.Name,
			command: &locktable.RenewLease{Name: m.Name, ID: session.ID(m.Lease), Token: m.Token, TTL: m.TTL},
		}, true
	case *wire.ReleaseLease:
		return order{
			id: m.ID, trace: m.Trace, topic: topic{token: m.Token}, name: m.Name,
			command: &locktable.ReleaseLease{Name: m.Name, ID: session.ID(m.Lease), Token: m.Token},
		}, true
	case *wire.TakeLease:
		return order{
			id: m.ID, trace: m.Trace, name: m.Name, grows: true,
			command: &locktable.TakeLease{
				Name: m.Name, ID: session.ID(m.Lease), Token: m.Token, NewID: session.ID(m.NewLease), TTL: m.TTL, Metadata: m.Metadata,
			},
		}, true
	}
	return order{}, false
}

func ofSession(id uint64, trace wire.TraceContext, r wire.Request, name string, cmd locktable.Command) order {
	return order{id: id, trace: trace, topic: topic{session: r.Life.ID}, index: r.Life.Index, name: name, command: cmd}
}

func requestOf(r wire.Request) locktable.Request {
	return locktable.Request{Session: lifeOf(r.Life), Seq: r.Seq, Acked: r.Acked, Seen: r.Seen}
}

// forwardable reports whether another node may send the command, and whether it may make the state grow. What the leader decides
// on its own account comes from nobody.
func forwardable(cmd locktable.Command) (grows, ok bool) {
	switch cmd.(type) {
	case *locktable.Open, *locktable.Acquire, *locktable.SetValue, *locktable.TakeLease:
		return true, true
	case *locktable.Close, *locktable.Release, *locktable.Cancel, *locktable.RenewLease, *locktable.ReleaseLease:
		return false, true
	}
	return false, false
}

func lifeOf(l wire.Life) session.Life { return session.Life{ID: session.ID(l.ID), Index: l.Index} }

func wireLife(l session.Life) wire.Life { return wire.Life{ID: wire.ID(l.ID), Index: l.Index} }

// outcomeOf returns what the log decided. The numbers of codes are the same on both sides.
func outcomeOf(r locktable.Reply) wire.Outcome {
	return wire.Outcome{
		Code: wire.Code(r.Code), Token: r.Token, Floor: r.Floor, Deadline: r.Deadline,
		Ahead: uint64(max(r.Ahead, 0)), Behind: uint64(max(r.Behind, 0)), Previous: endingOf(r.Previous),
	}
}

func endingOf(e locktable.Ending) wire.Ending {
	return wire.Ending{How: wire.How(e.How), Token: e.Token}
}

func holderOf(h locktable.Holder) wire.Holder {
	return wire.Holder{
		Token: h.Token, Life: wireLife(h.Session), Owner: h.Owner, Mode: wire.Mode(h.Mode), Since: h.Since,
		Levels: uint64(max(h.Levels, 0)), Names: h.Names, Lease: wire.ID(h.Lease), Until: h.Until, Ended: wire.How(h.Ended),
		Value: h.Value, Metadata: h.Metadata,
	}
}

func waiterOf(w locktable.Waiter) wire.Waiter {
	return wire.Waiter{
		Life: wireLife(w.Session), Seq: w.Seq, Owner: w.Owner, Mode: wire.Mode(w.Mode), Since: w.Since, Until: w.Until,
		Names: w.Names, Value: w.Value, Metadata: w.Metadata,
	}
}

func summaryOf(v locktable.View) wire.Summary {
	return wire.Summary{
		Name: v.Name, Limit: v.Limit, Held: uint64(max(v.Held, 0)), Queue: uint64(max(v.Queue, 0)), Newest: v.Newest,
	}
}

func sessionOf(t session.Terms, metadata []byte) wire.Session {
	return wire.Session{Life: wireLife(t.Life), TTL: t.TTL, Grace: t.Grace, Metadata: metadata}
}

// checkOf returns the worth of a token. The numbers of validities are the same on both sides.
func checkOf(c locktable.Check) wire.Check {
	return wire.Check{Validity: wire.Validity(c.Validity), Newest: c.Newest, Floor: c.Floor}
}

// verdictOf returns the verdict on a KeepAlive. The numbers are the same on both sides.
func verdictOf(c session.Confirmation) wire.Verdict { return wire.Verdict(c) }

// limitsOf returns what clients are told of the limits.
func limitsOf(l *Limits) wire.Limits {
	return wire.Limits{
		Frame: wire.FrameMax, InFlight: uint64(l.InFlight), Name: locktable.NameMax, Names: locktable.NamesMax,
		Value: locktable.ValueMax, Metadata: session.MetadataMax, Window: session.WindowMax, TTLMin: session.TTLMin,
		TTLMax: session.TTLMax, LeaseMin: locktable.LeaseMin, LeaseMax: locktable.LeaseMax, WaitMax: locktable.WaitMax,
		DelayMax: locktable.DelayMax,
	}
}

// ageOf returns how long ago a KeepAlive was ready. Beyond the longest TTL it makes no difference how long.
func ageOf(d time.Duration) time.Duration { return min(max(d, 0), session.TTLMax) }
