package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// etcdAsync drives a raft.RawNode with asynchronous storage writes: one loop takes all that has come in at once, the
// proposals as one message; one goroutine writes to the log with one flush for all that waits; another one applies.
type etcdAsync struct {
	*etcdParts
	*closing
	node    *raft.RawNode
	leading atomic.Bool
	in      *etcdInbox
	appends *mailbox[*pb.Message]
	applies *mailbox[*pb.Message]
	wg      sync.WaitGroup
}

func newEtcdAsync(p *etcdParts, config *raft.Config) (etcdDriver, error) {
	config.AsyncStorageWrites = true
	node, err := raft.NewRawNode(config)
	if err != nil {
		return nil, err
	}
	d := &etcdAsync{
		etcdParts: p, closing: newClosing(), node: node, in: newEtcdInbox(),
		appends: newMailbox[*pb.Message](), applies: newMailbox[*pb.Message](),
	}
	d.wg.Go(d.loop)
	d.wg.Go(func() { d.storage(d.appends, d.persist) })
	d.wg.Go(func() { d.storage(d.applies, d.applyAll) })
	return d, nil
}

func (d *etcdAsync) propose(_ context.Context, data []byte) error {
	d.in.propose(data)
	return nil
}

func (d *etcdAsync) receive(ms []*pb.Message) { d.in.receive(ms) }

func (d *etcdAsync) leads() bool { return d.leading.Load() }

func (d *etcdAsync) loop() {
	tick := time.NewTicker(etcdTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.node.Tick()
		case <-d.in.wake:
		case <-d.stop:
			return
		}
		if err := d.turn(); err != nil {
			d.end(err)
			return
		}
	}
}

func (d *etcdAsync) turn() error {
	messages, proposals := d.in.take()
	for _, m := range messages {
		if err := d.node.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
			return err
		}
	}
	if len(proposals) > 0 {
		entries := make([]pb.Entry, len(proposals))
		list := make([]*pb.Entry, len(proposals))
		for i, data := range proposals {
			entries[i].Data = data
			list[i] = &entries[i]
		}
		err := d.node.Step(&pb.Message{Type: new(pb.MsgProp), From: new(d.id), Entries: list})
		if err != nil {
			return err
		}
	}
	for d.node.HasReady() {
		d.ready(d.node.Ready())
	}
	return nil
}

func (d *etcdAsync) ready(rd raft.Ready) {
	if rd.SoftState != nil {
		d.leading.Store(rd.RaftState == raft.StateLeader)
	}
	peers := rd.Messages[:0]
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			d.appends.put(m)
		case raft.LocalApplyThread:
			d.applies.put(m)
		default:
			peers = append(peers, m)
		}
	}
	d.network.send(peers)
}

// storage does one of the two kinds of work on the node's state, in order and as much at once as waits.
func (d *etcdAsync) storage(box *mailbox[*pb.Message], work func([]*pb.Message) error) {
	for {
		select {
		case <-box.wake:
		case <-d.stop:
			return
		}
		ms := box.take()
		if len(ms) == 0 {
			continue
		}
		if err := work(ms); err != nil {
			d.end(err)
			return
		}
		d.respond(ms)
	}
}

// respond delivers what was to wait for the work on ms.
func (d *etcdAsync) respond(ms []*pb.Message) {
	var own, peers []*pb.Message
	for _, m := range ms {
		for _, r := range m.GetResponses() {
			if r.GetTo() == d.id {
				own = append(own, r)
			} else {
				peers = append(peers, r)
			}
		}
	}
	d.network.send(peers)
	d.in.receive(own)
}

func (d *etcdAsync) persist(ms []*pb.Message) error {
	var hard *pb.HardState
	var entries []*pb.Entry
	flush := false
	for _, m := range ms {
		if m.Term != nil {
			hard = &pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		}
		if len(m.GetEntries()) > 0 && len(entries) > 0 && m.GetEntries()[0].GetIndex() <= entries[len(entries)-1].GetIndex() {
			// What overwrites entries of the same batch: those go first.
			if err := d.write(hard, entries, true); err != nil {
				return err
			}
			entries = nil
		}
		entries = append(entries, m.GetEntries()...)
		flush = flush || len(m.GetResponses()) > 0
	}
	return d.write(hard, entries, flush)
}

func (d *etcdAsync) write(hard *pb.HardState, entries []*pb.Entry, flush bool) error {
	if err := d.log.save(hard, entries, flush); err != nil {
		return err
	}
	return d.memory.Append(entries)
}

func (d *etcdAsync) applyAll(ms []*pb.Message) error {
	leads := d.leading.Load()
	for _, m := range ms {
		if err := d.machine.apply(m.GetEntries(), leads); err != nil {
			return err
		}
	}
	return nil
}

func (d *etcdAsync) close() {
	d.end(nil)
	d.wg.Wait()
}

// mailbox is a queue that is taken whole.
type mailbox[T any] struct {
	wake chan struct{} // has room for one

	mu   sync.Mutex // guards the field below
	list []T
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{wake: make(chan struct{}, 1)} }

func (b *mailbox[T]) put(items ...T) {
	if len(items) == 0 {
		return
	}
	b.mu.Lock()
	b.list = append(b.list, items...)
	b.mu.Unlock()
	nudge(b.wake)
}

func (b *mailbox[T]) take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := b.list
	b.list = nil
	return list
}

func (b *mailbox[T]) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.list)
}

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// etcdInbox is what comes in for a loop.
type etcdInbox struct {
	wake chan struct{} // has room for one

	mu        sync.Mutex // guards the fields below
	messages  []*pb.Message
	proposals [][]byte
}

func newEtcdInbox() *etcdInbox { return &etcdInbox{wake: make(chan struct{}, 1)} }

func (b *etcdInbox) receive(ms []*pb.Message) {
	b.mu.Lock()
	b.messages = append(b.messages, ms...)
	b.mu.Unlock()
	nudge(b.wake)
}

func (b *etcdInbox) propose(data []byte) {
	b.mu.Lock()
	b.proposals = append(b.proposals, data)
	b.mu.Unlock()
	nudge(b.wake)
}

func (b *etcdInbox) take() (messages []*pb.Message, proposals [][]byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	messages, proposals = b.messages, b.proposals
	b.messages, b.proposals = nil, nil
	return messages, proposals
}
