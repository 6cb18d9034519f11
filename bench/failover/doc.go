// Command failover measures how soon clients are served again after the leader of a lock service is lost.
//
// lockd, lockd without failure hints and etcd run side by side, three nodes each: the programs that the projects ship, as
// processes on hosts of their own (network namespaces and a switch in this process, see internal/netlab), with their data on disk
// and every fsync on. Clients use the service's usual Go client from one more host. A round takes one system, opens new sessions,
// which all prefer the leader where the service has such a preference, and keeps them busy; then the leader is lost in one of three
// ways:
//
//   - kill: its process is killed (SIGKILL); it is started again afterwards
//   - stop: its process is stopped (SIGSTOP), its sockets stay open; it is continued afterwards
//   - cut: nothing passes from or to its host; the network is healed afterwards
//
// From that moment on every session begins a try for a lock that nobody has every 20 ms, whether or not earlier ones have ended, until
// one is granted; and a lock that has been waited for since before is released by its holder. Measured is from the moment of the loss
// to the first of these grants, to the first of each session, and to that of the waiter. The round ends when the node is back and all
// nodes have applied what was committed, and every try has ended. Rounds are interleaved: each fault for each system,
// one right after the other, in an order that rotates.
//
// Every try has a time-out of its own, which is stated, and must end by it in a grant and its release. What it ends in else is
// counted, and so is every sign that one of them took effect twice: see book.
//
//	go run ./failover -kills 50
//	go run ./failover -kills 2 -systems lockd -faults stop -log DIR
//
// It needs root. Processes, namespaces and data are gone when it ends.
package main
