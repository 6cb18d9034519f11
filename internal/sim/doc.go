// Package sim is the simulator of the whole service: nodes that run the real parts of lockd, programs that use them through the real
// session machine, and a judge, on one goroutine and in virtual time.
//
// # What is real and what is not
//
// Real, the code that production runs: raft.Core in its Engine, with wal.Log over a simulated disk in every third seed; replica.Replica
// over the twin of the checkpoint, so that the durable state runs behind the applied one, a crash takes back what was not flushed, and
// snapshots travel in the real encoding; tenure.Reign with session.Keeper; locktable.Table; machine.Machine.
//
// Plumbing written for the simulator, beside goroutines and sockets that cannot be driven step by step: the order in which a node's
// loops take turns, and the client port (front.go, beats.go), which follows internal/front rule by rule: who listens to a session,
// one way to the leader, batches of KeepAlives, answers that wait for their index.
//
// # The world
//
// The faults of raft, its disks, its network and its configuration are those of raft/rafttest, whose Workload this package is; those of
// programs, their clocks and connections are those of internal/simworld. Between the nodes' client ports messages are lost, doubled and
// late too. In some seeds all nodes are lost, and another cluster begins with a backup that is not the newest, in an incarnation of its own.
//
// # What is checked
//
// After every event: the invariants of raft and of its disks, by rafttest. At every entry, in the moment in which the first node applies
// it: what the judge of simworld checks. At every entry on every node: the hash of the state. At every answer that leaves a node: that it
// is the one outcome of its request, and committed. In the end, when all faults are over: a leader, an orderly configuration, a lock for
// every worker, an end of every call, nothing left behind, the dead expired in time and nobody else, and equal nodes.
//
// # Use
//
// [Run] runs one seed, which draws its options; the same seed takes the same course. The tests run many; a failure prints the command
// that replays it, and a batch of seeds in which something of [Expected] never happened fails.
package sim
