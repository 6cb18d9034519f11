// Package simproto is the simulator of the lock service's protocol: the real session table, Keeper, lock table and client
// machines, under several leaders and a bad network, in virtual time.
//
// # What is real and what is not
//
// Real, the code that production runs: locktable.Table with its session.Table, session.Keeper, machine.Machine. Plumbing
// written for the simulator: the nodes that carry commands and KeepAlives to the leader and answers to the clients. The
// programs that use the clients, and the judge, are those of internal/simworld.
//
// Raft is abstracted to what the protocol sees of it. Each node has a log that survives its crashes, up to what it synced,
// with an uncommitted tail that survives elections. Elections happen at once, at random, by the rules of votes; a deposed
// leader goes on believing until it hears of the newer term. Replication and quorum rounds are messages over the same bad
// network, so a round succeeds only if a majority had not heard of a newer term when it was asked.
//
// # Time
//
// Nothing waits: the world is a queue of events ordered by virtual time. Every node and client has its own clock, at a rate
// of its own within the 1 % the guarantees assume. Nodes and clients stop and go on; a client's clock may stand still too.
//
// # Use
//
// [Run] runs one seed: a phase with faults, then a phase without them in which everything must come to a good end. The seed
// draws its options ("swarm": which faults, how often, how many of everything), and the same seed gives the same trace.
// The tests run many; a failure prints the command that replays it.
package simproto
