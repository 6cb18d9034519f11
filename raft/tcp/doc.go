// Package tcp carries the messages and snapshots of package raft over TCP, with or without TLS.
//
// # Connections
//
// Every node dials every peer it names and sends only on the connections it dialed; what it accepts it reads. The other
// direction of a connection carries a few control frames. So there is nothing to agree on when two nodes dial each
// other at once, and the end of a process is seen on two sockets. A peer that is not named but has connected is answered
// at the address it gave in its handshake: a leader may reach a node that has no configuration yet, or an old one.
//
// A handshake precedes all else: protocol version, cluster, who dials, who is expected, and a boot number drawn at each
// start. What does not fit is refused with a reason, which both sides log. Messages bear neither From nor To on the wire;
// they have those of the handshake, so nobody can speak for another. Of two processes with the same PeerID and different
// boot numbers (a copied data directory) the second is refused as long as the first one answers.
//
// # Sending
//
// Each peer has a lane: a queue for log traffic, a queue for everything else, which goes first, and one goroutine that
// writes whatever is queued with one system call. Queues are bounded in messages and bytes. When the log queue is full
// the newest message is dropped, since what is queued before it is still an unbroken prefix that the follower can use;
// when the urgent queue is full the oldest half is dropped, since newer heartbeats and votes supersede older ones. A lane
// without a connection keeps a little for the moment it has one. Send only queues: writing from Send itself when the
// lane is idle was measured to save about a tenth of a round trip, and would put the system call into the sender's loop.
//
// # Snapshots
//
// Each snapshot has a connection of its own: header, chunks with offset and CRC32C, footer with length and sum of the
// whole, and the receiver's verdict. Both sides show signs of life while user code is slow, so silence means that the
// network or the peer is gone.
//
// # Questions
//
// Ask and Options.Answer carry questions of the caller's own making, each on a connection of its own, between nodes that need
// not be of one cluster yet: how a cluster is formed, joined and administered is not this package's business.
//
// # Concurrency
//
// A Transport has one goroutine that accepts, one for each accepted connection, two for each peer it sends to. Close
// returns when all have ended. No mutex is held during I/O, so everything works in a testing/synctest bubble with an
// injected Listener and Dial.
package tcp
