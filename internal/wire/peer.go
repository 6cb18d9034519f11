package wire

import "time"

// Limits of what nodes send each other in one piece.
const (
	DigestMax  = 16_384    // KeepAlives of one Digest
	ForwardMax = 4096      // commands of one Forward
	CommandMax = 128 << 10 // bytes of one command
)

// Digest carries the KeepAlives that a node has received for the leader since the last one: of each session the one with the highest
// number.
type Digest struct {
	Batch      uint64      // names the batch in its answers; rises on a connection
	KeepAlives []KeepAlive `wire:"16384"` // age: how long ago the node received it, rounded down
}

// Confirmation is the verdict on one KeepAlive.
type Confirmation struct {
	Life    Life    // of the session
	Number  uint64  // of the KeepAlive
	Verdict Verdict // 1: renewed, 2: not renewed, 3: ended
}

// DigestAnswer answers KeepAlives of a Digest. There may be several, each with the read index of its round; what cannot be answered is
// not. The node answers its client when it has applied that index, after the session's own events, and only KeepAlives of the batch.
type DigestAnswer struct {
	Batch         uint64         // of the Digest
	Index         uint64         // read index of the round
	Clock         time.Duration  // cluster time
	Confirmations []Confirmation `wire:"16384"` // of KeepAlives of that batch, in any order
}

// Disconnected reports that a node saw the connection of sessions with a grace close, after the Digest with the KeepAlives that it
// still had of them.
type Disconnected struct {
	Lives []Life `wire:"16384"` // of the sessions
}

// Forward carries commands of clients to the leader. A node sends each one on at most once.
type Forward struct {
	Batch    uint64    // names the batch in its answers; rises on a connection
	Commands []Command `wire:"4096"` // in the order in which the node received them
}

// Command is one command as it will stand in the log.
type Command struct {
	Trace TraceContext // of the request
	Data  []byte       `wire:"131072"` // as the lock table encodes it
}

// Result is the answer to one command of a Forward.
type Result struct {
	Place   uint64  // of the command in the batch, from 0
	Index   uint64  // log index at which it took effect, 0 if it did not
	Known   bool    // of a failure: true if it had no effect and will have none
	Outcome Outcome // what was decided; a code from 100 on is a failure
}

// Forwarded answers commands of a Forward. There may be several; each command is answered once, or not at all when the connection breaks.
type Forwarded struct {
	Batch   uint64        // of the Forward
	Clock   time.Duration // cluster time
	Results []Result      `wire:"4096"` // in any order
}
