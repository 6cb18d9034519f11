package checkpoint_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// Records that are written over and over take no more room than a few tables: badger merges five of them at the first level. So the
// directory of a busy node rises to some 45 MiB and falls again, however long it runs.
func TestOverwrittenRecordsTakeNoRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it writes 200 MiB")
	}
	const table = 9 << 20 // of 8 MiB in memory
	dir := t.TempDir()
	d := openDisk(t, dir)
	mustLoad(t, d)
	m := newModel()
	value := strings.Repeat("v", 200)
	written, most, fell := 0, int64(0), false
	for i := raft.Index(1); written < 24*table; i++ {
		records := make([]checkpoint.Record, 4000)
		for k := range records {
			records[k] = put(fmt.Sprintf("%026d", (int(i)*4000+k)%20_000), value)
			written += len(records[k].Key) + len(value)
		}
		mustFlush(t, d, m.set(i, records...))
		size := tables(t, dir)
		most, fell = max(most, size), fell || size < most-2*table
	}
	if most > 12*table || !fell {
		t.Errorf("after %d MiB the tables took up to %d MiB, and fell: %v", written>>20, most>>20, fell)
	}
	t.Logf("%d MiB written, at most %d MiB of tables", written>>20, most>>20)
}

// tables returns how many bytes of tables are in a directory.
func tables(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".sst" {
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil // a table may be gone by now
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}
