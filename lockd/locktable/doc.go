// Package locktable is the replicated state of lockd: who holds what, who waits, in which order.
//
// A [Table] is a deterministic machine. It reads no clock, starts no goroutine and does no I/O: the same entries in the
// same order give the same state, the same replies and the same effects on every node. It owns the [session.Table] and the
// cluster clock, so that one entry decides everything in one place.
//
// # Usage
//
// One goroutine owns a Table, the one that applies committed entries:
//
//	data := locktable.Encode(&locktable.Acquire{…})   // client's request, made by the node that got it
//	locktable.SetStamp(data, keeper.Stamp(now))       // the leader, just before it proposes
//	…                                                 // Raft
//	applied, err := table.Apply(index, term, data)    // every node, in the order of the log
//	if err != nil { stop the node }                   // a command of an unknown version or shape
//	for _, e := range applied.Effects { … }           // valid until the next Apply
//	if table.Full() { changes := table.Cut() … }      // for the checkpoint, at an entry boundary
//
// Whoever proposes bytes that came over a network decodes them first ([Decode]): what does not decode must not enter the
// log. What decodes but breaks a rule of its fields is answered with [Invalid] by Apply.
//
// The leader also drives a [session.Keeper]: the effects Opened and Ended go to it, its lists of expired sessions come back
// as [Expire] commands and its ticks as [Tick] commands, both naming its term. [Table.Work] tells the Keeper what time has to do.
//
// # Time
//
// Every entry carries the cluster time at which the leader proposed it. Apply folds it into the clock by max first, and then
// decides everything by the clock. Then it ends what is due (leases, lock-delays, limits of waits), in the order of
// (deadline, index), within the entry's budget; then it runs the command. What is due but not yet ended counts as ended in
// every check, and so does what belongs to a dead session.
//
// # Bounded entries
//
// No entry changes more than [EntryRecordsMax] records or about [EntryBytesMax] bytes of them. What is left over (records of dead
// sessions, due deadlines, grants to many readers at once) is part of the state and is gone on with by the next [Tick] of any leader.
//
// # Records
//
// The state is a set of records: sessions, holds, waits, and what is known of a lock beyond its holds. [Table.Cut] returns the
// records that changed since the last Cut, encoded, immutable and closed at an entry boundary; [Load] builds a Table from records.
// [Table.Hash] is the sum of the hashes of all records and of the clock and the counters: equal on all nodes at an equal index.
//
// # Concurrency
//
// A Table is not safe for concurrent use. What its methods return (views, records, changes) is never changed afterwards, except
// Applied.Effects.
//
// # What comes later
//
// Priorities (before the index in [place]), the operator's break (How Broken, a mark in the hold), planned hand-off and
// deadlock detection are to be added as new commands. Nothing of them is here.
package locktable
