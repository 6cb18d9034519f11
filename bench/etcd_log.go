package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	etcdSegmentBytes = 16 << 20
	etcdSegments     = 3         // used in turn: more than etcdKeep entries
	etcdRecordHead   = 4 + 4 + 1 // length, sum, kind

	etcdRecordHard  = 1
	etcdRecordEntry = 2
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// etcdLog is a plain log: records of protobuf with sums, one write and one fdatasync for each save, in segments that
// are filled with zeros ahead of their use and then used again, as raft/wal does it for our own system. It is never
// read back.
type etcdLog struct {
	dir    string
	used   []*os.File // oldest first
	file   *os.File
	offset int64
	buf    []byte
	next   chan preparedSegment
	stop   chan struct{}
	wg     sync.WaitGroup
}

type preparedSegment struct {
	file *os.File
	err  error
}

func openEtcdLog(dir string) (*etcdLog, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	l := &etcdLog{dir: dir, next: make(chan preparedSegment), stop: make(chan struct{})}
	l.wg.Go(l.prepare)
	return l, l.roll()
}

// prepare makes the segments, one ahead of its use.
func (l *etcdLog) prepare() {
	zeros := make([]byte, 1<<20)
	for n := range etcdSegments {
		var s preparedSegment
		s.file, s.err = os.Create(filepath.Join(l.dir, fmt.Sprintf("%08d.log", n+1)))
		for at := int64(0); at < etcdSegmentBytes && s.err == nil; at += int64(len(zeros)) {
			if _, s.err = s.file.WriteAt(zeros, at); s.err == nil {
				s.err = syscall.Fdatasync(int(s.file.Fd()))
			}
		}
		select {
		case l.next <- s:
		case <-l.stop:
			if s.file != nil {
				_ = s.file.Close()
			}
			return
		}
	}
}

// roll goes on in the next segment.
func (l *etcdLog) roll() error {
	if l.file != nil {
		l.used = append(l.used, l.file)
	}
	l.offset = 0
	if len(l.used) == etcdSegments {
		l.file, l.used = l.used[0], l.used[1:]
		return nil
	}
	s := <-l.next
	l.file = s.file
	return s.err
}

// save appends records, and makes them durable if flush is set.
func (l *etcdLog) save(hard *pb.HardState, entries []*pb.Entry, flush bool) error {
	l.buf = l.buf[:0]
	var err error
	if hard != nil {
		err = l.record(etcdRecordHard, hard)
	}
	for _, e := range entries {
		err = errors.Join(err, l.record(etcdRecordEntry, e))
	}
	if err != nil || len(l.buf) == 0 {
		return err
	}
	if l.offset+int64(len(l.buf)) > etcdSegmentBytes {
		if err := l.roll(); err != nil {
			return err
		}
	}
	if _, err := l.file.WriteAt(l.buf, l.offset); err != nil {
		return err
	}
	l.offset += int64(len(l.buf))
	if !flush {
		return nil
	}
	return syscall.Fdatasync(int(l.file.Fd()))
}

func (l *etcdLog) record(kind byte, m proto.Message) error {
	start := len(l.buf)
	b, err := proto.MarshalOptions{}.MarshalAppend(append(l.buf, make([]byte, etcdRecordHead)...), m)
	if err != nil {
		return err
	}
	rec := b[start:]
	rec[8] = kind
	binary.LittleEndian.PutUint32(rec, uint32(len(rec)-etcdRecordHead))
	binary.LittleEndian.PutUint32(rec[4:], crc32.Checksum(rec[8:], castagnoli))
	l.buf = b
	return nil
}

func (l *etcdLog) close() error {
	close(l.stop)
	l.wg.Wait()
	var errs []error
	for _, f := range append(l.used, l.file) {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
