// Package memnet connects the nodes of one process for tests: a raft.Transport without sockets, whose links can be cut,
// lose, duplicate and delay messages.
//
// A healthy link delivers everything in order, urgent messages first, as long as the receiver keeps up. Everything works
// in a testing/synctest bubble; delays are timers. All methods are safe for concurrent use, and no callback runs under a
// mutex.
package memnet
