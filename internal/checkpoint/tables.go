package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// A table of badger ends with its index, the length of that, the sum of the index, and the length of the sum. Lengths are 4 bytes, big
// endian.
const (
	tableLength = 4
	// mostSum is what the two fields of a sum can take: a tag and a varint each.
	mostSum = 2 * (1 + binary.MaxVarintLen64)
)

// checkTables looks at the ends of the tables that a store consists of. Badger believes in them before it checks anything, on a goroutine of
// its own: where they make no sense, as in a file that is torn off, its panic would end the process at every start.
func checkTables(o badger.Options) error {
	f, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	manifest, _, err := badger.ReplayManifestFile(f, o.ExternalMagicVersion, o)
	if err := f.Close(); err != nil {
		return err
	}
	if err != nil {
		return fmt.Errorf("%s: %w", badger.ManifestFilename, err)
	}
	for id := range manifest.Tables {
		if err := checkTable(table.NewFilename(id, o.Dir)); err != nil {
			return err
		}
	}
	return nil
}

func checkTable(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	s, err := f.Stat()
	if err != nil {
		return err
	}
	damaged := fmt.Errorf("the end of %s makes no sense", filepath.Base(path))
	end := make([]byte, min(s.Size(), tableLength+mostSum+tableLength))
	if _, err := f.ReadAt(end, s.Size()-int64(len(end))); err != nil {
		return err
	}
	if len(end) < 2*tableLength {
		return damaged
	}
	rest, length := end[:len(end)-tableLength], binary.BigEndian.Uint32(end[len(end)-tableLength:])
	if length == 0 || int64(length) > int64(len(rest)-tableLength) || !isSum(rest[len(rest)-int(length):]) {
		return damaged
	}
	rest = rest[:len(rest)-int(length)]
	index := int64(binary.BigEndian.Uint32(rest[len(rest)-tableLength:]))
	if index == 0 || index > s.Size()-2*tableLength-int64(length) {
		return damaged
	}
	return nil
}

// isSum reports whether b is a sum as badger stores it: its kind, which is 0 and left out or 1, and its value.
func isSum(b []byte) bool {
	const kindTag, valueTag = 1 << 3, 2 << 3 // varints of protobuf
	for len(b) > 0 {
		tag := b[0]
		v, n := binary.Uvarint(b[1:])
		if n <= 0 || tag != valueTag && (tag != kindTag || v > 1) {
			return false
		}
		b = b[1+n:]
	}
	return true
}
