package lockd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// RecoverOptions say with which node's data a cluster that has lost its majority for good begins anew.
type RecoverOptions struct {
	// DataDir is that of the survivor with the most of the log. No process may run with it.
	DataDir string
	// Name and ClusterName, if not empty, are those that the directory must belong to.
	Name, ClusterName string
	// TokenFloor and NoWait are as in RestoreOptions.
	TokenFloor uint64
	NoWait     bool
	Logger     *slog.Logger
	// Confirm, if not nil, is asked before anything is made. Its error ends the recovery, and everything is as it was.
	Confirm func(Recovery) error

	crash func(recoverStep) error // of a test: the process ends after a step
}

// Recovery tells what a node has of its cluster, and what becomes of it.
type Recovery struct {
	Name, ClusterName string
	Voters            []string // addresses of the Raft ports of those that the last configuration names
	Needed            int      // of them, for a majority
	Votes             bool     // whether this node is one of them; else it is a learner
	Checkpoint        uint64   // the last entry in the saved state
	Index, Term       uint64   // of the last entry in the log: all up to it is taken, decided or not
	Heard             uint64   // the newest term that the node has heard of
	Locks, Sessions   int      // once it is done
	Token             uint64   // the last one that was granted, once it is done
	Seed              uint64   // tokens begin above it, once it is done
	Wait              bool     // whether nothing is granted for a while after the start
	Before            string   // where the old directory is, once it is done
}

// What a recovery puts beside the data directory.
const (
	recovering     = ".recovering"       // what is not whole yet, or not yet in its place
	beforeRecovery = ".before-recovery-" // what was there before, numbered
)

// recoverStep is a point at which a process that recovers may end.
type recoverStep int

const (
	stepCopied  recoverStep = iota // the saved state is in the new directory
	stepApplied                    // and the rest of the log too
	stepNamed                      // and it is a node's
	stepAside                      // the old directory has its other name
	stepPlaced                     // the new one has the name of the old one
	recoverSteps
)

// ErrNoRecovery is wrapped by the reasons for which a data directory cannot, or need not, begin a cluster anew.
var ErrNoRecovery = errors.New("this data directory is not to be recovered")

// Recover makes of the data directory of one survivor the first node of a new cluster, after the majority of the old one was lost for
// good. The node has the state after all entries of its log. Whether the last of them were decided cannot be told, and nobody is left
// to contradict them; what the others had decided without this node is lost. As after Restore, leases and values stay, all sessions and
// their holds end, tokens go on far above the old ones, and nothing is granted for a while.
//
// The new cluster has an id of its own: no node of the old one is let in with its data. Others join it with empty directories. The
// node is started without an initial cluster.
//
// The old directory is only read, and then renamed. After a crash either it is in its place, or it is beside the new one and another
// Recover puts that in its place. It needs memory for the whole state and room on the disk for another copy of it.
func Recover(ctx context.Context, o RecoverOptions) (_ Recovery, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("lockd: recover: %w", err)
		}
	}()
	if o.DataDir == "" {
		return Recovery{}, errors.New("DataDir is missing")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.crash == nil {
		o.crash = func(recoverStep) error { return nil }
	}
	r := &recovery{o: o, path: followed(o.DataDir)} // a link stays where it is
	r.done.Wait = !o.NoWait
	_, err = os.Lstat(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || unplaced(r.path) != nil:
		err = r.resume()
	case err == nil:
		err = r.run(ctx)
	}
	return r.done, err
}

// recovery is a Recover under way.
type recovery struct {
	o    RecoverOptions
	path string
	done Recovery
}

// run recovers a directory that is in its place.
func (r *recovery) run(ctx context.Context) (err error) {
	saved, err := newest(filepath.Join(r.path, logDirName))
	if err != nil {
		return err
	}
	old, err := openDataDir(r.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.close()) }()
	was, err := old.load()
	if err != nil {
		return err
	}
	if err := r.check(was); err != nil {
		return err
	}
	from, err := openSurvivor(old, was, r.o.Logger)
	if err != nil {
		return err
	}
	err = r.begin(ctx, from, was, saved)
	if err = errors.Join(err, from.close()); err != nil {
		return err
	}
	return r.place()
}

// check refuses what has no cluster to lose.
func (r *recovery) check(was identity) error {
	switch {
	case was.Format != identityFormat && was.exists():
		return fmt.Errorf("the data directory has format %d, this build knows %d: recover it with the lockd that wrote it", was.Format, identityFormat)
	case r.o.Name != "" && r.o.Name != was.Name || r.o.ClusterName != "" && r.o.ClusterName != was.ClusterName:
		return fmt.Errorf("%w: to %q of cluster %q", ErrOtherNode, was.Name, was.ClusterName)
	case was.Restored != nil && !was.Founded:
		return fmt.Errorf("%w: it was recovered or restored already: start it", ErrNoRecovery)
	case !was.Founded:
		return fmt.Errorf("%w: it never was in a cluster, so there is nothing to recover in it", ErrNoRecovery)
	}
	return nil
}

// begin makes the new directory, aside.
func (r *recovery) begin(ctx context.Context, from *survivor, was identity, saved time.Time) (err error) {
	if err := r.plan(from, was); err != nil {
		return err
	}
	if err := os.RemoveAll(r.path + recovering); err != nil { // what a recovery has left that did not come to its end
		return err
	}
	fresh, err := openDataDir(r.path + recovering)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.close()) }()
	if err := from.copyTo(ctx, fresh, r.o.Logger); err != nil {
		return err
	}
	if err := r.o.crash(stepCopied); err != nil {
		return err
	}
	if err := r.apply(ctx, from, fresh); err != nil {
		return err
	}
	if err := r.o.crash(stepApplied); err != nil {
		return err
	}
	return r.name(fresh, was, saved)
}

// plan tells what there is, and asks whether to go on.
func (r *recovery) plan(from *survivor, was identity) error {
	config, self := from.config, was.peer()
	switch {
	case !config.Contains(self):
		return fmt.Errorf("%w: %q was removed from its cluster by entry %d, and knows nothing of what came later: recover another node, "+
			"or restore a saved snapshot", ErrNoRecovery, was.Name, config.Index)
	case len(config.Voters) == 1 && len(config.Outgoing) == 0 && config.IsVoter(self):
		return fmt.Errorf("%w: %q is the only voter of its cluster and needs nobody else: start it", ErrNoRecovery, was.Name)
	}
	r.done.Name, r.done.ClusterName, r.done.Votes = was.Name, was.ClusterName, config.IsVoter(self)
	for _, v := range config.Voters {
		r.done.Voters = append(r.done.Voters, v.Address)
	}
	r.done.Needed = membership.Majority(len(config.Voters))
	r.done.Checkpoint, r.done.Heard = uint64(from.mark.Index), uint64(from.heard)
	r.done.Index, r.done.Term = uint64(from.end.Index), uint64(from.end.Term)
	if r.o.Confirm == nil {
		return nil
	}
	return r.o.Confirm(r.done)
}

// name makes the new directory that of the first node of a new cluster.
func (r *recovery) name(fresh *dataDir, was identity, saved time.Time) error {
	if r.done.Seed = r.o.TokenFloor; r.done.Seed == 0 {
		var err error
		if r.done.Seed, err = locktable.TokenSeed(time.Now(), builtAt(), saved, r.done.Token); err != nil {
			return fmt.Errorf("%w; set the clock, or give a token floor above all tokens there ever were", err)
		}
	} else if r.done.Seed <= r.done.Token {
		return fmt.Errorf("the token floor %d is not above the newest token, %d", r.done.Seed, r.done.Token)
	}
	id := identity{
		Format: identityFormat, ClusterName: was.ClusterName, Name: was.Name, Joins: true,
		ID: raft.NodeID(random64() | 1), Incarnation: random64(),
		Restored: &restored{Index: raft.Index(r.done.Index), Saved: saved, Seed: r.done.Seed, Wait: -1},
	}
	_, _ = rand.Read(id.ClusterID[:]) // never fails
	if r.o.NoWait {
		id.Restored.Wait = 0
	}
	if err := fresh.save(id); err != nil {
		return err
	}
	return r.o.crash(stepNamed)
}

// place puts the new directory into the place of the old one, which nobody else can use meanwhile.
func (r *recovery) place() error {
	aside, err := unused(r.path + beforeRecovery)
	if err != nil {
		return err
	}
	if err := rename(r.path, aside); err != nil {
		return fmt.Errorf("%w. The recovered node is whole, in %s: if %s cannot be renamed, as the root of a file system cannot, start "+
			"the node with that directory", err, r.path+recovering, r.path)
	}
	r.done.Before = aside
	if err := r.o.crash(stepAside); err != nil {
		return err
	}
	if err := rename(r.path+recovering, r.path); err != nil {
		return err
	}
	return r.o.crash(stepPlaced)
}

// ErrUnplaced is wrapped by the error of a start with a data directory whose recovery was interrupted when the old one had been moved
// away and the new one was not in its place yet.
var ErrUnplaced = errors.New("a recovery of this data directory has not come to its end")

// unplaced returns an error where a recovered directory waits beside a place that no node has. A node that was started there, by a
// supervisor perhaps, would take itself for a new one, and found an empty cluster.
func unplaced(dir string) error {
	path := followed(dir)
	isNode := func(dir string) bool {
		_, err := os.Lstat(filepath.Join(dir, identityName))
		return err == nil
	}
	if isNode(path) || !isNode(path+recovering) {
		return nil
	}
	return fmt.Errorf("%w: the node is whole, in %s; to put it in its place: lockd cluster recover --data-dir %s", ErrUnplaced, path+recovering, dir)
}

// followed returns where a path leads by symbolic links, also if nothing is there.
func followed(path string) string {
	const most = 40 // links in a row, as for the kernel
	path = filepath.Clean(path)
	for range most {
		target, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(path), target)
		}
		path = filepath.Clean(target)
	}
	return path
}

// resume puts in its place what a recovery has left beside it.
func (r *recovery) resume() (err error) {
	if _, err := os.Lstat(r.path + recovering); err != nil {
		return fmt.Errorf("there is no data directory %s", r.path)
	}
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) { // a supervisor may have made an empty one
		return fmt.Errorf("%w: move away what was put in the place of the recovered node, which is in %s", err, r.path+recovering)
	}
	fresh, err := openDataDir(r.path + recovering)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, fresh.close()) }()
	id, err := fresh.load()
	if err != nil {
		return err
	}
	if id.Restored == nil || !id.Joins {
		return fmt.Errorf("%w: %s is no recovered node", ErrNoRecovery, fresh.path)
	}
	r.done = Recovery{
		Name: id.Name, ClusterName: id.ClusterName, Index: uint64(id.Restored.Index), Seed: id.Restored.Seed, Wait: id.Restored.Wait != 0,
	}
	return rename(fresh.path, r.path)
}

// rename is durable when it has returned.
func rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// unused returns the first numbered name that nothing has.
func unused(prefix string) (string, error) {
	for i := 1; ; i++ {
		name := fmt.Sprintf("%s%d", prefix, i)
		if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			return name, nil
		} else if err != nil {
			return "", err
		}
	}
}

// newest returns when a file of a directory was last written.
func newest(dir string) (at time.Time, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return at, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // a process runs, which is said later
		}
		if err != nil {
			return at, err
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, nil
}
