package faultfs

import (
	"path"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/lockd/lockd/internal/testdisk"
)

// patience is how long those who worked in a directory may take to let go of it.
const patience = 20 * time.Second

// Call is what a program asks of a file.
type Call int

// The calls that a Fault can hit. Pages that a program has written by a mapping come as writes.
const (
	Write Call = iota
	Sync
	Read
	Rename // the file is the new name
)

// Fault says which calls fail, and how. It must have one of Error, Delay and Flip. The kernel may make several calls of one write: if only
// a later one of them fails the program is told of a short write, and goes on with the rest.
type Fault struct {
	Call  Call
	File  string // pattern of path.Match for the path below Dir; empty: every file
	After int    // so many calls pass first
	Times int    // so many calls are hit; 0: all from there on

	Error syscall.Errno // what the call says
	Torn  int           // of Write, with Error: so many bytes are written before
	Delay time.Duration // what the call takes, besides what it would
	Flip  int64         // of Read: one bit of the byte at this place in the file is another one; 0: none
}

// Injected is a Fault in force.
type Injected struct {
	fault Fault
	first chan struct{} // closed at the first hit

	seen, hits int // guarded by the FS
}

// Hit returns a channel that is closed when the fault has hit its first call.
func (i *Injected) Hit() <-chan struct{} { return i.first }

// FS is a directory that fails as it is told to. Its methods are safe for concurrent use.
type FS struct {
	Dir string

	mu     sync.Mutex // guards the field below
	faults []*Injected
}

// Mount shows an ordinary directory at Dir, until the test ends. Who works there has to end before.
func Mount(t testing.TB, under string) *FS {
	t.Helper()
	testdisk.Need(t)
	var s syscall.Stat_t
	if err := syscall.Stat(under, &s); err != nil {
		t.Fatal(err)
	}
	f := &FS{Dir: t.TempDir()}
	data := &fs.LoopbackRoot{Path: under, Dev: s.Dev}
	root := &node{LoopbackNode: fs.LoopbackNode{RootData: data}, fs: f}
	data.RootNode = root
	server, err := fs.Mount(f.Dir, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, FsName: "faultfs", MaxWrite: 1 << 20}})
	if err != nil {
		t.Fatalf("mount over FUSE: %v", err)
	}
	t.Cleanup(func() {
		f.Heal()
		// Lazily: the kernel closes the files of a process that was killed some time after it has gone.
		if err := unix.Unmount(f.Dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
			return
		}
		ended := make(chan struct{})
		go func() {
			server.Wait()
			close(ended)
		}()
		limit := time.NewTimer(patience)
		defer limit.Stop()
		select {
		case <-ended:
		case <-limit.C:
			t.Errorf("somebody still works in %s, %v after the test", f.Dir, patience)
		}
	})
	return f
}

// Inject puts a fault in force, until Heal. If several meet a call, the first of them does.
func (f *FS) Inject(fault Fault) *Injected {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := &Injected{fault: fault, first: make(chan struct{})}
	f.faults = append(f.faults, i)
	return i
}

// Heal takes all faults away.
func (f *FS) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults = nil
}

// Hits returns how many calls a fault has hit.
func (f *FS) Hits(i *Injected) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return i.hits
}

// meet returns the fault that a call meets, the zero Fault if there is none.
func (f *FS) meet(call Call, file string) Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.faults {
		if i.fault.Call != call {
			continue
		}
		if matched, err := path.Match(i.fault.File, file); i.fault.File != "" && (err != nil || !matched) {
			continue
		}
		if i.seen++; i.seen <= i.fault.After || i.fault.Times > 0 && i.hits >= i.fault.Times {
			continue
		}
		if i.hits++; i.hits == 1 {
			close(i.first)
		}
		return i.fault
	}
	return Fault{}
}

// wait takes the fault's time. It does not end early: the signals with which a Go program interrupts itself are no reason to.
func (f Fault) wait() {
	if f.Delay > 0 {
		<-time.NewTimer(f.Delay).C
	}
}
