package lockd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/lockd/locktable"
)

// Host is what a process finds out about the machine that it runs on. What the system does not tell is zero.
type Host struct {
	Time       time.Time `json:"time"`
	ClockError string    `json:"clock_error,omitempty"` // why no token could begin with this time, as after a restore
	Sync       ClockSync `json:"clock_sync"`

	Files     uint64 `json:"files_max"` // that the process may have open
	FilesOpen uint64 `json:"files_open"`

	Processors int     `json:"processors"`
	Parallel   int     `json:"gomaxprocs"`
	Quota      float64 `json:"cpu_quota"` // processors that the control group may use; 0: all
	Throttled  uint64  `json:"throttled"` // how often it had to wait for that

	Disk DiskCheck `json:"disk"`
}

// ClockSync is what the kernel knows of the service that sets its clock.
type ClockSync struct {
	Known  bool  `json:"known"`
	Synced bool  `json:"synced"`
	Error  int64 `json:"max_error_ms"`
}

// DiskCheck is how a file system has done.
type DiskCheck struct {
	Path    string        `json:"path"` // of the directory that was tried; empty: none was
	Kind    string        `json:"kind"` // of a file system that is not fit for a log, as far as that is known: tmpfs, nfs …
	Free    uint64        `json:"free_bytes"`
	Mark    uint64        `json:"mark_bytes"` // below this what grows the state is refused
	Records int           `json:"records"`    // that were written and made durable one by one
	P50     time.Duration `json:"p50_ns"`     // of them
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
	Error   string        `json:"error,omitempty"`
}

// CheckHost looks at the machine, and writes a hundred small records to a file of its own in dir, or in the nearest directory above
// it that is there. The file is gone afterwards. It takes as long as the disk does, and ends early with ctx.
func CheckHost(ctx context.Context, dir string) Host {
	h := Host{Time: time.Now(), Processors: runtime.NumCPU(), Parallel: runtime.GOMAXPROCS(0)}
	if _, err := locktable.TokenSeed(h.Time, builtAt(), time.Time{}, 0); err != nil {
		h.ClockError = err.Error()
	}
	h.system()
	if dir == "" {
		return h
	}
	h.Disk.Path = existing(dir)
	var errFree error
	if h.Disk.Free, errFree = checkpoint.FreeSpace(h.Disk.Path); errors.Is(errFree, errors.ErrUnsupported) {
		errFree = nil
	}
	h.Disk.Kind = fileSystem(h.Disk.Path)
	if err := errors.Join(errFree, h.Disk.try(ctx)); err != nil {
		h.Disk.Error = err.Error()
	}
	return h
}

// existing returns dir, or the nearest directory above it that is there.
func existing(dir string) string {
	dir = filepath.Clean(dir)
	for {
		info, err := os.Stat(dir)
		up := filepath.Dir(dir)
		if err == nil && info.IsDir() || up == dir {
			return dir
		}
		dir = up
	}
}

// How the disk is tried: as the log uses it, which overwrites space that it has already.
const (
	tryRecords = 100
	tryBytes   = 512
)

// try measures how long small records take to become durable.
func (d *DiskCheck) try(ctx context.Context) (err error) {
	f, err := os.CreateTemp(d.Path, ".lockd-doctor-*")
	if err != nil {
		return err
	}
	// It has no name while it is used, where the system can do that: a data directory that is otherwise empty must stay so.
	_ = os.Remove(f.Name())
	defer func() {
		err = errors.Join(err, f.Close())
		_ = os.Remove(f.Name())
	}()
	if _, err := f.Write(make([]byte, tryRecords*tryBytes)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	record := make([]byte, tryBytes)
	var took []time.Duration
	for i := range tryRecords {
		if ctx.Err() != nil {
			return fmt.Errorf("%w, after %d of %d records", context.Cause(ctx), i, tryRecords)
		}
		record[0] = byte(i)
		begin := time.Now()
		if _, err := f.WriteAt(record, int64(i*tryBytes)); err != nil {
			return err
		}
		if err := syncData(f); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	d.Records, d.P50, d.P99, d.Max = len(took), took[len(took)/2], took[len(took)*99/100-1], took[len(took)-1]
	return nil
}
