package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Sizes of buffers.
const (
	bufferMin  = 512      // what an idle connection keeps
	bufferKept = 64 << 10 // what a connection keeps after a large frame
	HelloMax   = 16 << 10 // length of a frame before Hello has been accepted
)

// ErrOutOfStep is wrapped by the errors after which a stream cannot be trusted: it is to be closed. All other errors of [Reader.Read] but
// those of the stream itself concern one frame.
var ErrOutOfStep = errors.New("wire: the stream is out of step")

// Reader reads frames from a stream. It reads ahead, so nobody else may read from the stream. It is not safe for concurrent use.
//
// It keeps at most twice what has arrived of the present frame and what it read ahead, whatever the frame says of its length.
type Reader struct {
	src      io.Reader
	max      int
	buf      []byte
	from, to int   // buf[from:to] has arrived and was not taken yet
	err      error // after which the stream cannot be trusted
}

// NewReader returns a Reader of frames of at most that many bytes, type and body: [HelloMax] before the other side is known.
func NewReader(src io.Reader, most int) *Reader { return &Reader{src: src, max: min(most, FrameMax)} }

// Limit sets the length of the frames from here on.
func (r *Reader) Limit(most int) { r.max = min(most, FrameMax) }

// Buffered returns how many bytes have arrived and were not taken yet.
func (r *Reader) Buffered() int { return r.to - r.from }

// Read returns the next message. It blocks until one has arrived or the stream fails; a deadline is the stream's affair, and after one
// has passed Read goes on where it was. Errors:
//
//   - *[BodyError]: this frame is wrong, the stream is not. The next Read goes on behind it.
//   - [ErrOutOfStep], wrapped: where the next frame begins is not known. It stays.
//   - io.EOF: the stream ended between two frames; io.ErrUnexpectedEOF: within one.
//   - what the stream returned.
func (r *Reader) Read() (Message, error) {
	if r.err != nil {
		return nil, r.err
	}
	if err := r.fill(headerSize); err != nil {
		return nil, err
	}
	header := r.buf[r.from:r.to]
	length := binary.BigEndian.Uint32(header)
	if length < 2 || uint64(length) > uint64(r.max) {
		r.err = fmt.Errorf("%w: a frame of %d bytes, not of 2 to %d%s", ErrOutOfStep, length, r.max, guess(header[:headerSize]))
		return nil, r.err
	}
	size := 4 + int(length)
	if err := r.fill(size); err != nil {
		return nil, err
	}
	frame := r.buf[r.from : r.from+size]
	m, err := Decode(Type(frame[4]), frame[headerSize:])
	if err != nil {
		id, _ := RequestID(frame[headerSize:])
		err = &BodyError{Type: Type(frame[4]), ID: id, Err: err}
	}
	r.taken(size)
	return m, err
}

// BodyError says that the body of a frame is wrong. The stream goes on behind it.
type BodyError struct {
	Type Type
	ID   uint64 // of the request, if it has one
	Err  error  // a *FormatError
}

// Error returns what is wrong.
func (e *BodyError) Error() string { return e.Err.Error() }

// Unwrap returns what is wrong.
func (e *BodyError) Unwrap() error { return e.Err }

// IsRequest reports whether the frame wants an answer: a [Failure] with the code Malformed.
func (e *BodyError) IsRequest() bool { return firstRequest <= e.Type && e.Type < firstPush }

// fill waits until n bytes have arrived.
func (r *Reader) fill(n int) error {
	for r.to-r.from < n {
		r.makeRoom()
		k, err := r.src.Read(r.buf[r.to:])
		r.to += max(k, 0)
		switch {
		case r.to-r.from >= n:
		case errors.Is(err, io.EOF) && r.to > r.from:
			return io.ErrUnexpectedEOF
		case err != nil:
			return err
		case k <= 0:
			return io.ErrNoProgress
		}
	}
	return nil
}

// makeRoom makes room for another read: by moving what is there to the front, and by doubling what is full.
func (r *Reader) makeRoom() {
	switch {
	case r.to < len(r.buf):
	case r.from > 0:
		r.to = copy(r.buf, r.buf[r.from:r.to])
		r.from = 0
	default:
		grown := make([]byte, max(2*len(r.buf), bufferMin))
		r.to = copy(grown, r.buf[:r.to])
		r.buf = grown
	}
}

// taken gives up a frame, and the memory of a large one.
func (r *Reader) taken(size int) {
	r.from += size
	if r.from == r.to {
		r.from, r.to = 0, 0
		if len(r.buf) > bufferKept {
			r.buf = nil
		}
	}
}

// guess says what the first bytes of a stream look like if it is not of this protocol.
func guess(header []byte) string {
	switch {
	case header[0] == 0x16 && header[1] == 0x03:
		return " (it looks like TLS)"
	case string(header) == "HTTP/":
		return " (it looks like an answer of HTTP)"
	}
	for _, b := range header[:4] {
		if b != ' ' && b != '/' && (b < 'A' || b > 'Z') {
			return ""
		}
	}
	return " (it looks like HTTP)"
}
