package sim

import (
	"bytes"
	"io"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/rafttest"
)

// backup is what an operator keeps: the stream of a node's checkpoint.
type backup struct {
	mark   raft.Mark
	stream []byte
	at     time.Duration
}

// birthday is what the wall clocks show when a run begins.
var birthday = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

func (s *service) wall(at time.Duration) time.Time { return birthday.Add(at) }

// Found implements rafttest.Founder: a cluster begins with an incarnation, and after a disaster with what the backup holds.
func (s *service) Found(n *rafttest.Node, first raft.Config) (raft.Mark, error) {
	m := s.states[n.ID()]
	cmd := &locktable.Incarnate{}
	for i := range cmd.Incarnation {
		cmd.Incarnation[i] = byte(s.Rand.Uint32())
	}
	var saved time.Time
	var counter uint64
	if s.backup != nil {
		if err := m.load(s.backup); err != nil {
			return raft.Mark{}, err
		}
		saved, cmd.Wait = s.wall(s.backup.at), s.embargo
		m.replica.View(func(t *locktable.Table) { counter = t.Counter() })
	}
	var err error
	if cmd.Seed, err = locktable.TokenSeed(s.wall(s.Now()), birthday, saved, counter); err != nil {
		return raft.Mark{}, err
	}
	mark, err := m.replica.Found(first, cmd)
	if err != nil {
		return raft.Mark{}, err
	}
	s.Judge.Found(uint64(mark.Index), uint64(mark.Term), locktable.Encode(cmd))
	m.replica.View(func(t *locktable.Table) { s.Judge.Compare(m.server.place, t) })
	return mark, nil
}

// load takes the state of a backup, as an operator's restore does.
func (m *state) load(b *backup) error {
	store := checkpoint.OpenMemory(m.media)
	nothing := func(checkpoint.Record) error { return nil }
	if err := store.Load(nothing); err != nil {
		return err
	}
	staged, err := store.Restore(b.mark, bytes.NewReader(b.stream))
	if err != nil {
		return err
	}
	if err := staged.Load(nothing); err != nil {
		return err
	}
	if err := staged.Commit(); err != nil {
		return err
	}
	m.open()
	return nil
}

// save takes a backup of any node that has a state.
func (s *service) save() {
	n := s.sim.Places()[s.Rand.IntN(len(s.sim.Places()))]
	snapshot, err := n.Machine().Snapshot()
	if !n.Running() || err != nil {
		return
	}
	stream, err := io.ReadAll(snapshot)
	if err != nil {
		s.Fail("%v: %v", n, err)
		return
	}
	s.Hit("backup")
	s.backup = &backup{mark: snapshot.Mark(), stream: stream, at: s.Now()}
}

// disaster follows the loss of all nodes: a while later another cluster begins with the backup. It reports false if there is none.
func (s *service) disaster() bool {
	if s.backup == nil || s.Err != nil {
		return false
	}
	s.Hit("restore")
	s.Tracef("all nodes are lost; the backup is of entry %d", s.backup.mark.Index)
	down := s.Between(0, s.Opts.TTL)
	s.embargo = -1
	if s.Chance(500) { // the operator knows that nobody can believe any more that he holds something
		s.Hit("restore without waiting")
		down, s.embargo = 2*s.Opts.TTL+2*s.Opts.LeaseMost()+time.Second, 0
	}
	s.Run(s.Now() + down)
	s.generation++
	s.offset = s.Now()
	clear(s.states)
	s.Judge.GoBack(uint64(s.backup.mark.Index))
	return s.Err == nil
}
