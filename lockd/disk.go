package lockd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

const (
	// diskEvery is how often the free space is looked at. At 100 MB/s a disk loses half of the default mark in this time.
	diskEvery = 2 * time.Second
	// diskAgain is how much more than the mark must be free, in percent of it, before the state may grow again.
	diskAgain = 10
)

// disk watches the free space. Below the mark what grows the state is refused, so that releases and the end of sessions, which
// need room in the log too, can go on for long. Every node tells of its own disk whoever probes it; a leader asks, and refuses what
// grows the state as well when so many nodes are below the mark that the others are no quorum: it would soon have nobody to store it.
type disk struct {
	n    *node
	free func() (uint64, error)

	transport *tcp.Transport
	detail    nodeDetail
	left      atomic.Uint64 // bytes free, as far as it is known

	mu      sync.Mutex // guards the fields below
	low     bool       // this disk is below the mark
	refusal error      // why growth is refused; nil: it is not
}

// ErrDiskFull is wrapped by the reason for which a node refuses what grows its state.
var ErrDiskFull = errors.New("the disk is nearly full")

// grow returns why what grows the state is refused now.
func (d *disk) grow() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.refusal
}

// report begins to tell other nodes.
func (d *disk) report(in *founded) {
	d.transport, d.detail = in.transport, in.detail
	d.decide(!d.n.config.Memory && d.look(), nil)
}

// run looks after the disk until ctx ends.
func (d *disk) run(ctx context.Context) error {
	every := time.NewTicker(diskEvery)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		low := !d.n.config.Memory && d.look()
		d.decide(low, d.others(ctx, low))
	}
}

// look finds out how full the disk is, and tells.
func (d *disk) look() (low bool) {
	mark := d.n.config.MinFree
	free, err := d.free()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		return d.low // a system that cannot tell
	}
	d.left.Store(free)
	if d.low {
		mark += mark / 100 * diskAgain
	}
	if low = free < mark; low != d.low {
		d.low, d.detail.low = low, low
		d.transport.SetStatus(tcp.Status{Detail: d.detail.encode()})
		d.n.log.Warn("the free space on the disk has passed its mark", slog.Bool("below", low), slog.Uint64("free_bytes", free),
			slog.Uint64("mark_bytes", d.n.config.MinFree))
	}
	return low
}

// others returns, on a leader, why the disks of the voters forbid growth.
func (d *disk) others(ctx context.Context, low bool) error {
	if d.n.standing.now().Role != raft.Leader {
		return nil
	}
	status, _, _ := d.n.raft.Status(ctx)
	voters := status.Config.Voters
	if len(voters) < 2 {
		return nil // there is no other; or it has stopped, and others tell why
	}
	ctx, cancel := context.WithTimeout(ctx, diskEvery)
	defer cancel()
	var asking sync.WaitGroup
	var below atomic.Int32
	for _, v := range voters {
		asking.Go(func() {
			if v.ID == d.n.id.peer() && low || v.ID != d.n.id.peer() && d.isLow(ctx, v) {
				below.Add(1)
			}
		})
	}
	asking.Wait()
	if above := len(voters) - int(below.Load()); above <= len(voters)/2 {
		return fmt.Errorf("%w on %d of %d nodes: free some space there", ErrDiskFull, below.Load(), len(voters))
	}
	return nil
}

// isLow asks a voter. One that does not answer is no reason to refuse anything.
func (d *disk) isLow(ctx context.Context, v raft.Peer) bool {
	by, err := d.transport.Probe(ctx, v.Address)
	if err != nil || by.ID != v.ID {
		return false
	}
	told, err := decodeDetail(by.Status.Detail)
	return err == nil && told.low
}

func (d *disk) decide(low bool, others error) {
	refusal := others
	if low {
		refusal = fmt.Errorf("%w: %d MiB are free on node %s, and below %d MiB nothing is stored that grows; free some space there",
			ErrDiskFull, d.left.Load()>>20, d.n.config.Name, d.n.config.MinFree>>20)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if (refusal == nil) != (d.refusal == nil) {
		d.n.log.Warn("growth of the state", slog.Bool("refused", refusal != nil), slog.Any("reason", refusal))
	}
	d.refusal = refusal
}

func (d *disk) state() DiskState {
	if d.n.config.Memory {
		return DiskState{}
	}
	return DiskState{Free: d.left.Load(), Mark: d.n.config.MinFree, Full: d.grow() != nil}
}
