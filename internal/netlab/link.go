package netlab

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

const (
	// heldBack is how long at most a reordered packet is kept while others pass it.
	heldBack = 20 * time.Millisecond
	// mostBehind bounds what waits for a link with a Rate, as the buffer of a router does.
	mostBehind = 500 * time.Millisecond
	// mostQueued bounds the bytes that wait in one link.
	mostQueued = 4 << 20
)

// Link is what one direction between two hosts does to packets. The zero Link passes them all at once.
type Link struct {
	Delay     time.Duration // of each packet
	Jitter    time.Duration // up to so much more, drawn for each packet; their order is kept
	Loss      float64       // probability, for each packet, that it is lost
	Duplicate float64       // that it arrives twice
	Reorder   float64       // that it is held back for up to 20 ms while later ones pass
	Corrupt   float64       // that one bit behind its IP header is flipped, which the checksum of TCP or UDP finds
	Rate      int64         // bytes a second; 0: no limit. What would wait for more than half a second is dropped.
	Cut       bool          // nothing passes, and what is under way is lost
}

// Stats counts packets.
type Stats struct {
	Passed, Bytes int64 // what went out to its destination
	Cut           int64 // not passed, as the link was cut
	Lost          int64 // not passed, by Loss
	Overflowed    int64 // not passed, as too much was waiting
	Refused       int64 // not taken by the destination's device
	Doubled       int64
	Reordered     int64
	Corrupted     int64
	Delayed       int64 // passed later than they came, by Delay, Jitter or Rate
	Resets        int64 // TCP connections that Reset has ended
}

func (s *Stats) add(o Stats) {
	s.Passed += o.Passed
	s.Bytes += o.Bytes
	s.Cut += o.Cut
	s.Lost += o.Lost
	s.Overflowed += o.Overflowed
	s.Refused += o.Refused
	s.Doubled += o.Doubled
	s.Reordered += o.Reordered
	s.Corrupted += o.Corrupted
	s.Delayed += o.Delayed
	s.Resets += o.Resets
}

// link is one direction between two hosts.
type link struct {
	write func(packet []byte) error // to the destination's device
	wake  chan struct{}             // something is due sooner than run knows; holds one

	mu     sync.Mutex // guards the fields below
	is     Link
	dice   *rand.Rand
	stats  Stats
	queue  []waiting // by time
	queued int       // bytes in queue
	free   time.Time // when all that came before has been sent at Rate
	newest time.Time // no packet that keeps the order is due before
	flows  map[flow]position
}

// waiting is a packet under way.
type waiting struct {
	at     time.Time
	packet []byte
}

func newLink(dice *rand.Rand, write func([]byte) error) *link {
	return &link{write: write, wake: make(chan struct{}, 1), dice: dice, flows: map[flow]position{}}
}

func (l *link) set(change func(*Link)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.is)
	l.free, l.newest = time.Time{}, time.Time{} // what comes from now on does not wait for what came before
}

func (l *link) count() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// pass takes a packet from its source; it may change it, and does not keep it.
func (l *link) pass(packet []byte, now time.Time) {
	for range l.enter(packet, now) {
		l.send(packet)
	}
}

// enter returns how many copies of a packet are to be sent at once. The others have been lost, or are waiting.
func (l *link) enter(packet []byte, now time.Time) (atOnce int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.follow(packet)
	switch {
	case l.is.Cut:
		l.stats.Cut++
		return 0
	case l.roll(l.is.Loss):
		l.stats.Lost++
		return 0
	}
	if l.roll(l.is.Corrupt) && l.damage(packet) {
		l.stats.Corrupted++
	}
	copies := 1
	if l.roll(l.is.Duplicate) {
		l.stats.Doubled++
		copies++
	}
	for range copies {
		at, ok := l.due(len(packet), now)
		switch {
		case !ok:
			l.stats.Overflowed++
		case at.After(now):
			l.stats.Delayed++
			l.wait(waiting{at, slices.Clone(packet)})
		default:
			l.passed(packet)
			atOnce++
		}
	}
	return atOnce
}

func (l *link) roll(p float64) bool { return p > 0 && l.dice.Float64() < p }

// damage flips a bit behind the IP header, and reports whether there was one.
func (l *link) damage(packet []byte) bool {
	header := headerBytes(packet)
	if len(packet) <= header {
		return false
	}
	packet[header+l.dice.IntN(len(packet)-header)] ^= 1 << l.dice.IntN(8)
	return true
}

// due returns when a packet is to be sent, and whether there is room until then.
func (l *link) due(size int, now time.Time) (time.Time, bool) {
	if l.queued+size > mostQueued {
		return now, false
	}
	at := now
	if l.is.Rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		if l.free.Sub(now) > mostBehind {
			return now, false
		}
		l.free = l.free.Add(time.Duration(float64(size) / float64(l.is.Rate) * float64(time.Second)))
		at = l.free
	}
	at = at.Add(l.is.Delay)
	if l.is.Jitter > 0 {
		at = at.Add(time.Duration(l.dice.Int64N(int64(l.is.Jitter))))
	}
	if l.roll(l.is.Reorder) {
		l.stats.Reordered++
		return at.Add(time.Duration(1 + l.dice.Int64N(int64(heldBack)))), true
	}
	if at.Before(l.newest) {
		at = l.newest
	}
	l.newest = at
	return at, true
}

// wait keeps a packet until it is due, behind those that are due at the same time.
func (l *link) wait(w waiting) {
	i := len(l.queue)
	for i > 0 && l.queue[i-1].at.After(w.at) {
		i--
	}
	l.queue = slices.Insert(l.queue, i, w)
	l.queued += len(w.packet)
	if i > 0 {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) passed(packet []byte) {
	l.stats.Passed++
	l.stats.Bytes += int64(len(packet))
}

func (l *link) send(packet []byte) {
	if err := l.write(packet); err != nil {
		l.mu.Lock()
		l.stats.Refused++
		l.mu.Unlock()
	}
}

// run sends what has waited, until closed.
func (l *link) run(closed <-chan struct{}) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		packet, next := l.leave(time.Now())
		if packet != nil {
			l.send(packet)
			continue
		}
		timer.Reset(next)
		select {
		case <-timer.C:
		case <-l.wake:
		case <-closed:
			return
		}
	}
}

// leave takes a packet that is due out of the queue. If there is none, it says when to look again.
func (l *link) leave(now time.Time) (packet []byte, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.queue) > 0 {
		first := l.queue[0]
		if wait := first.at.Sub(now); wait > 0 {
			return nil, wait
		}
		l.queue[0].packet = nil
		l.queue = l.queue[1:]
		l.queued -= len(first.packet)
		if !l.is.Cut {
			l.passed(first.packet)
			return first.packet, 0
		}
		l.stats.Cut++
	}
	l.queue = nil
	return nil, time.Hour
}

// headerBytes returns the length of the packet's IP header.
func headerBytes(packet []byte) int { return int(packet[0]&0x0f) * 4 }

// isIPv4 reports whether a packet has a whole header of IP version 4.
func isIPv4(packet []byte) bool {
	return len(packet) >= 20 && packet[0]>>4 == 4 && headerBytes(packet) >= 20 && headerBytes(packet) <= len(packet) &&
		int(binary.BigEndian.Uint16(packet[2:])) <= len(packet)
}
