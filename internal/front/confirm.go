package front

import (
	"context"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// held are answers that wait for an entry to be applied.
type held struct {
	index   uint64
	asked   time.Time // the round began later
	answers []answer
}

// answer is an answer to a KeepAlive, and whose it is.
type answer struct {
	to *client
	wire.KeepAliveAnswer
}

// Answers takes what the Keeper of this node, which leads, has answered: to other nodes it goes at once, to clients of this one when
// the read index is applied.
func (f *Front) Answers(clock time.Duration, answers []session.Answer) {
	for len(answers) > 0 {
		from, index := answers[0].From, answers[0].ReadIndex
		var confirmed []wire.Confirmation
		for len(answers) > 0 && answers[0].From == from && answers[0].ReadIndex == index && len(confirmed) < wire.DigestMax {
			a := &answers[0]
			confirmed = append(confirmed, wire.Confirmation{Life: wireLife(a.Life), Number: a.Number, Verdict: verdictOf(a.Verdict)})
			answers = answers[1:]
		}
		f.beats.decided(&wire.DigestAnswer{Batch: from, Index: index, Clock: clock, Confirmations: confirmed})
	}
}

// decided takes the answer of this node's own Keeper.
func (b *beats) decided(m *wire.DigestAnswer) {
	b.mu.Lock()
	sent := b.batches[m.Batch]
	if sent == nil || sent.from == nil {
		b.mu.Unlock()
		b.answered(nil, m)
		return
	}
	done := min(len(m.Confirmations), sent.left)
	sent.left -= done
	b.open -= done
	if sent.left == 0 {
		delete(b.batches, m.Batch)
	}
	b.mu.Unlock()
	relayed := *m
	relayed.Batch = sent.number
	if err := sent.from.push(&relayed, true); err != nil {
		b.f.o.Logger.Error("answers to KeepAlives do not fit a message", "error", err)
	}
}

// answered takes the answer to a batch that went over a link, or to this node's own Keeper. Only KeepAlives of that batch are
// answered: a later one of the same session was not confirmed by it.
func (b *beats) answered(over *link, m *wire.DigestAnswer) {
	b.mu.Lock()
	sent := b.batches[m.Batch]
	if sent == nil || sent.from != nil || sent.to != over {
		b.mu.Unlock()
		return
	}
	h := held{index: m.Index, asked: sent.sent, answers: make([]answer, 0, len(m.Confirmations))}
	for _, c := range m.Confirmations {
		if known, ok := sent.beats[c.Life]; ok && known.number == c.Number {
			delete(sent.beats, c.Life)
			b.open--
			h.answers = append(h.answers, answer{known.from, wire.KeepAliveAnswer{
				Life: c.Life, Number: c.Number, Verdict: c.Verdict, Index: m.Index, Clock: m.Clock,
			}})
		}
	}
	if len(sent.beats) == 0 {
		delete(b.batches, m.Batch)
	}
	b.confirm(m.Batch)
	b.mu.Unlock()
	if b.f.applied.Load() >= h.index {
		b.deliver(h)
		return
	}
	b.mu.Lock()
	if b.holding += len(h.answers); b.holding <= holdingMost {
		b.held = append(b.held, h)
	} else {
		b.holding -= len(h.answers) // they come again
	}
	b.mu.Unlock()
	signal(b.wake)
}

// confirm notes that a round began after this batch arrived; the caller holds mu.
func (b *beats) confirm(number uint64) {
	b.confirmed = max(b.confirmed, number)
	b.unconfirmed = time.Time{}
	if len(b.pending) > 0 {
		b.unconfirmed = b.since
	}
	for i := len(b.order) - 1; i >= 0 && b.order[i] > b.confirmed; i-- {
		if later := b.batches[b.order[i]]; later != nil && later.from == nil {
			b.unconfirmed = later.first
		}
	}
	if !b.unconfirmed.IsZero() && !b.stopped {
		b.watch.Reset(max(0, quorumWait-time.Since(b.unconfirmed)))
	}
}

// run passes on answers when what they tell is applied, behind the events up to there.
func (b *beats) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.wake:
		}
		b.mu.Lock()
		list := b.held
		b.held, b.holding = nil, 0
		b.mu.Unlock()
		for _, h := range list {
			if err := b.f.o.State.Wait(ctx, raft.Index(h.index)); err != nil {
				return // ctx has ended, or this node cannot go on
			}
			b.deliver(h)
		}
	}
}

// deliver gives clients their answers. A session that has ended is nobody's any more.
func (b *beats) deliver(h held) {
	b.f.fresh.note(h.asked)
	for i := range h.answers {
		a := &h.answers[i]
		a.to.tell(&a.KeepAliveAnswer)
		if a.Verdict == wire.Ended {
			b.f.audience.leave(a.to, topic{session: a.Life.ID})
		}
	}
}

// look tells clients with sessions when KeepAlives have been waiting for a confirmed round too long, and again while it is so.
func (b *beats) look() {
	b.mu.Lock()
	if b.stopped || b.unconfirmed.IsZero() {
		b.mu.Unlock()
		return
	}
	since := time.Since(b.unconfirmed)
	if since < quorumWait {
		b.watch.Reset(quorumWait - since)
		b.mu.Unlock()
		return
	}
	b.watch.Reset(quorumWait)
	b.mu.Unlock()
	if b.f.o.Events.NoQuorum != nil {
		b.f.o.Events.NoQuorum(since)
	}
	b.f.eachClient(func(c *client) {
		if b.f.audience.names(c) {
			c.tell(&wire.NoQuorum{Since: since})
		}
	})
}
