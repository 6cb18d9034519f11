package lockd

import (
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/raft"
)

// codes that an answer to a request may have.
const (
	outcomesMax = 32  // codes below it are decided by the log
	failuresMin = 100 // codes from here on are of the node
	failuresMax = 120
)

// makeCallSets makes the attributes of every answer to every request.
func (m *metrics) makeCallSets() {
	m.callSets = make(map[call][]metric.RecordOption)
	for kind := wire.TypeOpen; kind <= wire.TypeStatus; kind++ {
		method := front.Method(kind)
		if method == "" {
			continue
		}
		for code := range wire.Code(failuresMax) {
			if code == 0 || code >= outcomesMax && code < failuresMin {
				continue
			}
			m.callSets[call{kind, code}] = callSet(method, code)
		}
	}
}

// callSet follows the conventions for RPC: error.type is set on what failed, and on nothing else.
func callSet(method string, code wire.Code) []metric.RecordOption {
	status := strings.ToUpper(strings.ReplaceAll(code.String(), " ", "_"))
	attributes := []attribute.KeyValue{
		attribute.String("rpc.system.name", "lockd"), attribute.String("rpc.method", method), attribute.String("rpc.response.status_code", status),
	}
	if code.Failed() {
		attributes = append(attributes, attribute.String("error.type", status))
	}
	return []metric.RecordOption{set(attributes...)}
}

func (m *metrics) frontEvents() front.Events {
	bodies := set(attribute.String("lockd.what", "body"))
	streams := set(attribute.String("lockd.what", "stream"))
	requests := set(attribute.String("lockd.what", "request"))
	connections := set(attribute.String("lockd.what", "connection"))
	return front.Events{
		Connections: func(clients, nodes int) {
			m.clients.Store(int64(clients))
			m.nodes.Store(int64(nodes))
		},
		Goodbye: func(code wire.Code) {
			m.goodbyes.Add(nobody(), 1, set(attribute.String("lockd.reason", code.String())))
			switch code { //nolint:exhaustive // the others are counted as goodbyes alone
			case wire.Malformed, wire.OutOfStep, wire.TooLarge:
				m.badFrames.Add(nobody(), 1, streams)
			case wire.Overloaded:
				m.overloaded.Add(nobody(), 1, connections)
			}
		},
		Request: func(r front.Request) {
			seconds(m.calls, r.Took, m.callSets[call{r.Type, r.Code}]...)
			if r.Code == wire.Overloaded {
				m.overloaded.Add(nobody(), 1, requests)
			}
		},
		Malformed:  func(wire.Type) { m.badFrames.Add(nobody(), 1, bodies) },
		KeepAlives: func(count int) { m.keepAlives.Add(nobody(), int64(count)) },
		Forwarded:  func(count int) { m.forwarded.Add(nobody(), int64(count)) },
		NoQuorum:   func(time.Duration) { m.noQuorum.Add(nobody(), 1) },
	}
}

func (m *metrics) tenureEvents() tenure.Events {
	failed := set(attribute.Bool("error", true))
	return tenure.Events{
		Began:   func(raft.Term, int) { m.leads.Store(true) },
		Ended:   func(raft.Term) { m.leads.Store(false) },
		Expired: func(sessions int) { m.expired.Add(nobody(), int64(sessions)) },
		Round: func(took time.Duration, err error) {
			if err != nil {
				seconds(m.round, took, failed)
				return
			}
			seconds(m.round, took)
		},
		Late:  func(by time.Duration) { seconds(m.late, by) },
		Unfit: func() { m.unfit.Add(nobody(), 1) },
		Command: func(commit, apply time.Duration) {
			seconds(m.commit, commit)
			seconds(m.apply, apply)
		},
	}
}

func (m *metrics) replicaEvents() replica.Events {
	failed := set(attribute.Bool("error", true))
	return replica.Events{
		Flushed: func(records int, took time.Duration) {
			seconds(m.flush, took)
			m.flushed.Add(nobody(), int64(records))
		},
		Delayed: func(d time.Duration) { seconds(m.delayed, d) },
		Kept: func(took time.Duration, err error) {
			if err != nil {
				seconds(m.kept, took, failed)
				return
			}
			seconds(m.kept, took)
		},
	}
}

// standing, slow and snapshot are to be called by those of raft.Events.
func (m *metrics) standing(s raft.Standing) {
	if s.Leader.IsZero() {
		return
	}
	if term := uint64(s.Term); m.term.Swap(term) != term {
		m.elections.Add(nobody(), 1)
	}
}

func (m *metrics) slowWrite() { m.slow.Add(nobody(), 1) }

func (m *metrics) snapshot(sent bool, err error) {
	direction := "received"
	if sent {
		direction = "sent"
	}
	m.snapshots.Add(nobody(), 1, set(attribute.String("lockd.direction", direction), attribute.Bool("error", err != nil)))
}

// storage returns s with its writes timed.
func (m *metrics) storage(s raft.Storage) raft.Storage { return timed{s, m} }

type timed struct {
	raft.Storage
	m *metrics
}

// Write implements raft.Storage.
func (t timed) Write(ws []raft.Write) error {
	began := time.Now()
	err := t.Storage.Write(ws)
	seconds(t.m.fsync, time.Since(began))
	return err
}
