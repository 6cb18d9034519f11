package sim

import (
	"errors"
	"io"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
)

// state is the state machine of a node: the replica that production runs, over the twin of its checkpoint. It is a
// rafttest.Process, with a server around it.
type state struct {
	s       *service
	node    *rafttest.Node
	media   *checkpoint.Media
	replica *replica.Replica
	server  *server

	behind int // entries since the last flush
}

var _ rafttest.Process = (*state)(nil)

// behindMost is how many entries may be applied without a flush: the backlog of a replica that nobody flushes is bounded.
const behindMost = 500

func newState(s *service, n *rafttest.Node) *state {
	m := &state{s: s, node: n, media: &checkpoint.Media{}}
	m.server = newServer(m)
	m.open()
	return m
}

// open starts with what is durable.
func (m *state) open() {
	r, err := replica.Open(replica.Options{
		Store: checkpoint.OpenMemory(m.media), Applied: m.applied, Installed: m.server.installed,
	})
	if err != nil {
		m.s.Fail("%v: %v", m.node, err)
		return
	}
	m.replica, m.behind = r, 0
	if r.Damaged() != nil {
		m.s.Hit("state damaged")
	}
}

// Apply implements raft.StateMachine. What nobody has applied before is judged first.
func (m *state) Apply(b raft.Batch) {
	for _, e := range b.Entries {
		if uint64(e.Index()) <= m.s.Judge.Index() {
			continue
		}
		var data []byte
		if e.Kind() == raft.KindCommand {
			data = e.Data()
		}
		m.s.commits(uint64(e.Term()), data)
	}
	m.replica.Apply(b)
	m.behind += len(b.Entries)
	switch {
	case m.behind >= behindMost:
		m.flush()
	case m.s.Rand.Float64() < m.s.swarm.Flush:
		m.node.After(m.s.Between(0, m.s.opts.FlushMost), "flush", m.flushOrCrash)
	}
}

// applied follows every entry, as the server of production does.
func (m *state) applied(a replica.Applied) {
	m.s.Judge.Compare(m.server.place, a.Table)
	m.server.applied(a)
}

// flushOrCrash writes what has changed. Now and then the process ends just before or after that.
func (m *state) flushOrCrash() {
	if m.s.sim == nil || !m.s.Chance(m.s.opts.CrashInFlush) || m.s.Healed {
		m.flush()
		return
	}
	at := checkpoint.BeforeFlush
	if m.s.Chance(500) {
		at = checkpoint.AfterFlush
	}
	m.media.Crash = func(step checkpoint.Step) bool { return step == at }
	err := m.replica.Flush()
	m.media.Crash = nil
	if errors.Is(err, checkpoint.ErrCrashed) {
		m.s.Hit("crash in a flush")
		m.s.sim.CrashNode(m.node, m.s.Between(0, m.s.Opts.TTL))
	}
}

func (m *state) flush() {
	m.behind = 0
	if err := m.replica.Flush(); err != nil && !errors.Is(err, checkpoint.ErrCrashed) {
		m.s.Fail("%v: %v", m.node, err)
		return
	}
	m.s.Hit("flushed")
}

// Mark implements raft.StateMachine.
func (m *state) Mark() raft.Mark { return m.replica.Mark() }

// Snapshot implements raft.StateMachine.
func (m *state) Snapshot() (raft.Snapshot, error) { return m.replica.Snapshot() }

// Restore implements raft.StateMachine.
func (m *state) Restore(mark raft.Mark, from io.Reader) (raft.Installation, error) {
	return m.replica.Restore(mark, from)
}

// Crash implements rafttest.Machine.
func (m *state) Crash() { m.open() }

// Lose implements rafttest.Machine.
func (m *state) Lose() {
	m.media.Damage()
	m.open()
}

// Applied implements rafttest.Machine.
func (m *state) Applied() (at raft.Position, sum uint64) {
	m.replica.View(func(t *locktable.Table) {
		index, term := t.Index()
		hash, _ := t.Hash()
		at, sum = raft.Position{Index: raft.Index(index), Term: raft.Term(term)}, hash[0]^hash[1]
	})
	return at, sum
}

// Started implements rafttest.Process.
func (m *state) Started() { m.server.started() }

// Standing implements rafttest.Process.
func (m *state) Standing(s raft.Standing) { m.server.receive(s) }

// Resumed implements rafttest.Process.
func (m *state) Resumed(after time.Duration) { m.server.resumed(after) }

// Ended implements rafttest.Process.
func (m *state) Ended() { m.server.ended() }
