package rafttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/wal"
)

// store is the log of a simulated node: a Ledger, or a wal.Log over a Disk with a Ledger beside it that records what
// has been promised to be durable.
type store struct {
	node   *Node
	ledger *Ledger
	disk   *Disk
	files  *tap
	log    *wal.Log
	// limbo holds the writes that a crash interrupted: they may be there at the next start, or not.
	limbo []raft.Write

	stalledTill time.Duration // no write ends before
	failSync    bool          // the next write fails
	armed       bool          // the next flush of the Disk fails, whatever it is for
	full        bool
	damaged     bool
}

func newStore(n *Node) store {
	w := n.world
	s := store{node: n, ledger: &Ledger{chainOf: w.check.chainOf}}
	s.ledger.added = func(e raft.Entry, chain uint64) { w.check.added(n, e, chain) }
	s.ledger.changed = func(write raft.Write) { w.check.wrote(n, write) }
	if w.opt.WAL {
		s.disk = NewDisk(w.rand.Uint64())
		s.files = newTap(s.disk)
	}
	return s
}

func (s *store) options() wal.Options {
	return wal.Options{
		FS:           s.files,
		Identity:     wal.Identity{Peer: s.node.id},
		SegmentBytes: s.node.world.opt.SegmentBytes,
		Background: func(task func()) {
			s.node.after(s.node.world.about(time.Millisecond), "segment prepared", task)
		},
	}
}

func (s *store) bootstrap(c raft.Config) error {
	if s.disk != nil {
		log, err := wal.Create(s.options())
		if err == nil {
			err = errors.Join(raft.Bootstrap(log, c), log.Close())
		}
		if err != nil {
			return err
		}
	}
	return raft.Bootstrap(s.ledger, c)
}

// found writes a log that begins behind a state.
func (s *store) found(mark raft.Mark) error {
	begin := []raft.Write{{Seq: 1, Reset: mark, Hard: raft.HardState{Term: mark.Term}}}
	if s.disk != nil {
		log, err := wal.Create(s.options())
		if err == nil {
			err = errors.Join(log.Write(begin), log.Close())
		}
		if err != nil {
			return err
		}
	}
	return s.ledger.Write(begin)
}

// open returns what a node finds at its start.
func (s *store) open() (raft.State, error) {
	if s.disk == nil {
		if s.damaged {
			return raft.State{}, fmt.Errorf("rafttest: %w", wal.ErrRetired)
		}
		return s.ledger.Load()
	}
	_, exists, err := wal.Inspect(s.files)
	open := wal.Open
	if err == nil && !exists {
		open = wal.Create
	}
	if s.log, err = open(s.options()); err != nil {
		return raft.State{}, err
	}
	state, err := s.log.Load()
	if err != nil {
		return raft.State{}, err
	}
	s.damaged = false // what was flipped held nothing
	if err := s.reconcile(state); err != nil {
		s.node.world.Fail("%v has lost what was durable: %v", s.node, err)
		return raft.State{}, err
	}
	return state, nil
}

// reconcile compares what the log holds with what it has promised to hold, and with what it may hold beyond.
func (s *store) reconcile(state raft.State) error {
	limbo := s.limbo
	s.limbo = nil
	for !s.agrees(state) {
		if len(limbo) == 0 {
			have, _ := s.ledger.Load()
			return fmt.Errorf("it holds %s, promised was %s", stateText(state), stateText(have))
		}
		if err := s.ledger.Write(limbo[:1]); err != nil {
			return err
		}
		limbo = limbo[1:]
	}
	if _, err := s.ledger.Compact(state.Base.Index); err != nil {
		return err
	}
	if s.ledger.base.Position != state.Base.Position || s.ledger.base.Config.Index != state.Base.Config.Index {
		return fmt.Errorf("it begins after %+v, promised was %+v", state.Base, s.ledger.base)
	}
	for i := state.Base.Index + 1; i <= state.Last; {
		entries, err := s.log.Read(i, state.Last, 1<<20)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if want := s.ledger.entries[i-state.Base.Index-1]; !slices.Equal(e.Bytes(), want.Bytes()) {
				return fmt.Errorf("entry %d is %v, written was %v", i, e, want)
			}
			i++
		}
	}
	return nil
}

func (s *store) agrees(state raft.State) bool {
	last := state.Base.Term
	if n := len(state.Runs); n > 0 {
		last = state.Runs[n-1].Term
	}
	return state.Hard == s.ledger.hard && state.Base.Index >= s.ledger.base.Index &&
		s.ledger.lastPosition() == raft.Position{Index: state.Last, Term: last}
}

func stateText(s raft.State) string {
	return fmt.Sprintf("term %d vote %v, log after %d/%d to %d with terms %v", s.Hard.Term, s.Hard.Vote, s.Base.Index, s.Base.Term, s.Last, s.Runs)
}

func (s *store) write(ws []raft.Write) error {
	if s.failSync {
		return s.writeBadly(ws)
	}
	if s.disk == nil {
		if s.full {
			return fmt.Errorf("rafttest: %w", raft.ErrDiskFull)
		}
		return s.ledger.Write(ws)
	}
	if err := s.log.Write(ws); err != nil {
		if errors.Is(err, raft.ErrDiskFull) != s.full {
			s.node.world.Fail("%v cannot write its log: %v", s.node, err)
		}
		return err
	}
	return s.ledger.Write(ws)
}

// writeBadly fails, and may have written something.
func (s *store) writeBadly(ws []raft.Write) error {
	s.failSync = false
	if s.disk == nil {
		if err := s.ledger.Write(ws[:s.node.world.rand.IntN(len(ws)+1)]); err != nil {
			return err
		}
		return errPlanted
	}
	s.disk.FailSync(1)
	err := s.log.Write(ws)
	s.armed = !errors.Is(err, syscall.EIO) // nothing was flushed: it is still to come
	if err == nil {
		return s.ledger.Write(ws)
	}
	s.limbo = ws
	return err
}

func (s *store) read(lo, hi raft.Index, maxBytes int) ([]raft.Entry, error) {
	if s.log == nil {
		return s.ledger.Read(lo, hi, maxBytes)
	}
	return s.log.Read(lo, hi, maxBytes)
}

func (s *store) compact(upTo raft.Index) (raft.Position, error) {
	if s.log == nil {
		return s.ledger.Compact(upTo - min(upTo, raft.Index(s.node.world.rand.IntN(3)))) // a storage may keep more
	}
	base, err := s.log.Compact(upTo)
	if err != nil {
		return base, err
	}
	return s.ledger.Compact(base.Index)
}

// crash ends the process in the middle of a job.
func (s *store) crash(job diskJob, power bool) {
	w := s.node.world
	writing := len(job.writes) > 0 && !job.idle
	if writing {
		w.cover.hit(CrashInWrite)
	}
	if s.disk == nil {
		switch {
		case writing && !s.full:
			_ = s.ledger.Write(job.writes[:w.rand.IntN(len(job.writes)+1)]) // a Ledger takes what an engine gives
		case job.compact > 0 && w.chance(0.5):
			_, _ = s.ledger.Compact(job.compact) // as above
		}
		return
	}
	if power {
		s.disk.CutAt(1 + w.rand.IntN(10))
	}
	if power || w.chance(0.5) {
		switch { // whatever comes of it
		case writing:
			s.limbo = job.writes
			_ = s.log.Write(job.writes)
		case job.compact > 0:
			_, _ = s.log.Compact(job.compact)
		}
	}
	if power {
		w.cover.hit(PowerCut)
		s.disk.Crash()
		s.armed = false
	} else {
		s.disk.Kill()
	}
	s.log = nil
}

// setFull takes away the room on the disk, or gives it back.
func (s *store) setFull(full bool) {
	s.full = full
	if s.disk == nil {
		return
	}
	s.disk.SetFull(0)
	if full {
		s.disk.SetFull(max(s.disk.Used(), 1))
	}
}

// rot damages the log where the damage can be told from a torn write, and reports whether there is such a place.
func (s *store) rot() bool {
	if s.disk == nil {
		s.damaged = true
		return true
	}
	r := s.node.world.rand
	names, err := s.disk.List()
	if err != nil {
		return false
	}
	name := names[r.IntN(len(names))]
	if !strings.HasSuffix(name, ".wal") || s.files.last[name] == nil {
		return false
	}
	bytes := max(*s.files.last[name], headerBytes)
	s.damaged = s.disk.FlipBit(name, r.Int64N(8*bytes)) == nil
	return s.damaged
}

// headerBytes is the size of the header of a segment.
const headerBytes = 4096
