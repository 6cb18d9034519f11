package session

import (
	"encoding/hex"
	"fmt"
	"time"
)

// ID is the 16 bytes a client draws for its session before it opens it.
type ID [16]byte

// Life names one life of a session: the drawn id and the index of the log entry that opened it.
// Every request, KeepAlive and Expire names both, so nothing of a dead life can run again.
type Life struct {
	ID    ID
	Index uint64
}

// String returns the id in hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// String returns id@index, the id shortened to its first four bytes.
func (l Life) String() string { return fmt.Sprintf("%x@%d", l.ID[:4], l.Index) }

// Limits of a session. All of them are part of the replicated behaviour: a change needs a new command version.
const (
	TTLMin      = time.Second      // shortest TTL of a session
	TTLMax      = 10 * time.Minute // longest TTL of a session
	MetadataMax = 4 << 10          // bytes of metadata
	WindowMax   = 1024             // a request's seq is at most this far above acked
	ResultMax   = 64               // bytes of one stored result
)
