package lockd

import (
	"log/slog"
	"sync"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/memlog"
)

// memoryHome is a home in memory; the zero value is an empty one. What is in it stays when it is closed.
type memoryHome struct {
	mu    sync.Mutex // guards the fields below
	id    identity
	media checkpoint.Media
	log   *memlog.Log
	inUse bool
}

var _ home = (*memoryHome)(nil)

// open locks it against others, as a directory would be.
func (h *memoryHome) open() (home, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.inUse {
		return nil, ErrDataDirInUse
	}
	h.inUse = true
	return h, nil
}

func (h *memoryHome) load() (identity, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.id, nil
}

func (h *memoryHome) save(id identity) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.id = id
	return nil
}

func (h *memoryHome) openStore(id identity, _ *slog.Logger) (checkpoint.Store, error) {
	if id.seeks() {
		h.media = checkpoint.Media{}
	}
	return checkpoint.OpenMemory(&h.media), nil
}

func (h *memoryHome) openLog(id identity) (raft.Storage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !id.Founded || h.log == nil {
		h.log = memlog.New()
	} else {
		h.log = h.log.Reopen()
	}
	return h.log, nil
}

func (h *memoryHome) close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inUse = false
	return nil
}
