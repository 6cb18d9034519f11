// Package simworld is the world around a simulated lock service: virtual time, the programs that use the service through the real
// session machine, their connections, and the judge of all that happens.
//
// It knows nothing of consensus. internal/simproto puts nodes over an abstract log into it, internal/sim nodes over real Raft, logs
// and disks: both give the same programs their answers and the same judge what they commit.
//
// # Time
//
// Nothing waits: the world is a queue of events ordered by virtual time. Every program has its own clock, at a rate of its own within
// the 1 % the guarantees assume. It stops and goes on; its clock may stand still too.
//
// # The judge
//
// The [Judge] applies every entry in the moment in which it is the first to see it, when nobody can have learnt of it yet, to the real
// table and to the naive model beside it, and compares with what the programs believe at that moment. So a grant that comes while
// another holder is still sure of itself is found, however short the overlap is.
package simworld
