package rafttest

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/lockd/lockd/raft/wal"
)

// SectorBytes is what a Disk writes atomically.
const SectorBytes = 512

// ErrPowerCut is returned by every operation of a Disk from a planned power cut on until Crash.
var ErrPowerCut = errors.New("rafttest: power cut")

// Disk is a directory in memory that can lose power. It is a wal.FS with the semantics of a real one at their worst:
// what was not synced may survive a power cut or not, sector by sector and name by name, as the seed decides. The same
// calls with the same seed give the same disk. It is safe for concurrent use.
type Disk struct {
	mu      sync.Mutex
	rand    *rand.Rand
	names   map[string]*diskFile // as programs see them
	durable map[string]*diskFile // as they survive
	pending []nameChange
	life    int // of the machine; files opened in an earlier one are closed

	ops      int
	cutAt    int // the operation at which power is lost; 0 for never
	cut      bool
	syncs    int
	failAt   int   // the sync that fails; 0 for none
	room     int64 // bytes that fit on the disk; 0 for no limit
	allocate int64 // bytes in use
}

// nameChange is a change of the directory that is not durable yet: a new name, a renaming or a removal.
type nameChange struct {
	from, to string
	file     *diskFile
}

// diskFile is a file's contents: what programs see and what survives, equal but for the dirty and the lost sectors.
type diskFile struct {
	seen    []byte
	safe    []byte
	dirty   []extent
	sectors int64 // allocated
}

// extent is a range of sectors; lost ones are no longer known to be dirty, as a flush of theirs has failed.
type extent struct {
	from, to int64
	lost     bool
}

// NewDisk returns an empty disk.
func NewDisk(seed uint64) *Disk {
	return &Disk{
		rand:    rand.New(rand.NewPCG(seed, 0)),
		names:   map[string]*diskFile{},
		durable: map[string]*diskFile{},
	}
}

// Ops returns how many operations have changed the disk or made a change durable: the places for a CutAt.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// Syncs returns how many times a file was flushed: the places for a FailSync.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// CutAt plans a power cut in the middle of the n-th operation from now; 1 is the next one.
func (d *Disk) CutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cutAt = d.ops + n
}

// FailSync makes the n-th flush of a file from now fail with EIO. As on Linux the next one succeeds without having
// written what the failed one has lost, and reads go on to show it until the machine is restarted.
func (d *Disk) FailSync(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failAt = d.syncs + n
}

// SetFull limits the disk to so many bytes; 0 is no limit. Beyond, writes give ENOSPC.
func (d *Disk) SetFull(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room = bytes
}

// Used returns the bytes in use.
func (d *Disk) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.allocate
}

// FlipBit turns over a bit of a file, on the disk and in every cache. Bits are counted from the file's beginning.
func (d *Disk) FlipBit(name string, bit int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	if f == nil || bit/8 >= int64(len(f.seen)) {
		return fmt.Errorf("rafttest: no bit %d in %s", bit, name)
	}
	f.seen[bit/8] ^= 1 << (bit % 8)
	if bit/8 < int64(len(f.safe)) {
		f.safe[bit/8] ^= 1 << (bit % 8)
	}
	return nil
}

// Contents returns what a program would read of a file; nil if there is none.
func (d *Disk) Contents(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.names[name]; f != nil {
		return slices.Clone(f.seen)
	}
	return nil
}

// Kill ends the process: open files are closed, and what was written is still there, durable or not.
func (d *Disk) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
}

// Resume undoes a planned power cut: only the process was ended, in the middle of that operation.
func (d *Disk) Resume() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	d.cut, d.cutAt = false, 0
}

// Crash cuts the power and turns it on again. Of what was not durable each sector and each change of a name survives
// or does not.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.life++
	d.cut, d.cutAt, d.failAt = false, 0, 0
	for _, c := range d.pending {
		if d.rand.IntN(2) == 0 {
			c.apply(d.durable)
		}
	}
	d.pending = nil
	// A file may have lost its name and keep it too; the order of the names keeps the dice in order.
	all := maps.Clone(d.names)
	maps.Copy(all, d.durable)
	done := map[*diskFile]bool{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if f := all[name]; !done[f] {
			f.crash(d.rand)
			done[f] = true
		}
	}
	d.names = maps.Clone(d.durable)
	d.allocate = 0
	for _, f := range d.names {
		d.allocate += f.sectors * SectorBytes
	}
}

// apply makes the change where it still makes sense: changes are lost one by one.
func (c nameChange) apply(names map[string]*diskFile) {
	switch {
	case c.from == "":
		names[c.to] = c.file
	case names[c.from] != c.file:
	case c.to == "":
		delete(names, c.from)
	default:
		delete(names, c.from)
		names[c.to] = c.file
	}
}

func (f *diskFile) crash(r *rand.Rand) {
	for _, e := range f.dirty {
		for s := e.from; s < e.to; s++ {
			if r.IntN(2) == 0 && !e.lost {
				f.keep(s, s+1)
			}
		}
	}
	f.dirty = nil
	f.seen = slices.Clone(f.safe)
	f.sectors = sectorsOf(int64(len(f.seen)))
}

// keep makes sectors durable.
func (f *diskFile) keep(from, to int64) {
	end := min(to*SectorBytes, int64(len(f.seen)))
	if n := end - int64(len(f.safe)); n > 0 {
		f.safe = append(f.safe, make([]byte, n)...)
	}
	copy(f.safe[from*SectorBytes:end], f.seen[from*SectorBytes:end])
}

func sectorsOf(bytes int64) int64 { return (bytes + SectorBytes - 1) / SectorBytes }

// step counts an operation. The error is ErrPowerCut when the power fails in it; it may then have had its effect, but
// nobody is told.
func (d *Disk) step() error {
	if d.cut {
		return ErrPowerCut
	}
	d.ops++
	if d.ops == d.cutAt {
		d.cut = true
		return ErrPowerCut
	}
	return nil
}

func (d *Disk) change(c nameChange) error {
	wasCut := d.cut
	err := d.step()
	if wasCut {
		return err
	}
	c.apply(d.names)
	d.pending = append(d.pending, c)
	return err
}

// Open opens a file for reading and writing; with create it must not exist yet.
func (d *Disk) Open(name string, create bool) (wal.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	switch {
	case !create && f == nil:
		return nil, fmt.Errorf("open %s: %w", name, os.ErrNotExist)
	case create && f != nil:
		return nil, fmt.Errorf("create %s: %w", name, os.ErrExist)
	case create:
		f = &diskFile{}
		if err := d.change(nameChange{to: name, file: f}); err != nil {
			return nil, err
		}
	case d.cut:
		return nil, ErrPowerCut
	}
	return &diskHandle{disk: d, file: f, life: d.life}, nil
}

// Rename gives a file another name, atomically.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[from]
	if f == nil {
		return fmt.Errorf("rename %s: %w", from, os.ErrNotExist)
	}
	return d.change(nameChange{from: from, to: to, file: f})
}

// Remove removes a name.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.names[name]
	if f == nil {
		return fmt.Errorf("remove %s: %w", name, os.ErrNotExist)
	}
	if !d.cut {
		d.allocate -= f.sectors * SectorBytes
		f.sectors = 0
	}
	return d.change(nameChange{from: name, file: f})
}

// List returns the names of all files, sorted.
func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return nil, ErrPowerCut
	}
	return slices.Sorted(maps.Keys(d.names)), nil
}

// SyncDir makes the names durable.
func (d *Disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step(); err != nil {
		return err
	}
	d.pending = nil
	d.durable = maps.Clone(d.names)
	return nil
}

// diskHandle is an open file.
type diskHandle struct {
	disk   *Disk
	file   *diskFile
	life   int
	closed bool
}

// use locks the disk for an operation on an open file.
func (h *diskHandle) use() (unlock func(), err error) {
	h.disk.mu.Lock()
	switch {
	case h.closed || h.life != h.disk.life:
		err = os.ErrClosed
	case h.disk.cut:
		err = ErrPowerCut
	}
	return h.disk.mu.Unlock, err
}

func (h *diskHandle) ReadAt(p []byte, off int64) (int, error) {
	unlock, err := h.use()
	defer unlock()
	if err != nil {
		return 0, err
	}
	if off >= int64(len(h.file.seen)) {
		return 0, io.EOF
	}
	n := copy(p, h.file.seen[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *diskHandle) WriteAt(p []byte, off int64) (int, error) {
	unlock, err := h.use()
	defer unlock()
	if err != nil || len(p) == 0 {
		return 0, err
	}
	n := len(p)
	if need := sectorsOf(off+int64(n)) - h.file.sectors; need > 0 {
		if d := h.disk; d.room > 0 && d.allocate+need*SectorBytes > d.room {
			return 0, &os.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC}
		}
		h.file.sectors += need
		h.disk.allocate += need * SectorBytes
	}
	err = h.disk.step()
	h.file.write(p, off)
	if err != nil {
		return 0, err
	}
	return n, nil
}

func (f *diskFile) write(p []byte, off int64) {
	if n := off + int64(len(p)) - int64(len(f.seen)); n > 0 {
		f.seen = append(f.seen, make([]byte, n)...)
	}
	copy(f.seen[off:], p)
	e := extent{from: off / SectorBytes, to: sectorsOf(off + int64(len(p)))}
	if n := len(f.dirty); n > 0 && !f.dirty[n-1].lost && f.dirty[n-1].to >= e.from && f.dirty[n-1].from <= e.from {
		f.dirty[n-1].to = max(f.dirty[n-1].to, e.to)
		return
	}
	f.dirty = append(f.dirty, e)
}

func (h *diskHandle) Sync() error {
	unlock, err := h.use()
	defer unlock()
	if err != nil {
		return err
	}
	d, f := h.disk, h.file
	d.syncs++
	if err := d.step(); err != nil {
		return err
	}
	if d.syncs == d.failAt {
		for i := range f.dirty {
			f.dirty[i].lost = true
		}
		return &os.PathError{Op: "fdatasync", Path: "disk", Err: syscall.EIO}
	}
	lost := f.dirty[:0]
	for _, e := range f.dirty {
		if e.lost {
			lost = append(lost, e)
		} else {
			f.keep(e.from, e.to)
		}
	}
	f.dirty = lost
	return nil
}

func (h *diskHandle) Size() (int64, error) {
	unlock, err := h.use()
	defer unlock()
	return int64(len(h.file.seen)), err
}

func (h *diskHandle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	h.closed = true
	return nil
}
