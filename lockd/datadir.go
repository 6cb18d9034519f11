package lockd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/wal"
)

// What is in a data directory.
const (
	identityName  = "node.json"
	identityBytes = 64 << 10
	logDirName    = "log"
	stateDirName  = "state"
	unfinished    = ".tmp"
)

// ErrDataDirInUse is wrapped by the error of a start with the data directory of a process that runs.
var ErrDataDirInUse = errors.New("another lockd process runs with it")

// dataDir is a home on a disk. It is locked against other processes until it is closed.
type dataDir struct {
	path string
	dir  *wal.Dir
}

var _ home = (*dataDir)(nil)

// openDataDir opens a node's directory, or makes one. A directory that holds something else is refused.
func openDataDir(path string) (_ *dataDir, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("open the data directory %s: %w", path, err)
		}
	}()
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(path)), 0o700); err != nil {
		return nil, err
	}
	dir, err := wal.DirFS(filepath.Clean(path))
	if errors.Is(err, wal.ErrInUse) {
		return nil, fmt.Errorf("%w: stop that one, or give this node a directory of its own", ErrDataDirInUse)
	}
	if err != nil {
		return nil, err
	}
	d := &dataDir{path: filepath.Clean(path), dir: dir}
	if err := d.own(); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return d, nil
}

// own makes sure that the directory is a node's, and nobody else's to read.
func (d *dataDir) own() error {
	names, err := d.dir.List()
	if err != nil {
		return err
	}
	const ofFileSystem = "lost+found"
	foreign := func(name string) bool { return name != ofFileSystem && name != identityName+unfinished }
	if !slices.Contains(names, identityName) && slices.ContainsFunc(names, foreign) {
		return fmt.Errorf("it has no %s and is not empty: it is not a node's. Choose an empty or a new one", identityName)
	}
	info, err := os.Stat(d.path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return err
	}
	return os.Chmod(d.path, 0o700) //nolint:gosec // of a directory, and less than it was
}

func (d *dataDir) load() (id identity, err error) {
	b, err := os.ReadFile(filepath.Join(d.path, identityName))
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, nil
	}
	if err != nil {
		return identity{}, err
	}
	if id, err = decodeIdentity(b); err != nil {
		return identity{}, fmt.Errorf("read %s: %w", filepath.Join(d.path, identityName), err)
	}
	return id, nil
}

func decodeIdentity(b []byte) (id identity, err error) {
	if len(b) > identityBytes {
		return identity{}, fmt.Errorf("%d bytes, more than %d", len(b), identityBytes)
	}
	var of struct {
		Format int `json:"format"`
	}
	if err := json.Unmarshal(b, &of); err != nil {
		return identity{}, err
	}
	if of.Format < 1 {
		return identity{}, errors.New("it names no format")
	}
	if of.Format != identityFormat {
		return identity{Format: of.Format}, nil // what else it says, and how, another version knows
	}
	if err := json.Unmarshal(b, &id); err != nil {
		return identity{}, err
	}
	read := json.NewDecoder(bytes.NewReader(b))
	read.DisallowUnknownFields()
	if err := read.Decode(new(identity)); err != nil {
		return identity{}, err
	}
	listed := slices.ContainsFunc(id.Members, func(m Member) bool { return m.Name == id.Name })
	if id.ID != nodeIDOf(id.ClusterName, id.Name) && !id.Joins || len(id.Members) > 0 && (!listed || id.Joins) {
		return identity{}, errors.New("it contradicts itself")
	}
	return id, nil
}

// save replaces the file in one step.
func (d *dataDir) save(id identity) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err == nil {
		err = d.replace(identityName, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Join(d.path, identityName), err)
	}
	return nil
}

func (d *dataDir) replace(name string, b []byte) error {
	if err := d.dir.Remove(name + unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := d.dir.Open(name+unfinished, true)
	if err != nil {
		return err
	}
	n, err := f.WriteAt(b, 0)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.dir.Rename(name+unfinished, name); err != nil {
		return err
	}
	return d.dir.SyncDir()
}

func (d *dataDir) statePath() string { return filepath.Join(d.path, stateDirName) }

func (d *dataDir) openStore(id identity, log *slog.Logger) (checkpoint.Store, error) {
	if id.seeks() {
		if err := os.RemoveAll(d.statePath()); err != nil {
			return nil, err
		}
	}
	store, err := checkpoint.Open(checkpoint.Options{Dir: d.statePath(), Logger: log})
	if err != nil {
		return nil, err
	}
	return store, nil
}

func (d *dataDir) openLog(id identity) (raft.Storage, error) {
	path := filepath.Join(d.path, logDirName)
	if !id.Founded {
		// Nobody has voted by it or relied on it: it is what a founding has left that did not come to its end.
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
	}
	files, err := wal.DirFS(path)
	if err != nil {
		return nil, err
	}
	o := wal.Options{FS: files, Identity: wal.Identity{Cluster: id.cluster(), Peer: id.peer()}}
	open := wal.Open
	if !id.Founded {
		open = wal.Create
	}
	log, err := open(o)
	if errors.Is(err, wal.ErrNoLog) {
		err = fmt.Errorf("the log is missing from %s, though this node has one: is its disk mounted? A node that lost its log must "+
			"not vote again: move the whole data directory away, and start with an empty one or with a restored snapshot", path)
	}
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	return log, nil
}

func (d *dataDir) close() error { return d.dir.Close() }
