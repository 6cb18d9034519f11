package front

import (
	"fmt"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
)

// peer is the connection of another node, which takes this one for the leader.
type peer struct {
	*stream
	f *Front

	mu      sync.Mutex // guards the fields below
	results []result   // of commands, not yet written
}

// result is the result of one command of a Forward.
type result struct {
	batch uint64
	wire.Result
}

// servePeer serves another node until its connection is over.
func (f *Front) servePeer(s *stream, hello *wire.Hello) error {
	s.limits = &f.nodeLimits
	p := &peer{stream: s, f: f}
	s.fill = p.frames
	f.mu.Lock()
	f.peers++
	f.mu.Unlock()
	f.count()
	defer func() {
		f.mu.Lock()
		f.peers--
		f.mu.Unlock()
	}()
	clock := f.clock()
	f.mu.Lock()
	welcome := f.welcoming(hello, clock)
	f.mu.Unlock()
	err := s.push(welcome, true)
	for err == nil {
		var m wire.Message
		if m, err = s.read(); err == nil {
			err = p.handle(m)
		}
	}
	return p.wrong(err)
}

// wrong ends the connection also for what is wrong with one frame only: whatever was in it would never be answered.
func (p *peer) wrong(err error) error {
	if body, ok := err.(*wire.BodyError); ok { //nolint:errorlint // as the Reader returns it
		p.f.malformed(body.Type)
		return &parting{wire.Malformed, err.Error()}
	}
	return err
}

func (p *peer) handle(m wire.Message) error {
	switch m := m.(type) {
	case *wire.Digest:
		p.f.beats.relay(p, m)
	case *wire.Disconnected:
		p.f.beats.relayParted(m)
	case *wire.Forward:
		p.forward(m)
	case *wire.Goodbye:
		return errGoodbye
	case *wire.Hello:
		return &parting{wire.OutOfStep, "a second Hello"}
	case *wire.Unknown: // of a later version, which means nothing to this one
	default:
		return &parting{wire.Unsupported, fmt.Sprintf("%s comes from clients only", m.Type())}
	}
	return nil
}

// forward proposes the commands of a batch, those that may enter the log.
func (p *peer) forward(m *wire.Forward) {
	for i := range m.Commands {
		cmd := &command{asker: p, arrived: time.Now(), batch: m.Batch, place: uint64(i), order: order{trace: m.Commands[i].Trace}}
		cmd.entry.Data = m.Commands[i].Data
		p.f.busy.Add(1)
		v := p.check(cmd)
		if v == nil && p.f.draining.Load() {
			v = refusal(wire.ShuttingDown, 0, "")
		}
		if accepted := p.f.accepts(cmd); v == nil {
			v = accepted
		}
		if v != nil {
			p.f.finish(cmd, v)
			continue
		}
		p.f.propose(cmd)
	}
}

// check decodes a command before it may enter the log: bytes that no state machine can read would stop every node.
func (p *peer) check(cmd *command) *verdict {
	decoded, err := locktable.Decode(cmd.entry.Data)
	if err != nil {
		return refusal(wire.Malformed, 0, err.Error())
	}
	var ok bool
	if cmd.order.grows, ok = forwardable(decoded); !ok {
		return refusal(wire.Unsupported, 0, "only the leader decides this")
	}
	return nil
}

func (p *peer) front() *Front { return p.f }

// answer implements asker.
func (p *peer) answer(cmd *command, v *verdict) {
	p.mu.Lock()
	p.results = append(p.results, result{cmd.batch, wire.Result{Place: cmd.place, Index: v.index, Known: v.known, Outcome: v.outcome}})
	p.mu.Unlock()
	p.wake()
	p.f.answered()
}

// frames appends what is to be answered, in one Forwarded for results of the same batch that are next to each other.
func (p *peer) frames(b []byte) []byte {
	p.mu.Lock()
	results := p.results
	p.results = nil
	p.mu.Unlock()
	clock := p.f.clock()
	for len(results) > 0 {
		m := &wire.Forwarded{Batch: results[0].batch, Clock: clock}
		n := 0
		for ; n < len(results) && n < wire.ForwardMax && results[n].batch == m.Batch; n++ {
			m.Results = append(m.Results, results[n].Result)
		}
		results = results[n:]
		framed, err := wire.Append(b, m)
		if err != nil {
			p.f.o.Logger.Error("results do not fit a message", "error", err)
			p.drop() // the other node tells its clients that nobody knows
			return b
		}
		b = framed
	}
	return b
}
