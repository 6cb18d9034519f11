package replica

import (
	"fmt"
	"slices"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// chunk is how many entries are applied under one lock: few enough for readers not to notice.
const chunk = 64

// Apply implements raft.StateMachine. The results are of type *Outcome; those of entries that could not be applied, see
// Events.Failed, stay nil.
func (r *Replica) Apply(b raft.Batch) {
	began := time.Now()
	outcomes := make([]Outcome, len(b.Entries))
	for done := 0; done < len(b.Entries); {
		if waited := r.backlog.wait(); waited > 0 && r.opt.Events.Delayed != nil {
			r.opt.Events.Delayed(waited)
		}
		n, err := r.applySome(b.Entries[done:min(done+chunk, len(b.Entries))], outcomes[done:])
		if n > 0 {
			r.waits.advance(b.Entries[done+n-1].Index())
			signal(r.changed)
		}
		done += n
		if err != nil {
			r.fail(err)
			outcomes = outcomes[:done]
			break
		}
	}
	ended := time.Now()
	for i := range outcomes {
		if o := &outcomes[i]; b.Entries[i].Kind() == raft.KindCommand {
			o.Began, o.Ended = began, ended
			b.Results[i] = o
		}
	}
}

// applySome applies entries until the backlog is full, and returns how many.
func (r *Replica) applySome(entries []raft.Entry, outcomes []Outcome) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure != nil {
		return 0, r.failure
	}
	r.begun = true
	for i, e := range entries {
		if err := r.applyOne(e, &outcomes[i].Reply); err != nil {
			return i, err
		}
		if r.table.Full() && r.cut() {
			return i + 1, nil
		}
	}
	return len(entries), nil
}

// applyOne is called with mu held.
func (r *Replica) applyOne(e raft.Entry, reply *locktable.Reply) error {
	told := Applied{Index: e.Index(), Term: e.Term(), Noop: true, Table: r.table}
	switch e.Kind() {
	case raft.KindCommand:
		applied, err := r.table.Apply(uint64(told.Index), uint64(told.Term), e.Data())
		if err != nil {
			return fmt.Errorf("replica: %w", err)
		}
		*reply, told.Noop, told.Data = applied.Reply, false, e.Data()
		told.Effects, told.Timings = applied.Effects, applied.Timings
	case raft.KindConfig:
		config, err := raft.DecodeConfig(e.Index(), e.Data())
		if err != nil {
			return fmt.Errorf("replica: apply entry %d: %w", e.Index(), err)
		}
		r.mark.Config = config
		fallthrough
	default:
		if err := r.table.Skip(uint64(told.Index), uint64(told.Term)); err != nil {
			return fmt.Errorf("replica: %w", err)
		}
	}
	r.mark.Position, r.mark.Installed = e.Position(), false
	r.noteLogged(e.Size())
	if r.opt.Applied != nil {
		r.opt.Applied(told)
	}
	return nil
}

// cut hands what changed since the last time to the flusher, and reports whether there is no room for more. It is called with mu
// held. Once nobody flushes any more, what changes stays with the table: the log has it.
func (r *Replica) cut() (full bool) {
	if r.mark.Index == r.cutAt || r.backlog.hasEnded() {
		return false
	}
	s := set{mark: r.mark, changes: r.table.Cut()}
	s.mark.Config = cloneConfig(s.mark.Config)
	r.cutAt = r.mark.Index
	return r.backlog.add(s)
}

// cloneConfig is for the store, which keeps it.
func cloneConfig(c raft.Config) raft.Config {
	c.Voters, c.Outgoing, c.Learners = slices.Clone(c.Voters), slices.Clone(c.Outgoing), slices.Clone(c.Learners)
	return c
}
