package replica

// FlushAll makes everything durable that is applied.
func (r *Replica) FlushAll() error { return r.flush(true) }

// Backlogged returns how many sets wait to be written.
func (r *Replica) Backlogged() int {
	r.backlog.mu.Lock()
	defer r.backlog.mu.Unlock()
	return len(r.backlog.sets)
}

// Waiting returns how many wait for an entry.
func (r *Replica) Waiting() int {
	r.waits.mu.Lock()
	defer r.waits.mu.Unlock()
	return len(r.waits.queue)
}

// What the tests need to know of the limits.
const (
	BacklogSets    = backlogSets
	KeepEvery      = keepEvery
	KeepEveryAlone = keepEveryAlone
)
