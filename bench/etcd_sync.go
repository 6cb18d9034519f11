package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// etcdSync drives a raft.Node the way an etcd server does: one loop takes a Ready, hands what is committed to another
// goroutine, sends before it persists if it leads and afterwards if it follows.
type etcdSync struct {
	*etcdParts
	*closing
	node    raft.Node
	leading atomic.Bool
	apply   chan []*pb.Entry
	wg      sync.WaitGroup
}

func newEtcdSync(p *etcdParts, config *raft.Config) (etcdDriver, error) {
	const ahead = 128 // batches that may wait to be applied
	d := &etcdSync{etcdParts: p, closing: newClosing(), node: raft.RestartNode(config), apply: make(chan []*pb.Entry, ahead)}
	d.wg.Go(d.loop)
	d.wg.Go(d.applier)
	return d, nil
}

func (d *etcdSync) propose(ctx context.Context, data []byte) error { return d.node.Propose(ctx, data) }

func (d *etcdSync) receive(ms []*pb.Message) {
	for _, m := range ms {
		_ = d.node.Step(context.Background(), m) // the errors are those of a node that stops
	}
}

func (d *etcdSync) leads() bool { return d.leading.Load() }

func (d *etcdSync) loop() {
	defer d.node.Stop()
	defer close(d.apply)
	tick := time.NewTicker(etcdTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.node.Tick()
		case rd := <-d.node.Ready():
			if err := d.ready(rd); err != nil {
				d.end(err)
				return
			}
			d.node.Advance()
		case <-d.stop:
			return
		}
	}
}

func (d *etcdSync) ready(rd raft.Ready) error {
	if rd.SoftState != nil {
		d.leading.Store(rd.RaftState == raft.StateLeader)
	}
	leads := d.leading.Load()
	if len(rd.CommittedEntries) > 0 {
		d.apply <- rd.CommittedEntries
	}
	if leads {
		d.network.send(rd.Messages)
	}
	if err := d.log.save(rd.HardState, rd.Entries, rd.MustSync); err != nil {
		return err
	}
	if err := d.memory.Append(rd.Entries); err != nil {
		return err
	}
	if !leads {
		d.network.send(rd.Messages)
	}
	return nil
}

func (d *etcdSync) applier() {
	for entries := range d.apply {
		if err := d.machine.apply(entries, d.leading.Load()); err != nil {
			d.end(err)
		}
	}
}

func (d *etcdSync) close() {
	d.end(nil)
	d.wg.Wait()
}
