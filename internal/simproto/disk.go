package simproto

import (
	"fmt"
	"maps"
	"slices"

	"github.com/lockd/lockd/lockd/locktable"
)

// disk is a node's checkpoint: the records, and what goes with them.
type disk struct {
	records map[string][]byte
	last    locktable.Changes
}

// checkpoint writes what changed to the node's disk, simworld.Never ahead of its synced log.
func (n *node) checkpoint() {
	if n.applied > n.raft.synced {
		return
	}
	n.disk.last = n.table.Cut()
	for _, r := range n.disk.last.Records {
		if r.Value == nil {
			delete(n.disk.records, string(r.Key))
		} else {
			n.disk.records[string(r.Key)] = r.Value
		}
	}
}

// load returns the table of the checkpoint, and the index up to which it is applied.
func (d *disk) load() (*locktable.Table, int, error) {
	c := &d.last
	if c.Index == 0 {
		return locktable.NewTable(), 0, nil
	}
	l, err := locktable.NewLoader(c.Index, c.Term, c.Meta)
	if err != nil {
		return nil, 0, fmt.Errorf("load the checkpoint: %w", err)
	}
	for _, key := range slices.Sorted(maps.Keys(d.records)) {
		if err := l.Add(locktable.Record{Key: []byte(key), Value: d.records[key]}); err != nil {
			return nil, 0, fmt.Errorf("load the checkpoint: %w", err)
		}
	}
	t, err := l.Done(c.Hash, c.Count)
	return t, int(c.Index), err
}
