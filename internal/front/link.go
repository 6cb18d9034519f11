package front

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/raft"
)

// forwardBytes is how many bytes of commands go into one Forward, but for a last one: less than a frame with all around them.
const forwardBytes = 512 << 10

// link is this node's connection to the leader. It takes commands, which go out in as few messages as the connection makes of them.
type link struct {
	*stream
	f     *Front
	peer  raft.PeerID
	unctx func() bool // lets go of the ctx that the connection ends with

	mu      sync.Mutex // guards the fields below; taken before that of the stream
	queue   []*command // taken, and not yet sent
	sent    map[uint64]*forward
	last    uint64 // batch
	retired *time.Timer
	failed  bool
}

// forward is a batch that was sent.
type forward struct {
	commands []*command // nil where answered
	left     int
}

// dialLink connects to the node that leads.
func (f *Front) dialLink(ctx context.Context, leader raft.PeerID) (*link, error) {
	address := ""
	for _, n := range f.o.nodes() {
		if n.ID == uint64(leader.Node) {
			address = n.Address
		}
	}
	if address == "" {
		return nil, errors.New("the address of its client port is not known yet")
	}
	dialing, cancel := context.WithTimeout(ctx, linkTimeout)
	defer cancel()
	c, err := f.o.Dial(dialing, address)
	if err != nil {
		return nil, err
	}
	l := &link{stream: newStream(c, &f.crew, &f.nodeLimits), f: f, peer: leader, sent: make(map[uint64]*forward)}
	l.fill, l.greedy = l.frame, true
	l.unctx = context.AfterFunc(ctx, l.drop)
	if err := l.greet(); err != nil {
		l.unctx()
		l.drop()
		return nil, err
	}
	return l, nil
}

// greet sends the Hello and reads the Welcome.
func (l *link) greet() error {
	_ = l.net.SetDeadline(time.Now().Add(linkTimeout)) // of a closed connection: writing tells
	cluster, incarnation := l.f.o.Cluster()
	hello, err := wire.Append(nil, &wire.Hello{
		Magic: wire.Magic, VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Role: wire.RoleNode, Cluster: cluster,
		Incarnation: incarnation, Agent: l.f.o.Agent, Node: uint64(l.f.o.Peer.Node), Directory: l.f.o.Peer.Incarnation, Boot: l.f.o.Boot,
	})
	if err != nil {
		return err
	}
	if _, err := l.net.Write(hello); err != nil {
		return err
	}
	l.in.Limit(wire.FrameMax)
	m, err := l.in.Read()
	if err != nil {
		return err
	}
	switch m := m.(type) {
	case *wire.Welcome:
		if m.Node != uint64(l.peer.Node) || m.Cluster != cluster {
			return fmt.Errorf("node %d of cluster %s is there", m.Node, m.Cluster)
		}
	case *wire.Goodbye:
		return &parting{m.Code, m.Text}
	default:
		return fmt.Errorf("it answers with %s", m.Type())
	}
	l.source.hello = true
	return l.net.SetDeadline(time.Time{})
}

// take takes a command, to be sent once. It reports false if the link is down.
func (l *link) take(cmd *command) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed {
		return false
	}
	l.queue = append(l.queue, cmd)
	l.wake()
	return true
}

// frame appends the next Forward. Each command is in one of them.
func (l *link) frame(b []byte) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, size := 0, 0
	for n < len(l.queue) && n < wire.ForwardMax && size < forwardBytes {
		size += len(l.queue[n].entry.Data)
		n++
	}
	if n == 0 {
		return b
	}
	batch := &forward{commands: l.queue[:n:n], left: n}
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	} else {
		l.wake()
	}
	m := &wire.Forward{Commands: make([]wire.Command, n)}
	for i, cmd := range batch.commands {
		m.Commands[i] = wire.Command{Trace: cmd.order.trace, Data: cmd.entry.Data}
	}
	l.last++
	m.Batch = l.last
	l.sent[m.Batch] = batch
	if l.f.o.Events.Forwarded != nil {
		l.f.o.Events.Forwarded(n)
	}
	framed, err := wire.Append(b, m)
	if err != nil {
		l.f.o.Logger.Error("commands do not fit a message", "commands", n, "error", err)
		l.drop() // which answers them
		return b
	}
	return framed
}

// serve passes on what the leader answers, until the connection is over.
func (l *link) serve() error {
	defer l.unctx()
	defer l.drop()
	for {
		m, err := l.read()
		if err != nil {
			return err
		}
		switch m := m.(type) {
		case *wire.Forwarded:
			l.forwarded(m)
		case *wire.DigestAnswer:
			l.f.beats.answered(l, m)
		case *wire.Goodbye:
			return &parting{m.Code, m.Text}
		}
	}
}

// forwarded answers commands. What was answered before, and what was never asked, is passed over.
func (l *link) forwarded(m *wire.Forwarded) {
	for i := range m.Results {
		if cmd := l.answeredAt(m.Batch, m.Results[i].Place); cmd != nil {
			l.f.finish(cmd, verdictOn(&m.Results[i], m.Clock))
		}
	}
}

func verdictOn(r *wire.Result, clock time.Duration) *verdict {
	v := &verdict{index: r.Index, clock: clock, outcome: r.Outcome, known: r.Known}
	switch code := r.Outcome.Code; {
	case !code.Failed():
	case code == wire.DiskFull:
		v.wait, v.text = diskPatience, "the leader's disk is nearly full"
	case code == wire.Overloaded:
		v.wait, v.text = patience, "too much is waiting for the leader"
	default:
		v.wait, v.text = leaderless, "the leader says: "+code.String()
	}
	return v
}

func (l *link) answeredAt(batch, place uint64) *command {
	l.mu.Lock()
	defer l.mu.Unlock()
	sent := l.sent[batch]
	if sent == nil || place >= uint64(len(sent.commands)) || sent.commands[place] == nil {
		return nil
	}
	cmd := sent.commands[place]
	sent.commands[place] = nil
	if sent.left--; sent.left == 0 {
		delete(l.sent, batch)
		if l.retired != nil && len(l.sent) == 0 {
			l.drop()
		}
	}
	return cmd
}

// retire ends a link to a node that leads no more, once it has answered, or after some time.
func (l *link) retire() {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.retired != nil:
	case len(l.sent) == 0 && len(l.queue) == 0:
		l.drop()
	default:
		l.retired = time.AfterFunc(linkRetired, l.drop)
	}
}

// recall takes a retired link into service again.
func (l *link) recall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired != nil && l.retired.Stop() {
		l.retired = nil
	}
}

// fail answers what the link leaves unanswered. What was not sent may go another way; of the rest nobody knows.
func (l *link) fail() {
	l.mu.Lock()
	unsent, sent := l.queue, l.sent
	l.queue, l.sent, l.failed = nil, nil, true
	if l.retired != nil {
		l.retired.Stop()
	}
	l.mu.Unlock()
	for _, cmd := range unsent {
		l.f.routes.again(cmd)
	}
	for _, batch := range sent {
		for _, cmd := range batch.commands {
			if cmd != nil {
				l.f.finish(cmd, interrupted("the connection to the leader broke"))
			}
		}
	}
}
