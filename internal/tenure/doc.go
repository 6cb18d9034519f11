// Package tenure is what a node of the lock service does while it leads.
//
// A [Tenure] drives a [session.Keeper] for each leadership: it gives it what arrives, takes turns often enough, begins its quorum
// rounds, hands out its answers, and proposes what it decides. Through it pass all commands of clients too, as the leader is the
// one who stamps them with cluster time.
//
// # Usage
//
//	t := tenure.New(tenure.Options{Raft: node, State: replica, Answer: front.Answers})
//	go t.Run(ctx)
//
// It is fed by three others: Standing by raft.Events, Applied by the replica, KeepAlive and Disconnected by the client port.
//
// # Rules
//
// A Keeper is made when the node hears that it leads a term, and starts when an entry of that term has been applied here: nothing
// of an earlier term can change the sessions any more. It is dropped when the node no longer leads that term, and nothing that it
// decided or stamped can enter the log of another one: every proposal names the term.
//
// A quorum round is a raft.Node.Read that began after the Keeper asked for it, if the node leads the Keeper's term when it is over:
// a node leads a term once, without a break, so it was the one who answered.
//
// KeepAlives count from when they are taken in. The loop turns for them at most every 10 ms, so that a round serves many.
//
// # Concurrency
//
// All methods are safe for concurrent use. One mutex guards the Keeper; it is never held across I/O or a channel, and taken after
// the lock of the table by whoever takes both.
package tenure
