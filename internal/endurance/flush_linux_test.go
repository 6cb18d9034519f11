package endurance

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/faultfs"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/testdisk"
)

const (
	logFiles   = "data/log/*.wal"
	stateFiles = "data/state/*/*.mem" // the log of badger's newest records
)

// TestDiskFailedCall lets calls of the leader's disk fail, and of flushes one alone. After a flush or a write that failed nobody knows what the
// disk holds: the node ends at once, never asks the disk again, and the others go on. Started anew it has all that it ever acknowledged.
func TestDiskFailedCall(t *testing.T) {
	testdisk.Need(t)
	grants, met := 0, map[string]int64{}
	for name, fault := range map[string]faultfs.Fault{
		"a flush of the log":        {Call: faultfs.Sync, File: logFiles, Error: syscall.EIO},
		"a flush, for want of room": {Call: faultfs.Sync, File: logFiles, Error: syscall.ENOSPC},
		"a write of the log":        {Call: faultfs.Write, File: logFiles, Error: syscall.EIO},
		"a write that is torn":      {Call: faultfs.Write, File: logFiles, Error: syscall.EIO, Torn: 100},
		"a flush of the state":      {Call: faultfs.Sync, File: stateFiles, Error: syscall.EIO},
		"a write of the state":      {Call: faultfs.Write, File: stateFiles, Error: syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var disks []*faultfs.FS
			var places []testcluster.Place
			for range 3 {
				f := faultfs.Mount(t, t.TempDir())
				disks, places = append(disks, f), append(places, testcluster.Place{Dir: f.Dir})
			}
			cluster, agree := start(t, places...)
			l := newLedger()
			reader := newClient(t, cluster.Endpoints())
			stop := l.load(t, cluster.Endpoints(), workers)
			defer stop()
			<-l.next()
			victim := leaderOf(t, cluster)
			if fault.Call == faultfs.Sync { // a second flush would succeed; a part of a write that has failed the system writes again
				fault.Times = 1
			}
			injected := disks[victim].Inject(fault)
			again := disks[victim].Inject(faultfs.Fault{Call: faultfs.Sync, File: fault.File, Delay: time.Nanosecond}) // counts what comes after
			<-injected.Hit()
			ended(t, cluster, victim)
			if n := disks[victim].Hits(again); fault.Call == faultfs.Sync && fault.File == logFiles && n > 0 {
				t.Errorf("after a failed flush the log was flushed %d times more", n)
			}
			disks[victim].Heal()
			<-l.next() // the others go on
			cluster.Run(victim)
			cluster.WaitReady()
			<-l.next()
			stop()
			if !caughtUp(t, cluster, victim) {
				t.Errorf("the node has ended:\n%s", cluster.Log(victim))
			}
			l.check(t.Context(), t, reader)
			agree()
			grants += l.grants
			if fault.Torn > 0 {
				met["torn write"]++
			} else {
				met["failed sync"]++
			}
		})
	}
	recordDisk(t, 6, grants, met)
}

// ended waits until a node has ended by itself, and requires that it says why.
func ended(t *testing.T, c *testcluster.Processes, i int) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	select {
	case <-c.Ended(i):
	case <-limit.C:
		c.Signal(i, syscall.SIGQUIT) // it tells where it stands
		<-c.Ended(i)
		t.Fatalf("the node goes on\n%s", c.Log(i))
	}
	if err := c.Stop(i); err == nil {
		t.Error("a node whose disk has failed says that all is well")
	}
	said := c.Log(i)
	if !strings.Contains(said, "input/output error") && !strings.Contains(said, "no space left") {
		t.Errorf("the node does not say why it ended:\n%s", said)
	}
	if strings.Contains(said, "panic") || strings.Contains(said, "SIGBUS") {
		t.Errorf("the node died of it:\n%s", said)
	}
	t.Logf("it said: %s", lastLine(said))
}

// TestDiskDeviceForgetsItsError runs a node on a device that fails one flush and lets the next one succeed, without the bytes: who flushes
// again loses what it acknowledges. The node ends at the first error.
func TestDiskDeviceForgetsItsError(t *testing.T) {
	t.Parallel()
	disk, under := testdisk.Thin(t, 700, "400m")
	cluster, agree := start(t, testcluster.Place{Dir: disk.Dir}, testcluster.Place{}, testcluster.Place{})
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	<-l.next()
	under.Fill(t)
	ended(t, cluster, 0)
	<-l.next() // the others go on
	under.Free(t)
	disk.Restart(t) // what the kernel has in memory and the device has not is gone
	comesBack(t, cluster, l, reader, stop)
	agree()
	recordDisk(t, 1, l.grants, map[string]int64{"sync fails once": 1})
}

// comesBack starts the first node again, and requires that it catches up and that nothing is lost.
func comesBack(t *testing.T, cluster *testcluster.Processes, l *ledger, reader *client.Client, stop func()) {
	t.Helper()
	cluster.Run(0)
	cluster.WaitReady()
	<-l.next()
	stop()
	if !caughtUp(t, cluster, 0) {
		t.Errorf("the node has ended:\n%s", cluster.Log(0))
	}
	l.check(t.Context(), t, reader)
}

// TestDiskErrorStays lets all that a node asks of its disk fail from one moment on: it ends by itself, and the others go on.
func TestDiskErrorStays(t *testing.T) {
	t.Parallel()
	disk := testdisk.Ext4(t, 700)
	cluster, agree := start(t, testcluster.Place{Dir: disk.Dir}, testcluster.Place{}, testcluster.Place{})
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	<-l.next()
	disk.CutPower(t)
	ended(t, cluster, 0)
	<-l.next()
	disk.Restart(t)
	comesBack(t, cluster, l, reader, stop)
	agree()
	recordDisk(t, 1, l.grants, map[string]int64{"failed sync": 1})
}

// TestDiskFlippedBitRead lets a node read another bit than was written, from its log, at every start: it refuses to serve, retires, and
// nothing is lost.
func TestDiskFlippedBitRead(t *testing.T) {
	testdisk.Need(t)
	f := faultfs.Mount(t, t.TempDir())
	cluster, _ := start(t, testcluster.Place{Dir: f.Dir}, testcluster.Place{}, testcluster.Place{})
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	<-l.next()
	cluster.Kill(0)
	injected := f.Inject(faultfs.Fault{Call: faultfs.Read, File: logFiles, Flip: 4096 + 100})
	cluster.Run(0)
	<-injected.Hit()
	<-cluster.Ended(0)
	if err, said := cluster.Stop(0), cluster.Log(0); err == nil || !strings.Contains(said, "is damaged at byte") {
		t.Errorf("%v: %s", err, said)
	}
	<-l.next()
	stop()
	l.check(t.Context(), t, reader)
	recordDisk(t, 1, l.grants, map[string]int64{"bit flip": 1})
}

// TestDiskSlow slows the leader's disk down, by one file system to 20 writes a second and by the other to flushes of 200 ms: no session of
// three seconds is lost, nothing expires early, and grants go on.
func TestDiskSlow(t *testing.T) {
	testdisk.Need(t)
	var disks []*testdisk.Disk
	var files []*faultfs.FS
	var dirs []string
	for range 3 {
		d := testdisk.Ext4(t, 700)
		f := faultfs.Mount(t, d.Dir)
		disks, files, dirs = append(disks, d), append(files, f), append(dirs, f.Dir)
	}
	cluster := testcluster.StartProcesses(t, 3, dirs...)
	const ttl = 3 * time.Second
	c, err := client.New(client.Config{Endpoints: cluster.Endpoints(), TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	var held []*client.Lock
	for i := range 50 {
		lock, err := c.Lock(t.Context(), "slow/"+string(rune('A'+i)))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, lock)
	}
	l := newLedger()
	stop := l.load(t, cluster.Endpoints(), 6*workers) // each flush is shared by many
	defer stop()
	for _, slow := range []func(i int) (fast func()){
		func(i int) func() {
			disks[i].Slow(t, 20)
			return func() { disks[i].Fast(t) }
		},
		func(i int) func() {
			injected := files[i].Inject(faultfs.Fault{Call: faultfs.Sync, Delay: 200 * time.Millisecond})
			return func() {
				if files[i].Hits(injected) == 0 {
					t.Error("no flush was slow")
				}
				files[i].Heal()
			}
		},
	} {
		over := time.NewTimer(2 * ttl)
		fast := slow(leaderOf(t, cluster))
		<-l.next()
		<-over.C
		fast()
	}
	for _, lock := range held {
		if err := lock.Err(); err != nil {
			t.Errorf("%s: %v", lock.Name(), err)
		}
	}
	stop()
	l.check(t.Context(), t, newClient(t, cluster.Endpoints()))
	recordDisk(t, 2, l.grants, map[string]int64{"slow sync": 2})
}

// TestDiskFullUnderANode fills the disk of each node in turn, to the last byte, under load: no process ends, nothing that was acknowledged is
// lost, and when there is room again all of them have all.
func TestDiskFullUnderANode(t *testing.T) {
	var disks []*testdisk.Disk
	var places []testcluster.Place
	for range 3 {
		d := testdisk.Ext4(t, 700)
		disks, places = append(disks, d), append(places, testcluster.Place{Dir: d.Dir})
	}
	cluster, agree := start(t, places...)
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	<-l.next()
	for i, d := range disks {
		d.Fill(t)
		until(t, "the node does not see that its disk is full", func() bool {
			s, err := statusOf(t.Context(), cluster, i)
			return err == nil && s.Disk.Free == 0
		})
		d.Free(t)
		<-l.next()
		for node := range disks {
			if !cluster.Running(node) {
				t.Fatalf("node %d has ended:\n%s", node, cluster.Log(node))
			}
		}
	}
	stop()
	for i := range disks {
		caughtUp(t, cluster, i)
	}
	l.check(t.Context(), t, reader)
	agree()
	recordDisk(t, len(disks), l.grants, map[string]int64{"full disk": int64(len(disks))})
}
