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
	r.adopt(i.table, i.head.Mark)
	if r.opt.Installed != nil {
		r.opt.Installed()
	}
	return nil
}

// Discard implements raft.Installation.
func (i *installation) Discard() { i.staged.Discard() }

// adopt makes readers see another state.
func (r *Replica) adopt(table *locktable.Table, mark raft.Mark) {
	r.mu.Lock()
	r.table, r.mark, r.cutAt, r.begun = table, mark, mark.Index, true
	r.mu.Unlock()
	r.waits.advance(mark.Index)
}

// Found begins another history with this state: it is made durable as that of the entry after its last one, in a term of its
// own and with a configuration in which nobody of the old cluster is. The log must begin with the mark it returns. It is called
// before anything else but Open.
func (r *Replica) Found(config raft.Config) (raft.Mark, error) {
	r.flushing <- struct{}{}
	defer func() { <-r.flushing }()
	r.mu.Lock()
	defer r.mu.Unlock()
	mark := raft.Mark{Position: raft.Position{Index: r.mark.Index + 1, Term: r.mark.Term + 1}, Config: cloneConfig(config)}
	mark.Config.Index = mark.Index
	if err := r.table.Skip(uint64(mark.Index), uint64(mark.Term)); err != nil {
		return raft.Mark{}, fmt.Errorf("replica: found: %w", err)
	}
	if err := r.write(set{mark: mark, changes: r.table.Cut()}); err != nil {
		return raft.Mark{}, err
	}
	r.mark, r.cutAt = mark, mark.Index
	r.waits.advance(mark.Index)
	return mark, nil
}
