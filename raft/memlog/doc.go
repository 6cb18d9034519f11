// Package memlog keeps a raft.Node's log and hard state in memory: a raft.Storage for nodes that are to leave nothing behind, and
// for tests.
//
// # Guarantees
//
// A Log keeps what a raft.Storage must for as long as the process lives, also beyond its Close: Reopen goes on with it. With the
// process everything is gone, so a node with such a log must come back as another peer.
//
// # Concurrency
//
// As raft.Storage says: one writer, any number of readers.
package memlog
