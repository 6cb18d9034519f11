package front

import (
	"slices"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/session"
)

// Bounds of what is kept about KeepAlives. Beyond them they are forgotten, and come again.
const (
	pendingMost = 1 << 16        // sessions with one that is not sent to the leader
	openMost    = 1 << 17        // sent and not answered
	batchesMost = 4096           // of those
	batchLife   = session.TTLMax // an answer that comes later renews nothing
	partedMost  = wire.DigestMax // sessions whose connection has closed
	holdingMost = 1 << 17        // answers that wait for an entry to be applied
)

// beats collects the KeepAlives of clients, sends them to the leader together, and passes on its answers. The first one after a while
// goes out at once, those of the next 100 ms together after it. On the leader it is the same, so that a quorum round serves many
// there too.
type beats struct {
	f     *Front
	timer *time.Timer   // flushes what is pending
	watch *time.Timer   // looks for KeepAlives that no round confirms
	wake  chan struct{} // has room for one: held has something

	handing sync.Mutex // keeps in order what is handed on; taken before mu, and before the locks of those it is handed to

	mu      sync.Mutex // guards the fields below
	pending map[wire.Life]beat
	since   time.Time      // when the first of pending arrived
	parted  []session.Life // whose connection has closed
	flushed time.Time
	armed   bool // the timer is set

	last        uint64 // batch
	confirmed   uint64 // the last batch that a round has confirmed
	batches     map[uint64]*batch
	order       []uint64  // of batches, those that are over among them
	open        int       // KeepAlives in batches
	unconfirmed time.Time // when the first KeepAlive arrived that no round has confirmed; zero if all are

	held    []held
	holding int // answers in held
	stopped bool
}

// beat is the newest KeepAlive of a session.
type beat struct {
	number uint64
	ready  time.Time // at its client, as far as that tells
	from   *client
}

// batch is what went to the leader together: KeepAlives of this node's clients, or those that another node sent.
type batch struct {
	to          *link // nil: this node led
	first, sent time.Time
	beats       map[wire.Life]beat

	from   *peer // another node's
	number uint64
	left   int // of them
}

func (b *beats) init(f *Front) {
	b.f, b.wake = f, make(chan struct{}, 1)
	b.pending, b.batches = make(map[wire.Life]beat), make(map[uint64]*batch)
	b.timer, b.watch = time.AfterFunc(time.Hour, b.flush), time.AfterFunc(time.Hour, b.look)
	b.timer.Stop()
	b.watch.Stop()
}

func (b *beats) stop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
	b.timer.Stop()
	b.watch.Stop()
}

// take takes in a KeepAlive of a client. Of each session the one with the highest number counts.
func (b *beats) take(c *client, ka *wire.KeepAlive) {
	now := time.Now()
	b.mu.Lock()
	known, again := b.pending[ka.Life]
	if b.stopped || again && known.number >= ka.Number || !again && len(b.pending) >= pendingMost {
		b.mu.Unlock()
		return
	}
	if len(b.parted) > 0 {
		b.parted = slices.DeleteFunc(b.parted, func(l session.Life) bool { return l == lifeOf(ka.Life) })
	}
	if len(b.pending) == 0 {
		b.since = now
	}
	b.pending[ka.Life] = beat{number: ka.Number, ready: now.Add(-ageOf(ka.Age)), from: c}
	if b.unconfirmed.IsZero() {
		b.unconfirmed = now
		b.watch.Reset(quorumWait)
	}
	due := b.due(now)
	b.mu.Unlock()
	if due {
		b.flush()
	}
}

// part reports sessions whose connection has closed, after the KeepAlives that came over it.
func (b *beats) part(lives []session.Life) {
	b.mu.Lock()
	b.parted = append(b.parted, lives[:min(len(lives), partedMost-len(b.parted))]...)
	due := len(b.parted) > 0 && !b.stopped && b.due(time.Now())
	b.mu.Unlock()
	if due {
		b.flush()
	}
}

// due reports whether what is pending is to be sent now; if not, the timer sends it. The caller holds mu.
func (b *beats) due(now time.Time) bool {
	wait := digestEvery - now.Sub(b.flushed)
	if wait > 0 && !b.armed {
		b.armed = true
		b.timer.Reset(wait)
	}
	return wait <= 0
}

// resume sends what could not be sent before, now that there may be a way.
func (b *beats) resume() {
	b.mu.Lock()
	due := len(b.pending)+len(b.parted) > 0 && !b.stopped && b.due(time.Now())
	b.mu.Unlock()
	if due {
		b.flush()
	}
}

// flush sends what is pending to the leader. While there is no way to one it stays.
func (b *beats) flush() {
	b.handing.Lock()
	defer b.handing.Unlock()
	self, to := b.f.routes.way()
	b.mu.Lock()
	b.armed = false
	if b.stopped || !self && to == nil {
		b.mu.Unlock()
		return
	}
	digests, parted := b.cut(time.Now(), to)
	b.mu.Unlock()
	for _, m := range digests {
		if b.f.o.Events.KeepAlives != nil {
			b.f.o.Events.KeepAlives(len(m.KeepAlives))
		}
		if self {
			b.f.o.Tenure.KeepAlive(keepAlivesOf(m.KeepAlives, m.Batch))
		} else {
			b.hand(to, m)
		}
	}
	switch {
	case len(parted) == 0:
	case self:
		b.f.o.Tenure.Disconnected(parted)
	default:
		m := &wire.Disconnected{Lives: make([]wire.Life, len(parted))}
		for i, life := range parted {
			m.Lives[i] = wireLife(life)
		}
		b.hand(to, m)
	}
}

func (b *beats) hand(to *link, m wire.Message) {
	if err := to.push(m, true); err != nil {
		b.f.o.Logger.Error("KeepAlives do not fit a message", "error", err)
	}
}

// keepAlivesOf returns KeepAlives as the Keeper takes them in, from the batch of this node's number.
func keepAlivesOf(list []wire.KeepAlive, batch uint64) []session.KeepAlive {
	kas := make([]session.KeepAlive, len(list))
	for i := range list {
		kas[i] = session.KeepAlive{Life: lifeOf(list[i].Life), Number: list[i].Number, Age: ageOf(list[i].Age), From: batch}
	}
	return kas
}

// cut takes out what is pending, in batches no larger than a Digest; the caller holds mu.
func (b *beats) cut(now time.Time, to *link) (digests []*wire.Digest, parted []session.Life) {
	if len(b.pending)+len(b.parted) == 0 {
		return nil, nil
	}
	parted, b.parted, b.flushed = b.parted, nil, now
	var m *wire.Digest
	var open *batch
	for life, newest := range b.pending {
		if m == nil || len(m.KeepAlives) == wire.DigestMax {
			size := min(len(b.pending), wire.DigestMax)
			open = &batch{to: to, first: b.since, sent: now, beats: make(map[wire.Life]beat, size)}
			m = &wire.Digest{Batch: b.add(open), KeepAlives: make([]wire.KeepAlive, 0, size)}
			digests = append(digests, m)
		}
		open.beats[life] = newest
		b.open++
		m.KeepAlives = append(m.KeepAlives, wire.KeepAlive{Life: life, Number: newest.number, Age: ageOf(now.Sub(newest.ready))})
	}
	clear(b.pending)
	return digests, parted
}

// add numbers a batch and keeps it, as long as there is room for its answers; the caller holds mu.
func (b *beats) add(added *batch) (number uint64) {
	for len(b.order) > 0 {
		old := b.batches[b.order[0]]
		if old != nil && len(b.order) < batchesMost && b.open < openMost && added.sent.Sub(old.sent) < batchLife {
			break
		}
		if old != nil {
			b.open -= len(old.beats) + old.left
			delete(b.batches, b.order[0])
		}
		b.order = b.order[1:]
	}
	b.last++
	b.batches[b.last] = added
	b.order = append(b.order, b.last)
	return b.last
}

// relay takes in the KeepAlives of another node, if this one leads.
func (b *beats) relay(p *peer, m *wire.Digest) {
	if self, _ := b.f.routes.way(); !self || len(m.KeepAlives) == 0 {
		return // they come again
	}
	b.mu.Lock()
	number := b.add(&batch{from: p, sent: time.Now(), number: m.Batch, left: len(m.KeepAlives)})
	b.open += len(m.KeepAlives)
	b.mu.Unlock()
	b.f.o.Tenure.KeepAlive(keepAlivesOf(m.KeepAlives, number))
}

// relayParted takes in that another node saw connections close.
func (b *beats) relayParted(m *wire.Disconnected) {
	lives := make([]session.Life, len(m.Lives))
	for i, life := range m.Lives {
		lives[i] = lifeOf(life)
	}
	b.f.o.Tenure.Disconnected(lives)
}
