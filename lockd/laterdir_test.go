package lockd_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/wal"
)

// unpackOne unpacks one of the old data directories.
func unpackOne(t *testing.T) (dir string) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(oldDirs, "*.tar.gz"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no data directory in %s: %v", oldDirs, err)
	}
	dir = filepath.Join(t.TempDir(), "data")
	unpack(t, archives[0], dir)
	return dir
}

// refusal runs a node that must end by itself, and returns why.
func refusal(t *testing.T, dir string) string {
	t.Helper()
	server, err := lockd.New(oldConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	err = server.Run(t.Context())
	if err == nil || t.Context().Err() != nil {
		t.Fatalf("it ends with %v", err)
	}
	return err.Error()
}

// contents returns the files of a directory.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestLaterDataDirectoryIsRefused starts a node with the data directory of a later lockd, which says some things in another way: it says
// so, and changes nothing.
func TestLaterDataDirectoryIsRefused(t *testing.T) {
	for name, change := range map[string][2]string{
		"the same shape":  {`"format": 1`, `"format": 2`},
		"another shape":   {`"format": 1`, `"format": 2, "more": [1]`},
		"another meaning": {`"format": 1,`, `"format": 2, "members": "by reference",`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unpackOne(t)
			path := filepath.Join(dir, "node.json")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			later := strings.Replace(strings.Replace(string(b), `"members": null,`, "", 1), change[0], change[1], 1)
			if later == string(b) {
				t.Fatalf("nothing to change in %s", b)
			}
			if err := os.WriteFile(path, []byte(later), 0o600); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			if why := refusal(t, dir); !strings.Contains(why, "has format 2, this build knows 1: start it with the lockd that wrote it") {
				t.Errorf("it says %q", why)
			}
			if diff := cmp.Diff(before, contents(t, dir)); diff != "" {
				t.Errorf("the directory was changed (-before +after):\n%s", diff)
			}
		})
	}
}

// TestCommandOfALaterVersionStopsTheNode finds one in the log, which the cluster has decided: to pass over it would make this node another
// one than those that know it.
func TestCommandOfALaterVersionStopsTheNode(t *testing.T) {
	dir := unpackOne(t)
	index := appendCommand(t, dir, []byte{locktable.CommandVersion + 1, 1, 0, 0, 0, 0, 0, 0, 0, 0})
	for range 2 {
		why := refusal(t, dir)
		for _, part := range []string{fmt.Sprint("entry ", index), "version 2", "A later version of lockd wrote this"} {
			if !strings.Contains(why, part) {
				t.Errorf("it says %q, without %q", why, part)
			}
		}
	}
}

// appendCommand puts a command behind the log of a node that is down.
func appendCommand(t *testing.T, dir string, command []byte) raft.Index {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	var id struct {
		ID          raft.NodeID `json:"id"`
		Incarnation uint64      `json:"incarnation"`
		Cluster     string      `json:"cluster_id"`
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&id); err != nil {
		t.Fatal(err)
	}
	owner := wal.Identity{Peer: raft.PeerID{Node: id.ID, Incarnation: id.Incarnation}}
	cluster, err := hex.DecodeString(id.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	copy(owner.Cluster[:], cluster)
	files, err := wal.DirFS(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := wal.Open(wal.Options{FS: files, Identity: owner})
	if err != nil {
		t.Fatal(err)
	}
	state, err := log.Load()
	if err != nil {
		t.Fatal(err)
	}
	entry := raft.NewEntry(raft.Position{Index: state.Last + 1, Term: state.Hard.Term}, raft.KindCommand, command)
	if err := log.Write([]raft.Write{{Seq: 1, Entries: []raft.Entry{entry}}}); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	return entry.Index()
}
