package tcp

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A frame is a length (4 bytes, little endian, of what follows), a type (1 byte) and a body.
const (
	frameHead     = 4 + 1
	maxFrameBytes = 32 << 20 // length at most; an Append holds about as many bytes as the core puts into one
	readBuffer    = 64 << 10
	growStep      = 1 << 20 // memory given for a large frame before its bytes are there
)

type frameType uint8

// The types of frames are part of the protocol.
const (
	frameAppend frameType = 1 + iota
	frameAppendReply
	frameHeartbeat
	frameHeartbeatReply
	frameVote
	frameVoteReply
	frameTimeoutNow
	frameReadIndex
	frameReadIndexReply
)

const (
	// framePing asks whether the other side is alive, framePong says so.
	framePing frameType = 64 + iota
	framePong
	// frameBye precedes the end of a connection that does not mean the end of the process.
	frameBye
)

const (
	frameSnapshot frameType = 96 + iota // header of a snapshot stream
	frameChunk
	frameFooter
	frameAlive
	frameVerdict
)

// errFrame is wrapped by all errors about bytes that a peer sent.
var errFrame = errors.New("raft/tcp: bad frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFrameHead(b []byte, kind frameType, body int) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(1+body)), byte(kind))
}

// controlFrame returns a frame without a body.
func controlFrame(kind frameType) []byte { return appendFrameHead(nil, kind, 0) }

// frame is one received frame. Its body is valid until the next call of frameReader.next, except when own: then the
// memory is nobody else's.
type frame struct {
	kind frameType
	body []byte
	own  bool
}

// frameReader takes frames from a stream. Frames that fit the buffer are not copied.
type frameReader struct {
	in    *bufio.Reader
	limit int
	spent int // length in the buffer of the frame that was returned last
}

func newFrameReader(r io.Reader, buffer, limit int) *frameReader {
	return &frameReader{in: bufio.NewReaderSize(r, buffer), limit: limit}
}

// next returns the next frame. io.EOF means that the stream ended between two frames.
func (r *frameReader) next() (frame, error) {
	_, _ = r.in.Discard(r.spent)
	r.spent = 0
	head, err := r.in.Peek(frameHead)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	length, kind := binary.LittleEndian.Uint32(head), frameType(head[4])
	if length < 1 || int64(length) > int64(r.limit) {
		return frame{}, fmt.Errorf("%w: length %d is outside 1 to %d", errFrame, length, r.limit)
	}
	total := 4 + int(length)
	if total > r.in.Size() {
		_, _ = r.in.Discard(frameHead)
		body, err := readGrowing(r.in, int(length)-1)
		return frame{kind, body, true}, err
	}
	whole, err := r.in.Peek(total)
	if err != nil {
		return frame{}, unexpected(err)
	}
	r.spent = total
	return frame{kind, whole[frameHead:], false}, nil
}

// ready reports whether next would return a frame without waiting.
func (r *frameReader) ready() bool {
	buffered := r.in.Buffered() - r.spent
	if buffered < frameHead {
		return false
	}
	b, _ := r.in.Peek(r.spent + frameHead)
	return uint64(buffered) >= 4+uint64(binary.LittleEndian.Uint32(b[r.spent:]))
}

// readGrowing reads n bytes, and takes memory only a step ahead of what has arrived.
func readGrowing(r io.Reader, n int) ([]byte, error) {
	b := make([]byte, min(n, growStep))
	for got := 0; ; {
		if _, err := io.ReadFull(r, b[got:]); err != nil {
			return nil, unexpected(err)
		}
		if got = len(b); got == n {
			return b, nil
		}
		bigger := make([]byte, min(n, 2*got))
		copy(bigger, b)
		b = bigger
	}
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// cursor takes fixed-size fields from the front of a body. After the first one that is missing, all are zero and bad
// is set.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if len(c.b) < n {
		c.bad, c.b = true, nil
		return nil
	}
	field := c.b[:n]
	c.b = c.b[n:]
	return field
}

func (c *cursor) u8() uint8 {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// flags takes a byte of which only the bits in known may be set.
func (c *cursor) flags(known uint8) uint8 {
	f := c.u8()
	if f&^known != 0 {
		c.bad = true
	}
	return f
}

// end reports whether the body was exactly as long as its fields.
func (c *cursor) end() bool { return !c.bad && len(c.b) == 0 }
