package checkpoint

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// LaterHead gives the store a head of a later version, with more behind what this one knows.
func (d *Disk) LaterHead() error {
	return d.used.db.Update(func(txn *badger.Txn) error {
		b := append(d.head.encode(false), "more"...)
		b[0] = headVersion + 1
		binary.LittleEndian.PutUint32(b[len(b)-headSum:], crc32.Checksum(b[:len(b)-headSum], castagnoli))
		return txn.Set(headKey, b)
	})
}

// WithTrace returns options whose store tells of each step on the disk before it takes it.
func (o Options) WithTrace(trace func(step string)) Options {
	o.trace = trace
	return o
}

// SetDeadline gives a store that has failed the time to close.
func (d *Disk) SetDeadline(deadline time.Duration) { d.opt.Deadline = deadline }

// Lock returns the descriptor that keeps other processes out.
func (d *Disk) Lock() *os.File { return d.lock }

// CheckTable looks at the end of a table.
func CheckTable(path string) error { return checkTable(path) }
