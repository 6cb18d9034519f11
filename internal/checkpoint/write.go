package checkpoint

import (
	"encoding/binary"
	"hash/crc32"
	"io"

	"github.com/lockd/lockd/raft"
)

const (
	streamMagic   = "lockdsnp"
	streamVersion = 1
	preambleBytes = len(streamMagic) + 4 + 4
	blockBytes    = 64 << 10
	blockHead     = 8
	footerBytes   = 4 + 8 + 4

	// maxBlockBytes bounds a block: one record may come on top of what does not fill it.
	maxBlockBytes = blockBytes + MaxKeyBytes + MaxValueBytes + 2*binary.MaxVarintLen32
)

// source gives the records of a consistent view in the order of their keys. A record is good until the next call.
type source interface {
	next() (r Record, ok bool, err error)
	close()
}

// stream is a raft.Snapshot: it encodes what it is read from block by block, as it is read.
type stream struct {
	head Head
	from source
	out  []byte // encoded; out[at:] is not read yet
	at   int
	sum  uint32
	n    uint64
	ends bool // the footer is in out
	err  error
}

func newStream(head Head, from source) *stream {
	s := &stream{head: head, from: from}
	encoded := head.encode(false)
	s.out = append(s.out, streamMagic...)
	s.out = binary.LittleEndian.AppendUint32(s.out, streamVersion)
	s.out = binary.LittleEndian.AppendUint32(s.out, uint32(len(encoded)))
	s.out = append(s.out, encoded...)
	s.sum = crc32.Checksum(s.out, castagnoli)
	return s
}

// Mark implements raft.Snapshot.
func (s *stream) Mark() raft.Mark {
	m := s.head.Mark
	m.Installed = false
	return m
}

// Read implements io.Reader.
func (s *stream) Read(p []byte) (int, error) {
	for s.at == len(s.out) {
		if s.err == nil && s.ends {
			s.err = io.EOF
		}
		if s.err != nil {
			return 0, s.err
		}
		s.fill()
	}
	n := copy(p, s.out[s.at:])
	s.at += n
	return n, nil
}

// fill encodes the next block, or the footer.
func (s *stream) fill() {
	s.out, s.at = append(s.out[:0], make([]byte, blockHead)...), 0
	for len(s.out) < blockHead+blockBytes {
		r, ok, err := s.from.next()
		if err != nil {
			s.err, s.out = err, s.out[:0]
			return
		}
		if !ok {
			s.ends = true
			break
		}
		s.out = binary.AppendUvarint(s.out, uint64(len(r.Key)))
		s.out = binary.AppendUvarint(s.out, uint64(len(r.Value)))
		s.out = append(append(s.out, r.Key...), r.Value...)
		s.n++
	}
	if body := s.out[blockHead:]; len(body) > 0 {
		binary.LittleEndian.PutUint32(s.out, uint32(len(body)))
		binary.LittleEndian.PutUint32(s.out[4:], crc32.Checksum(body, castagnoli))
	} else {
		s.out = s.out[:0]
	}
	if s.ends {
		s.out = binary.LittleEndian.AppendUint64(append(s.out, 0, 0, 0, 0), s.n)
	}
	s.sum = crc32.Update(s.sum, castagnoli, s.out)
	if s.ends {
		s.out = binary.LittleEndian.AppendUint32(s.out, s.sum)
	}
}

// close ends the view; what is read afterwards is an error.
func (s *stream) close() {
	s.err, s.at, s.out = ErrClosed, 0, nil
	s.from.close()
}
