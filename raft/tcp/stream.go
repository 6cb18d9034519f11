package tcp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/lockd/lockd/raft"
)

// A snapshot stream is a header frame, chunk frames and a footer frame, all little endian, with alive frames anywhere
// between them:
//
//	header  CRC32C of the rest (4), From (16), To (16), Term (8), Session (8), Mark
//	chunk   CRC32C of the rest (4), offset (8), data (1 to 256 KiB)
//	footer  CRC32C of the rest (4), length of all data (8), CRC32C of all data (4)
//
// The receiver answers with alive frames and one verdict frame: 0 for accepted, else 1 and a reason.
const (
	chunkBytes      = 256 << 10
	chunkFixed      = 4 + 8
	footerFixed     = 4 + 8 + 4
	maxHeaderBytes  = 1 << 20
	maxVerdictBytes = 1 + 1024
)

// writeStream writes r as a stream to w, each frame in one Write. Errors of r wrap errLocal.
func writeStream(w io.Writer, head raft.SnapshotHeader, r io.Reader) error {
	if _, err := w.Write(appendHeader(nil, head)); err != nil {
		return err
	}
	var offset uint64
	var sum uint32
	buf := make([]byte, frameHead+chunkFixed+chunkBytes)
	data := buf[frameHead+chunkFixed:]
	for {
		n, err := io.ReadFull(r, data)
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return fmt.Errorf("%w: at byte %d: %w", errLocal, offset+uint64(n), err)
		}
		if n > 0 {
			frame := buf[:frameHead+chunkFixed+n]
			appendFrameHead(frame[:0], frameChunk, chunkFixed+n)
			binary.LittleEndian.PutUint64(frame[frameHead+4:], offset)
			seal(frame)
			if _, err := w.Write(frame); err != nil {
				return err
			}
			offset += uint64(n)
			sum = crc32.Update(sum, castagnoli, data[:n])
		}
		if last {
			break
		}
	}
	footer := appendFrameHead(nil, frameFooter, footerFixed)
	footer = binary.LittleEndian.AppendUint64(append(footer, 0, 0, 0, 0), offset)
	footer = binary.LittleEndian.AppendUint32(footer, sum)
	_, err := w.Write(seal(footer))
	return err
}

// seal puts the sum of a frame's body at its beginning.
func seal(frame []byte) []byte {
	body := frame[frameHead:]
	binary.LittleEndian.PutUint32(body, crc32.Checksum(body[4:], castagnoli))
	return frame
}

func sealed(body []byte) bool {
	return len(body) >= 4 && binary.LittleEndian.Uint32(body) == crc32.Checksum(body[4:], castagnoli)
}

func appendHeader(b []byte, head raft.SnapshotHeader) []byte {
	body := appendWords(make([]byte, 4), uint64(head.From.Node), head.From.Incarnation, uint64(head.To.Node), head.To.Incarnation,
		uint64(head.Term), uint64(head.Session))
	body = head.Mark.AppendBinary(body)
	b = appendFrameHead(b, frameSnapshot, len(body))
	return seal(append(b, body...))
}

func decodeHeader(body []byte) (raft.SnapshotHeader, error) {
	if !sealed(body) {
		return raft.SnapshotHeader{}, fmt.Errorf("%w: snapshot header of %d bytes has a wrong checksum", errFrame, len(body))
	}
	c := cursor{b: body[4:]}
	head := raft.SnapshotHeader{From: c.peer(), To: c.peer(), Term: raft.Term(c.u64()), Session: raft.Index(c.u64())}
	mark, err := raft.DecodeMark(c.b)
	if err != nil {
		return raft.SnapshotHeader{}, fmt.Errorf("%w: snapshot header: %w", errFrame, err)
	}
	head.Mark = mark
	return head, nil
}

func encodeVerdict(err error) []byte {
	body := []byte{0}
	if err != nil {
		body[0] = 1
		reason := err.Error()
		body = append(body, reason[:min(len(reason), maxVerdictBytes-1)]...)
	}
	return append(appendFrameHead(nil, frameVerdict, len(body)), body...)
}

// streamReader is the data of a stream. It gives io.EOF only when the footer has confirmed all of it; any other end is
// an error that says where.
type streamReader struct {
	frames *frameReader
	offset uint64 // of the end of chunk
	sum    uint32 // of the data before offset
	chunk  []byte // not yet read
	err    error
}

func newStreamReader(r io.Reader) *streamReader {
	const largest = chunkFixed + chunkBytes
	return &streamReader{frames: newFrameReader(r, frameHead+largest, maxHeaderBytes)}
}

// next skips signs of life.
func (s *streamReader) next() (frame, error) {
	for {
		f, err := s.frames.next()
		if err != nil || f.kind != frameAlive {
			return f, err
		}
	}
}

func (s *streamReader) header() (raft.SnapshotHeader, error) {
	f, err := s.next()
	if err != nil {
		return raft.SnapshotHeader{}, fmt.Errorf("snapshot header: %w", unexpected(err))
	}
	if f.kind != frameSnapshot {
		return raft.SnapshotHeader{}, fmt.Errorf("%w: a snapshot begins with type %d", errFrame, f.kind)
	}
	return decodeHeader(f.body)
}

func (s *streamReader) Read(p []byte) (int, error) {
	for len(s.chunk) == 0 && s.err == nil && len(p) > 0 {
		s.chunk, s.err = s.advance()
	}
	if s.err != nil {
		return 0, s.err
	}
	n := copy(p, s.chunk)
	s.chunk = s.chunk[n:]
	return n, nil
}

func (s *streamReader) advance() ([]byte, error) {
	f, err := s.next()
	if err != nil {
		return nil, fmt.Errorf("raft/tcp: snapshot is cut at byte %d: %w", s.offset, unexpected(err))
	}
	if !sealed(f.body) {
		return nil, s.damage("wrong checksum in a frame of type %d", f.kind)
	}
	c := cursor{b: f.body[4:]}
	at := c.u64()
	switch {
	case f.kind == frameChunk && len(c.b) > 0 && len(c.b) <= chunkBytes:
		if at != s.offset {
			return nil, s.damage("chunk of byte %d", at)
		}
		s.offset += uint64(len(c.b))
		s.sum = crc32.Update(s.sum, castagnoli, c.b)
		return c.b, nil
	case f.kind == frameFooter:
		sum := c.u32()
		if !c.end() || at != s.offset || sum != s.sum {
			return nil, s.damage("footer of %d bytes with sum %08x, received sum %08x", at, sum, s.sum)
		}
		return nil, io.EOF
	}
	return nil, s.damage("type %d with %d bytes", f.kind, len(f.body))
}

func (s *streamReader) damage(format string, args ...any) error {
	return fmt.Errorf("%w: snapshot at byte %d: %s", errFrame, s.offset, fmt.Sprintf(format, args...))
}

// finish checks that everything was read, and that the footer was there.
func (s *streamReader) finish() error {
	var one [1]byte
	if n, err := io.ReadFull(s, one[:]); n > 0 {
		return fmt.Errorf("raft/tcp: the receiver of a snapshot stopped at byte %d", s.offset-uint64(len(s.chunk))-1)
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
