// Package front is the client port of a node: it serves clients, other nodes, and is a client of the node that leads.
//
// # Usage
//
//	f, err := front.New(front.Options{Listener: l, State: replica, Raft: node, Tenure: tenure, …})
//	go f.Run(ctx)
//
// It is fed by three others: Applied by the replica, with Installed when a snapshot has replaced the state; Standing by raft.Events;
// Answers by the tenure.
//
// # Ways
//
// A command goes to the leader: into the log if this node leads, else in a Forward over the one link to the node that does. It is
// sent on once; when that link breaks, nobody knows. While there is no leader it waits. KeepAlives are collected, on the leader too,
// and go the same way as Digests. A linearizable read asks where the log is, once for all that wait on its connection, and is
// answered from the state; a stale one is answered from the state at once.
//
// # Order
//
// What is told of a session on a connection is in the order of the log: events are queued as entries are applied, and the answer to
// a KeepAlive when its read index is. Both are in the urgent queue of the connection, which overtakes answers to requests and is
// never overtaken. A connection listens for a session before its command is passed on, so it misses nothing that the command
// brings about. After an install, events of what lies between are lost; the connections of sessions are closed then, and their
// clients ask again.
//
// # Bounds
//
// Connections, requests under way, bytes of commands, sessions named on a connection and bytes that wait to be read are bounded,
// each with a code of its own for who goes beyond. A peer has some time for its Hello, for the rest of a frame and for reading.
// A connection that sends nonsense is closed only when it is not known where the next frame begins; what is wrong with one frame is
// answered.
//
// # Concurrency
//
// All methods are safe for concurrent use. A connection has one goroutine that reads, and others only while there is something to
// read from the state, or to write that its socket does not take at once. The goroutine that reads hands a command to the leader and
// goes on; the crew, a few goroutines for all connections, gives those that were decided their answers and writes them, all that wait
// for a connection at once, and never waits for a socket. Locks are taken in this order: of the front, the audience, the routes, a
// link, a stream, the crew; what hands KeepAlives on before those of the beats. None is held across I/O or a wait.
package front
