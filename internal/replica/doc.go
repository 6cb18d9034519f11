// Package replica is the state of one node: the lock table in memory, driven by the log, and its checkpoint, written behind.
//
// # Usage
//
//	r, err := replica.Open(replica.Options{Store: store, Applied: …})
//	go r.Run(ctx)                                       // keeps the checkpoint up to date
//	node, err := raft.Start(raft.NodeOptions{Machine: r, …})
//	r.View(func(t *locktable.Table) { … })              // read
//	outcome := result.Value.(*replica.Outcome)          // of a proposal
//
// # The checkpoint
//
// The table tells which records changed. Sets of them are cut at entry boundaries, never larger than one transaction of the
// store, and written in their order; a record that came and went between two cuts is never written. What is behind is bounded:
// when the disk cannot follow, Apply waits, with nothing locked. How long changes gather depends on how long writing takes.
//
// A node that is the only voter has nobody to get its state from. From time to time it keeps a whole, verified copy of the
// checkpoint in a file of its own, and Mark holds back the log behind that copy: the state can be rebuilt from the two when the
// checkpoint is found damaged. Other nodes keep a copy too, less often, and try it before they ask the leader.
//
// # Concurrency
//
// The methods of raft.StateMachine are called as raft says; everything else is safe for concurrent use. Readers share one
// lock, which Apply takes for a few dozen entries at a time; nothing waits for a disk while it is held. Run has one goroutine
// besides its own, which it ends before it returns.
package replica
