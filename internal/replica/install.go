package replica

import (
	"fmt"
	"io"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
)

// installation is a state that came from another node and lies ready.
type installation struct {
	replica *Replica
	staged  checkpoint.Staged
	table   *locktable.Table
	head    checkpoint.Head
}

// Restore implements raft.StateMachine.
func (r *Replica) Restore(mark raft.Mark, from io.Reader) (raft.Installation, error) {
	staged, err := r.store.Restore(mark, from)
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	table, head, err := load(staged)
	if err != nil {
		staged.Discard()
		return nil, fmt.Errorf("replica: load a snapshot: %w", err)
	}
	return &installation{r, staged, table, head}, nil
}

// Commit implements raft.Installation. What was cut and not yet written belongs to the state that goes.
func (i *installation) Commit() error {
	r := i.replica
	r.flushing <- struct{}{}
	defer func() { <-r.flushing }()
	r.backlog.clear()
	if err := i.staged.Commit(); err != nil {
		return fmt.Errorf("replica: %w", err)
	}
	r.mu.Lock()
	r.table, r.mark, r.cutAt, r.begun = i.table, i.head.Mark, i.head.Index, true
	r.mu.Unlock()
	if r.opt.Installed != nil {
		r.opt.Installed()
	}
	r.waits.advance(i.head.Index) // after Installed: who waited may go on as if nothing of the state had been missed
	return nil
}

// Discard implements raft.Installation.
func (i *installation) Discard() { i.staged.Discard() }

// Found begins the history of a cluster with this state, which is empty at its birth: the entry after the last one is made
// durable without a log, in a term of its own. It begins the incarnation and brings a configuration in which nobody of an older
// cluster is. Whoever gets the state gets both, so nothing can be granted without. The log must begin with the mark that is
// returned. Found is called before anything else but Open. An error leaves the state as it was, or the Replica of no use.
func (r *Replica) Found(config raft.Config, begin *locktable.Incarnate) (raft.Mark, error) {
	mark, err := r.found(config, begin)
	if err != nil {
		return raft.Mark{}, fmt.Errorf("replica: found: %w", err)
	}
	r.waits.advance(mark.Index)
	if r.keeper == nil {
		return mark, nil
	}
	kept, err := r.keeper.Keep()
	if err != nil {
		return raft.Mark{}, fmt.Errorf("replica: found: %w", err)
	}
	r.noteKept(kept)
	return mark, nil
}

func (r *Replica) found(config raft.Config, begin *locktable.Incarnate) (raft.Mark, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	mark := raft.Mark{Position: raft.Position{Index: r.mark.Index + 1, Term: r.mark.Term + 1}, Config: cloneConfig(config)}
	mark.Config.Index = mark.Index
	applied, err := r.table.Apply(uint64(mark.Index), uint64(mark.Term), locktable.Encode(begin))
	switch {
	case err != nil:
		return raft.Mark{}, err
	case applied.Reply.Code != locktable.OK:
		return raft.Mark{}, fmt.Errorf("begin an incarnation with the token %d: %v", begin.Seed, applied.Reply.Code)
	}
	if err := r.write(set{mark: mark, changes: r.table.Cut()}); err != nil {
		return raft.Mark{}, err
	}
	r.mark, r.cutAt = mark, mark.Index
	return mark, nil
}
