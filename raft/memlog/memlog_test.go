package memlog_test

import (
	"errors"
	"testing"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/memlog"
	"github.com/lockd/lockd/raft/rafttest"
)

func TestLogIsAStorage(t *testing.T) {
	rafttest.TestStorage(t, func(*testing.T) rafttest.OpenStorage {
		log := memlog.New()
		return func() (raft.Storage, error) {
			log = log.Reopen()
			return log, nil
		}
	})
}

func TestClosedLogRefuses(t *testing.T) {
	log := memlog.New()
	if err := log.Write([]raft.Write{{Entries: rafttest.Entries(1, 1, 3, 10)}}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	_, loaded := log.Load()
	_, read := log.Read(1, 3, 100)
	_, compacted := log.Compact(1)
	for name, err := range map[string]error{"Load": loaded, "Read": read, "Compact": compacted, "Write": log.Write(nil)} {
		if !errors.Is(err, memlog.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
	if state, err := log.Reopen().Load(); err != nil || state.Last != 3 {
		t.Errorf("reopened: last %d, %v", state.Last, err)
	}
}

// What does not continue the log, or was never in it, is refused.
func TestWriteOutOfOrder(t *testing.T) {
	for name, w := range map[string]raft.Write{
		"gap":            {Entries: rafttest.Entries(5, 1, 1, 10)},
		"overlap":        {Entries: rafttest.Entries(3, 1, 1, 10)},
		"truncates more": {TruncateFrom: 5},
	} {
		log := memlog.New()
		if err := log.Write([]raft.Write{{Entries: rafttest.Entries(1, 1, 3, 10)}}); err != nil {
			t.Fatal(err)
		}
		if err := log.Write([]raft.Write{w}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
