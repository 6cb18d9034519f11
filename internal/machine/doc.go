// Package machine is the session machine: [Machine], the deterministic heart of the Go client. It decides until when
// the session is valid, which request carries which number, what is repeated over which node, and when everything
// held is lost. It reads no clock, opens no connection and starts no goroutine: time and messages go in, messages,
// connections to make and events come out. So the deadlines that keep two holders apart are tested as code.
//
// # Usage
//
// One owner drives a Machine, under a mutex. For each thing that happens (a connection came up or went down, a message arrived,
// a caller asks for something, the time of [Machine.Deadline] has come) it reads its monotonic clock, calls the
// method of that name, and then carries out what [Machine.Output] returns, in order. The clock is read after the
// message was taken and before anything is handed to a connection: a send time that is too early costs a little
// validity, one that is too late costs the lock.
//
// # Guarantees
//
//   - ValidUntil is the send time of a confirmed KeepAlive + TTL × 0.99 − margin, and only moves forwards. The leader
//     ends a session no earlier than one TTL after it received that KeepAlive; so the holder knows of the loss before
//     anybody else can be granted the lock, given clock rates that differ by less than 1 % in sum.
//   - Once ValidUntil has passed, the session is lost for good, whatever arrives later.
//   - Each request has one sequence number in one life of the session, however often and over however many nodes it
//     is sent. A number counts as acknowledged only when its outcome, or the answer to its cancel, is known.
//   - A wait that the caller gave up is cancelled in the background until the cluster has confirmed it.
//
// # Testing
//
// The scripts in testdata are scenarios with the name of the schedule they forbid; `go test -rewrite` records them
// anew. mutants.txt lists faults that the tests must find.
package machine
