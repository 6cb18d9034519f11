// Package session knows who is alive, and until when.
//
// It has two halves. [Table] is replicated: the lives of sessions, how they ended, and the results of their requests, so that
// every request takes effect once. It is a part of the machine that applies the log (lockd/locktable) and is driven by it.
// [Keeper] is the leader's own: the soft clock that moves the deadlines of sessions by KeepAlives which never enter the log.
//
// # Usage of the Keeper
//
// The goroutine that drives Raft on the leader owns the Keeper. Becoming leader creates it, losing leadership drops it:
//
//	k := session.NewKeeper(term, now)                    // on becoming leader; KeepAlives are held back
//	k.Start(now, clock, table.Lives())                   // once the leader's own first entry is committed and applied
//
// and in every turn of the loop, which comes at least every [TurnMax]:
//
//	k.Turn(now)                                          // first thing: measures how late the loop is
//	k.KeepAlive(now, ka)                                 // for each one taken in; now is read after it was taken
//	k.Disconnected(now, life)                            // a node saw the connection close (sessions with grace)
//	k.Opened(now, terms), k.Ended(life)                  // effects of applied entries
//	k.RoundDone(n, readIndex)                            // a quorum acknowledged round n
//	out := k.Output(now, applied, work)                  // last: the inbox is drained before anything is decided
//
// What Output returns is to be done at once: begin quorum round out.Round now, send out.Answers, and propose out.Expire and
// out.Tick in the Keeper's term and in no other. Entries proposed by the leader carry [Keeper.Stamp].
//
// # Guarantees
//
// A KeepAlive moves the deadline when it is received, less the age it had on the way, and is answered as renewed after a
// quorum round that began after it was received, and only if no Expire of the session was proposed meanwhile. A session is
// expired only after a quorum round that began after its deadline, and only if no KeepAlive was received before that round
// was acknowledged. After a change of leader every session has its full TTL, counted from the apply of the new leader's first
// entry. Of the time before a turn later than [StallMax] only [StallCount] counts.
//
// Given clock rates within 1 %, a client that counts its validity from the sending of an answered KeepAlive knows of its
// session's end before anybody else can.
//
// # Concurrency
//
// Neither half is safe for concurrent use; neither reads a clock, starts a goroutine or iterates a map where the order shows.
package session
