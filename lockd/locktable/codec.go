package locktable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/session"
)

// A command begins with its version, its kind, and the leader's stamp in eight bytes, so that the leader can set it in place.
const (
	// CommandVersion is the version of commands that this build writes, and the only one that it can apply.
	CommandVersion = 1

	stampAt = 2
	bodyAt  = stampAt + 8
)

// kind is the second byte of a command. The numbers never change their meaning.
type kind uint8

const (
	kindOpen         kind = 1
	kindClose        kind = 2
	kindExpire       kind = 3
	kindTick         kind = 4
	kindIncarnate    kind = 5
	kindAcquire      kind = 6
	kindRelease      kind = 7
	kindCancel       kind = 8
	kindSetValue     kind = 9
	kindRenewLease   kind = 10
	kindReleaseLease kind = 11
	kindTakeLease    kind = 12
)

// ErrCommand is what [Decode] and [Table.Apply] return for bytes that are no command of a version known here.
var ErrCommand = errors.New("not a command")

// Encode returns the bytes of a command, to be proposed.
func Encode(cmd Command) []byte {
	b := make([]byte, bodyAt, 128)
	b[0], b[1] = CommandVersion, byte(cmd.kind())
	SetStamp(b, cmd.stamp())
	return cmd.appendTo(b)
}

// SetStamp sets the stamp in the bytes of a command. The leader calls it on what it proposes.
func SetStamp(command []byte, stamp time.Duration) {
	binary.BigEndian.PutUint64(command[stampAt:bodyAt], uint64(max(stamp, 0)))
}

// Decode reads a command. Its strings are copies, its byte slices are parts of data. It allocates at most a constant and the
// length of data times a small factor, whatever data says.
func Decode(data []byte) (Command, error) {
	return new(decoder).decode(data, func(name []byte) string { return string(name) })
}

// decoder keeps one command of each hot kind, so that applying allocates none.
type decoder struct {
	acquire Acquire
	release Release
	cancel  Cancel
	tick    Tick
	reader  reader
}

// body is a command that can be read.
type body interface {
	Command
	read(r *reader)
	setStamp(time.Duration)
}

func (d *decoder) decode(data []byte, intern func([]byte) string) (Command, error) {
	if len(data) < bodyAt {
		return nil, fmt.Errorf("%w: %d bytes", ErrCommand, len(data))
	}
	if data[0] != CommandVersion {
		return nil, fmt.Errorf("%w: version %d", ErrCommand, data[0])
	}
	cmd := d.command(kind(data[1]))
	if cmd == nil {
		return nil, fmt.Errorf("%w: kind %d", ErrCommand, data[1])
	}
	stamp := binary.BigEndian.Uint64(data[stampAt:])
	if stamp > uint64(Forever) {
		return nil, fmt.Errorf("%w: kind %d: stamp %d", ErrCommand, data[1], stamp)
	}
	r := &d.reader
	*r = reader{Cursor: session.NewCursor(data[bodyAt:]), intern: intern}
	cmd.read(r)
	if err := r.Close(); err != nil {
		return nil, fmt.Errorf("%w: kind %d: %w", ErrCommand, data[1], err)
	}
	cmd.setStamp(time.Duration(stamp))
	return cmd, nil
}

func (d *decoder) command(k kind) body {
	switch k {
	case kindOpen:
		return &Open{}
	case kindClose:
		return &Close{}
	case kindExpire:
		return &Expire{}
	case kindTick:
		return &d.tick
	case kindIncarnate:
		return &Incarnate{}
	case kindAcquire:
		return &d.acquire
	case kindRelease:
		return &d.release
	case kindCancel:
		return &d.cancel
	case kindSetValue:
		return &SetValue{}
	case kindRenewLease:
		return &RenewLease{}
	case kindReleaseLease:
		return &ReleaseLease{}
	case kindTakeLease:
		return &TakeLease{}
	}
	return nil
}

// reader reads the parts that commands share.
type reader struct {
	session.Cursor
	intern func([]byte) string
}

// lengthMax is how long any string of bytes in a command may be. What the command's own rules say is checked when it is applied.
const lengthMax = 1 << 20

func (r *reader) bytes() []byte { return r.Bytes(lengthMax) }

func (r *reader) name() string { return r.intern(r.bytes()) }

func (r *reader) request(q *Request) {
	q.Session, q.Seq, q.Acked = r.Life(), r.Uint64(), r.Uint64()
	q.Seen = q.Seen[:0]
	for range r.Uint(SeenMax) {
		q.Seen = append(q.Seen, r.Uint64())
	}
}

func appendRequest(b []byte, q *Request) []byte {
	b = session.AppendLife(b, q.Session)
	b = binary.AppendUvarint(b, q.Seq)
	b = binary.AppendUvarint(b, q.Acked)
	b = binary.AppendUvarint(b, uint64(len(q.Seen)))
	for _, seq := range q.Seen {
		b = binary.AppendUvarint(b, seq)
	}
	return b
}

func (h *Header) stamp() time.Duration     { return h.Stamp }
func (h *Header) setStamp(d time.Duration) { h.Stamp = d }
