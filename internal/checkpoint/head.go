package checkpoint

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

const (
	headVersion   = 1
	headFixed     = 34
	headSum       = 4
	flagInstalled = 1

	// maxHeadBytes bounds a head with the largest configuration and meta record.
	maxHeadBytes = 256 << 10
)

// headKey is where the store keeps the head.
var headKey = []byte{0}

var errBadHead = errors.New("checkpoint: bad head")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (h Head) check() error {
	if err := h.Config.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if h.Count < 0 {
		return fmt.Errorf("%w: %d records", ErrInvalid, h.Count)
	}
	if len(h.Meta) > MaxMetaBytes {
		return fmt.Errorf("%w: a meta record of %d bytes, more than %d", ErrTooLarge, len(h.Meta), MaxMetaBytes)
	}
	return nil
}

// encode returns the head as store and stream hold it.
func (h Head) encode(installed bool) []byte {
	mark := h.AppendBinary(nil)
	flags := byte(0)
	if installed {
		flags = flagInstalled
	}
	b := append(make([]byte, 0, headFixed+len(mark)+len(h.Meta)+headSum), headVersion, flags)
	b = binary.LittleEndian.AppendUint64(b, h.Hash[0])
	b = binary.LittleEndian.AppendUint64(b, h.Hash[1])
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Count))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(mark)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.Meta)))
	b = append(append(b, mark...), h.Meta...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// decodeHead reads what encode wrote. Version and sum stand where they are in all versions to come, so another version is no damage.
func decodeHead(b []byte) (h Head, err error) {
	if len(b) < headFixed+headSum {
		return Head{}, fmt.Errorf("%w: %d bytes", errBadHead, len(b))
	}
	body, sum := b[:len(b)-headSum], binary.LittleEndian.Uint32(b[len(b)-headSum:])
	if got := crc32.Checksum(body, castagnoli); got != sum {
		return Head{}, fmt.Errorf("%w: sum %08x, not %08x", errBadHead, got, sum)
	}
	if body[0] != headVersion {
		return Head{}, fmt.Errorf("%w: version %d, this build knows %d: start it with the lockd that wrote it", ErrVersion, body[0], headVersion)
	}
	count := binary.LittleEndian.Uint64(body[18:])
	mark, meta := uint64(binary.LittleEndian.Uint32(body[26:])), uint64(binary.LittleEndian.Uint32(body[30:]))
	if body[1]&^flagInstalled != 0 || count > math.MaxInt32 || uint64(len(body)) != headFixed+mark+meta {
		return Head{}, fmt.Errorf("%w: flags %d, %d records, lengths %d and %d", errBadHead, body[1], count, mark, meta)
	}
	if h.Mark, err = raft.DecodeMark(body[headFixed : headFixed+mark]); err != nil {
		return Head{}, fmt.Errorf("%w: %w", errBadHead, err)
	}
	h.Installed = body[1]&flagInstalled != 0
	h.Hash = session.Hash{binary.LittleEndian.Uint64(body[2:]), binary.LittleEndian.Uint64(body[10:])}
	h.Count, h.Meta = int(count), append([]byte(nil), body[headFixed+mark:]...)
	if h.Index == 0 {
		return Head{}, fmt.Errorf("%w: a state without an entry", errBadHead)
	}
	return h, h.check()
}
