package lockd_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

func dialClient(t *testing.T, endpoints ...string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Endpoints: endpoints, Identity: "the-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // the nodes are gone: nothing can be given back
		_ = c.Close(ctx)
	})
	return c
}

// lostCluster is what is left of three nodes, each of them stopped in the middle: the data directories, of which the last is the survivor's.
type lostCluster struct {
	dirs   []string
	config lockd.Config // of the first node
	lease  uint64
	lock   uint64
}

// loseCluster makes a cluster, lets it grant a lease and a lock, and loses it.
func loseCluster(t *testing.T) lostCluster {
	t.Helper()
	lost := lostCluster{}
	c := testcluster.Start(t, 3, func(i int, c *lockd.Config) {
		lost.dirs = append(lost.dirs, c.DataDir)
		if i == 0 {
			lost.config = *c
		}
	})
	cl := dialClient(t, c.Endpoints()...)
	lease, err := cl.AcquireLease(t.Context(), "lease", time.Hour, client.Value([]byte("at work")))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := cl.Lock(t.Context(), "lock")
	if err != nil {
		t.Fatal(err)
	}
	lost.lease, lost.lock = lease.Token(), lock.Token()
	// The survivor has heard of both: it is asked for them.
	if _, err := dialClient(t, c.Endpoints()[2]).Get(t.Context(), "lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := lockd.Recover(t.Context(), lockd.RecoverOptions{DataDir: lost.dirs[2]}); !errors.Is(err, lockd.ErrDataDirInUse) {
		t.Errorf("recover the directory of a node that runs: %v", err)
	}
	for i := range 3 {
		c.Crash(i)
	}
	return lost
}

// copyOf returns a copy of a data directory.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// checkRecovered starts a recovered node and looks for what must be there.
func (l *lostCluster) checkRecovered(t *testing.T, dir string) *testcluster.Cluster {
	t.Helper()
	c := testcluster.Start(t, 1, func(_ int, c *lockd.Config) { c.Name, c.DataDir = "n3", dir })
	info, err := dialClient(t, c.Endpoints()...).Get(t.Context(), "lease")
	if err != nil || len(info.Holders) != 1 || info.Holders[0].Token != l.lease || string(info.Holders[0].Value) != "at work" {
		t.Errorf("the lease with token %d in the recovered cluster: %+v, %v", l.lease, info, err)
	}
	return c
}

// TestS11RecoverAfterTheLossOfAMajority loses two nodes of three for good and goes on with the third.
func TestS11RecoverAfterTheLossOfAMajority(t *testing.T) {
	lost := loseCluster(t)
	waits := copyOf(t, lost.dirs[2])
	var planned lockd.Recovery
	o := lockd.RecoverOptions{DataDir: lost.dirs[2], Name: "n3", NoWait: true, Confirm: func(r lockd.Recovery) error {
		planned = r
		return nil
	}}
	done, err := lockd.Recover(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if len(planned.Voters) != 3 || planned.Needed != 2 || !planned.Votes || planned.Index < planned.Checkpoint || planned.Index != done.Index || planned.Heard < planned.Term {
		t.Errorf("the plan: %+v", planned)
	}
	if done.Wait || done.Token < lost.lock || done.Seed < done.Token+1<<42 || done.Locks != 2 || done.Sessions == 0 {
		t.Errorf("done: %+v; the last token was %d", done, lost.lock)
	}
	c := lost.checkRecovered(t, lost.dirs[2])
	cl := dialClient(t, c.Endpoints()...)
	if l, err := cl.TryLock(t.Context(), "lock"); err != nil || l.Token() <= done.Seed || l.Previous().How != client.HowForgotten {
		t.Errorf("the lock that a session of the old cluster held: %+v, %v", l, err)
	}
	if _, err := cl.TryLock(t.Context(), "lease"); !errors.Is(err, client.ErrNotAcquired) {
		t.Errorf("the lock of the lease: %v", err)
	}
	for i := range 2 { // a node of the old cluster is not let in with what it has
		old := lost.config
		old.DataDir, old.InitialCluster, old.Join = lost.dirs[i], nil, []string{"127.0.0.1"}
		old.Name = []string{"n1", "n2"}[i]
		old.ListenClient, old.ListenRaft, old.ListenHTTP, old.ListenGossip = "127.0.0.1:0", "127.0.0.1:0", lockd.Off, "127.0.0.1:0"
		server, err := lockd.New(old)
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Run(t.Context()); !errors.Is(err, lockd.ErrOtherNode) {
			t.Errorf("a node of the old cluster joins: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(done.Before, "node.json")); err != nil || done.Before != lost.dirs[2]+".before-recovery-1" {
		t.Errorf("the old directory: %q, %v", done.Before, err)
	}

	// By default nothing is granted yet.
	if done, err := lockd.Recover(t.Context(), lockd.RecoverOptions{DataDir: waits}); err != nil || !done.Wait {
		t.Fatalf("%+v, %v", done, err)
	}
	c = lost.checkRecovered(t, waits)
	if _, err = dialClient(t, c.Endpoints()...).TryLock(t.Context(), "lock"); err == nil || !strings.Contains(err.Error(), "nothing is granted until") {
		t.Errorf("a lock, before those who held it in the old cluster can know: %v", err)
	}
}

// TestRecoverCrashes ends a recovery at every step. What is left is the old directory, or another recovery leads to the new one.
func TestRecoverCrashes(t *testing.T) {
	lost := loseCluster(t)
	name, err := os.ReadFile(filepath.Join(lost.dirs[2], "node.json"))
	if err != nil {
		t.Fatal(err)
	}
	crashed := errors.New("crashed")
	for step := range lockd.RecoverSteps {
		dir := copyOf(t, lost.dirs[2])
		o := lockd.RecoverOptions{DataDir: dir, NoWait: true}
		o.CrashAfter(step, crashed)
		if _, err := lockd.Recover(t.Context(), o); !errors.Is(err, crashed) {
			t.Fatalf("step %d: %v", step, err)
		}
		now, err := os.ReadFile(filepath.Join(dir, "node.json"))
		inPlace := err == nil && bytes.Equal(now, name)
		done, err := lockd.Recover(t.Context(), lockd.RecoverOptions{DataDir: dir, NoWait: true})
		switch replaced := errors.Is(err, lockd.ErrNoRecovery); {
		case step == lockd.RecoverSteps-1:
			if inPlace || !replaced {
				t.Errorf("after the last step the old directory is in place: %v; recovered again: %v", inPlace, err)
			}
		case err != nil || step < lockd.RecoverSteps-2 && !inPlace || done.Index == 0 || done.Seed == 0:
			t.Errorf("step %d: the old directory is in place: %v; recovered again: %+v, %v", step, inPlace, done, err)
		}
		if left, err := filepath.Glob(dir + ".*"); err != nil || len(left) != 1 || !strings.HasSuffix(left[0], ".before-recovery-1") {
			t.Errorf("step %d: beside the directory: %v, %v", step, left, err)
		}
		lost.checkRecovered(t, dir)
	}
}

// TestStartAmidARecovery: a supervisor starts the node again while the recovered directory is not in its place yet. It does not take
// itself for a new node, and another recovery leads to the end.
func TestStartAmidARecovery(t *testing.T) {
	lost := loseCluster(t)
	for name, spoil := range map[string]func(dir string) error{
		"nothing":            func(string) error { return nil },
		"an empty directory": func(dir string) error { return os.Mkdir(dir, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyOf(t, lost.dirs[2])
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(dir, link); err != nil {
				t.Fatal(err)
			}
			crashed := errors.New("crashed")
			o := lockd.RecoverOptions{DataDir: link, NoWait: true}
			o.CrashAfter(lockd.RecoverSteps-2, crashed)
			if _, err := lockd.Recover(t.Context(), o); !errors.Is(err, crashed) {
				t.Fatal(err)
			}
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			for _, at := range []string{dir, link} {
				server, err := lockd.New(lockd.Config{
					Name: "n3", DataDir: at, ListenClient: "127.0.0.1:0", ListenRaft: "127.0.0.1:0", ListenHTTP: lockd.Off,
					Ready: func(lockd.Addresses) { t.Error("it serves") },
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if err := server.Run(ctx); !errors.Is(err, lockd.ErrUnplaced) || !strings.Contains(err.Error(), "lockd cluster recover --data-dir "+at) {
					t.Errorf("started at %s: %v", at, err)
				}
				cancel()
			}
			if done, err := lockd.Recover(t.Context(), lockd.RecoverOptions{DataDir: link, NoWait: true}); err != nil || done.Index == 0 {
				t.Fatalf("%+v, %v", done, err)
			}
			if to, err := os.Readlink(link); err != nil || to != dir {
				t.Errorf("the link leads to %s, %v", to, err)
			}
			lost.checkRecovered(t, dir)
		})
	}
}

// TestRecoveredNodeSaysWhereItIs: it waits for others to join, and has no list from which they would know its address.
func TestRecoveredNodeSaysWhereItIs(t *testing.T) {
	lost := loseCluster(t)
	if _, err := lockd.Recover(t.Context(), lockd.RecoverOptions{DataDir: lost.dirs[2], NoWait: true}); err != nil {
		t.Fatal(err)
	}
	c := lockd.Config{Name: "n3", DataDir: lost.dirs[2], ListenClient: "127.0.0.1:0", ListenRaft: "127.0.0.1:0", ListenHTTP: lockd.Off}
	for what, nowhere := range map[string]func(c *lockd.Config){
		"AdvertiseRaft":   func(c *lockd.Config) { c.ListenRaft = "0.0.0.0:0" },
		"AdvertiseClient": func(c *lockd.Config) { c.ListenClient = "[::]:0" },
	} {
		bad := c
		nowhere(&bad)
		bad.Ready = func(lockd.Addresses) { t.Errorf("it serves without %s", what) }
		server, err := lockd.New(bad)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if err := server.Run(ctx); err == nil || !strings.Contains(err.Error(), what+" is needed") {
			t.Errorf("%s: %v", what, err)
		}
		cancel()
	}
	lost.checkRecovered(t, lost.dirs[2])
}

// TestRecoverRefuses what is no survivor of a cluster that was lost.
func TestRecoverRefuses(t *testing.T) {
	lost := loseCluster(t)
	refused := func(what string, o lockd.RecoverOptions, says string) {
		t.Helper()
		before, _ := filepath.Glob(filepath.Join(o.DataDir, "*"))
		_, err := lockd.Recover(t.Context(), o)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", what, err)
		}
		after, _ := filepath.Glob(filepath.Join(o.DataDir, "*"))
		if len(after) < len(before) {
			t.Errorf("%s: %v is now %v", what, before, after)
		}
		if left, _ := filepath.Glob(o.DataDir + ".*"); len(left) > 0 {
			t.Errorf("%s has left %v", what, left)
		}
	}
	refused("no directory", lockd.RecoverOptions{DataDir: filepath.Join(t.TempDir(), "none")}, "no data directory")
	refused("an empty one", lockd.RecoverOptions{DataDir: t.TempDir()}, "never was in a cluster")
	refused("another node's", lockd.RecoverOptions{DataDir: lost.dirs[0], Name: "n3"}, `to "n1" of cluster`)
	no := errors.New("no, thanks")
	refused("unconfirmed", lockd.RecoverOptions{DataDir: lost.dirs[0], Confirm: func(lockd.Recovery) error { return no }}, "no, thanks")

	dir := filepath.Join(t.TempDir(), "data")
	c := testcluster.Start(t, 1, func(_ int, c *lockd.Config) { c.DataDir = dir })
	c.Stop(0)
	refused("a cluster of one", lockd.RecoverOptions{DataDir: dir}, "the only voter")

	for _, bad := range []string{"log/*.wal", "state/sm-*/MANIFEST"} {
		dir := copyOf(t, lost.dirs[1])
		files, err := filepath.Glob(filepath.Join(dir, bad))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %v", bad, files, err)
		}
		b, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		b[9] ^= 0xff
		if err := os.WriteFile(files[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		refused("damaged "+bad, lockd.RecoverOptions{DataDir: dir}, "take another survivor")
	}
}
