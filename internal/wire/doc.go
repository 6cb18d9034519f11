// Package wire is the client protocol of lockd: its frames, its messages, and the bytes of both. What they mean to each side is written in
// client/README.md, whose tables and byte examples are made from this package.
//
// # Usage
//
// Each side of a connection has a [Reader] and a [Writer]:
//
//	r, w := wire.NewReader(conn, wire.HelloMax), wire.NewWriter(conn)
//	m, err := r.Read()                     // a message, an Unknown, or an error that says what is wrong and where
//	err = w.Write(&wire.Reply{…})          // taken, not yet written
//	err = w.Flush()                        // everything that was taken, in one write
//
// Deadlines are the caller's: it sets them on the connection. A Read whose deadline passed can be repeated and goes on where it was.
//
// # Untrusted bytes
//
// Any bytes give a message or an error, never a panic. A body is checked against the shape of its type before anything is allocated for
// it: kinds, ranges, lengths, UTF-8, the number of elements, the depth, the end. So decoding allocates at most 32 times the body and
// a constant, and a Reader keeps at most twice what has arrived, or 512 bytes. Writing makes the same check: what is written can be read.
// Nothing here checks the rules of the service (a name without control characters, a TTL within its bounds): they are the lock table's.
//
// # Versions
//
// A struct is an array of its fields. A later version appends fields and never changes or removes one; a reader passes over what it does
// not know, and demands all it does. A later version adds types and never changes one; what to do with a type that is not known follows
// from its number (see [Unknown]). What a side needs of the other beyond that needs a new version number in Hello and Welcome.
//
// # Concurrency
//
// A Reader and a Writer have one owner each, who may be different goroutines. Everything else is safe for concurrent use.
package wire
