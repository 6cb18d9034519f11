package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/lockd/lockd/raft"
)

const (
	memTableBytes   = 8 << 20 // never less than it was in a directory that exists
	valueLogBytes   = 1 << 20
	openBytes       = 4 * memTableBytes // what it may write while it opens a directory: logs that become tables, and new logs
	valueThreshold  = 1 << 20           // above MaxValueBytes: the value log stays empty
	streamedVersion = 1
)

// badgerOptions are for few, synced transactions of one writer. With SyncWrites every log of badger's is whole before its
// successor exists, so that only a suffix can be lost. Without compression and cache a table is read where it is mapped.
func badgerOptions(dir string, log *slog.Logger) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithMemTableSize(memTableBytes).
		WithNumMemtables(2).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(valueLogBytes).
		WithNumVersionsToKeep(1).
		WithDetectConflicts(false).
		WithCompression(options.None).
		WithBlockCacheSize(0).
		WithIndexCacheSize(0).
		WithChecksumVerificationMode(options.OnTableRead).
		WithMetricsEnabled(false).
		WithNumCompactors(2).
		WithNumGoroutines(2).
		WithCompactL0OnClose(false).
		WithBypassLockGuard(locked).
		WithLogger(badgerLog{log})
}

// openBadger opens a store, or makes one.
func openBadger(o badger.Options) (db *badger.DB, err error) {
	err = guarded(func() error {
		if err := checkTables(o); err != nil {
			return err
		}
		db, err = badger.Open(o)
		return err
	})
	return db, err
}

// errFault: a page of a mapped file could be neither read nor written. So a disk that is full or fails shows there, and not as an errno.
var errFault = errors.New("the disk is full or fails")

// guarded turns a panic into an error: so badger meets some kinds of damage. Of the goroutine that calls it a fault of a mapped file, too.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			err = fmt.Errorf("%w: a fault at address %#x", errFault, p.Addr())
		default:
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// environment tells an error that says nothing about the files: another process, permissions, no room, no memory.
func environment(err error) bool {
	for _, e := range []error{raft.ErrDiskFull, errFault, fs.ErrPermission, syscall.EWOULDBLOCK, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.ENOMEM, syscall.EROFS} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// readHead returns the head of a store, zero if it is empty.
func readHead(txn *badger.Txn) (h Head, err error) {
	err = guarded(func() error {
		item, err := txn.Get(headKey)
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(b []byte) (err error) {
			h, err = decodeHead(b)
			return err
		})
	})
	return h, err
}

// scan is a consistent view of all records.
type scan struct {
	txn  *badger.Txn
	iter *badger.Iterator // nil once closed
	done func()
	used bool // the record at iter was given out
}

func newScan(txn *badger.Txn, done func()) *scan {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues = false // values lie beside their keys
	s := &scan{txn: txn, iter: txn.NewIterator(o), done: done}
	s.iter.Seek([]byte{headKey[0], 0})
	return s
}

func (s *scan) next() (r Record, ok bool, err error) {
	if s.iter == nil {
		return Record{}, false, ErrClosed
	}
	if s.used {
		s.iter.Next()
	}
	if s.used = s.iter.Valid(); !s.used {
		return Record{}, false, nil
	}
	item := s.iter.Item()
	r.Key = item.Key()
	err = item.Value(func(b []byte) error {
		r.Value = b
		return nil
	})
	return r, err == nil, err
}

func (s *scan) close() {
	if s.iter == nil {
		return
	}
	s.iter.Close()
	s.iter = nil
	s.txn.Discard()
	s.done()
}

// within runs f, but waits only so long: badger retries some failures for ever, and then nothing else ends the wait.
func within(limit time.Duration, what string, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- guarded(f) }()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("checkpoint: %s: no answer within %v", what, limit)
	}
}

// badgerLog is badger's voice in the server's log.
type badgerLog struct{ log *slog.Logger }

func line(format string, args []any) slog.Attr {
	return slog.String("badger", strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Errorf implements badger.Logger.
func (l badgerLog) Errorf(format string, args ...any) {
	l.log.Error("checkpoint store", line(format, args))
}

// Warningf implements badger.Logger.
func (l badgerLog) Warningf(format string, args ...any) {
	l.log.Warn("checkpoint store", line(format, args))
}

// Infof implements badger.Logger. What badger finds worth telling is detail here.
func (l badgerLog) Infof(format string, args ...any) {
	l.log.Debug("checkpoint store", line(format, args))
}

// Debugf implements badger.Logger.
func (l badgerLog) Debugf(string, ...any) {}
