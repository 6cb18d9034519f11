package simproto

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// world is one simulated run.
type world struct {
	opts    Options
	rng     *rand.Rand
	now     time.Duration // true time, which nobody in the world can read
	queue   queue
	order   uint64
	trace   trace
	healed  bool // no more faults
	stalled int  // events since time passed last

	nodes   []*node
	clients []*process
	truth   *truth

	stats Stats
	err   error
}

// stallMax is how many events may happen at one time.
const stallMax = 100_000

// event is something that happens at a time. Events of one time happen in the order in which they were planned.
type event struct {
	at    time.Duration
	order uint64
	do    func()
}

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.order < o.order }

// queue is a binary heap of events.
type queue []event

func (q *queue) push(e event) {
	*q = append(*q, e)
	h := *q
	for i := len(h) - 1; i > 0 && h[i].before(h[(i-1)/2]); i = (i - 1) / 2 {
		h[i], h[(i-1)/2] = h[(i-1)/2], h[i]
	}
}

func (q *queue) pop() event {
	h := *q
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], event{}
	h = h[:last]
	*q = h
	for i := 0; 2*i+1 < last; {
		child := 2*i + 1
		if child+1 < last && h[child+1].before(h[child]) {
			child++
		}
		if !h[child].before(h[i]) {
			break
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
	return first
}

// after plans an event.
func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

func (w *world) at(at time.Duration, do func()) {
	w.order++
	w.queue.push(event{at: max(at, w.now), order: w.order, do: do})
}

// run lets the events happen until the time, or until something is wrong.
func (w *world) run(until time.Duration) {
	for w.err == nil && len(w.queue) > 0 && w.queue[0].at <= until {
		e := w.queue.pop()
		if w.stalled++; e.at > w.now {
			w.now, w.stalled = e.at, 0
		}
		if w.stalled > stallMax {
			w.fail("%d events and no time passes", w.stalled)
			return
		}
		w.stats.Events++
		e.do()
	}
	w.now = max(w.now, until)
}

// fail notes what is wrong; the first counts.
func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("at %v: %s", w.now, fmt.Sprintf(format, args...))
	}
}

// chance is true with a probability of so many in 1,000.
func (w *world) chance(permille int) bool { return w.rng.IntN(1000) < permille }

// between draws a duration.
func (w *world) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.rng.Int64N(int64(most-least)+1))
}

// tracef adds a line to the trace. Its hash tells whether two runs were the same.
func (w *world) tracef(format string, args ...any) {
	w.trace.add(w.now, w.opts.Trace, format, args...)
}

// trace is the hash of everything that happened, and its last lines.
type trace struct {
	hash uint64
	last []string
	next int
}

// traceLines is how many lines a failure shows.
const traceLines = 60

func (t *trace) add(now time.Duration, show func(string), format string, args ...any) {
	line := fmt.Sprintf("%12v  ", now) + fmt.Sprintf(format, args...)
	if t.hash == 0 {
		t.hash = 14695981039346656037
	}
	for i := range len(line) {
		t.hash = (t.hash ^ uint64(line[i])) * 1099511628211
	}
	if show != nil {
		show(line)
	}
	if len(t.last) < traceLines {
		t.last = append(t.last, line)
		return
	}
	t.last[t.next] = line
	t.next = (t.next + 1) % traceLines
}

func (t *trace) tail() string {
	return strings.Join(append(t.last[t.next:len(t.last):len(t.last)], t.last[:t.next]...), "\n")
}

// clock is a monotonic clock that runs at a rate of its own.
type clock struct {
	base  time.Duration
	drift int           // parts per million
	lost  time.Duration // time in which it stood still
	stood time.Duration // since when it stands still, true time
	still bool
}

// at reads the clock.
func (c *clock) at(now time.Duration) time.Duration {
	if c.still {
		now = c.stood
	}
	now -= c.lost
	return c.base + now + now/1_000_000*time.Duration(c.drift) + now%1_000_000*time.Duration(c.drift)/1_000_000
}

// when returns a true time, little later than the first, at which the clock shows at least t if it does not stop until then.
func (c *clock) when(t time.Duration) time.Duration {
	now := t - c.base + c.lost
	for range 4 { // each step leaves less than a hundredth of the error
		now += t - c.running(now)
	}
	return now + time.Microsecond
}

// running reads the clock as if it ran.
func (c *clock) running(now time.Duration) time.Duration {
	d := *c
	d.still = false
	return d.at(now)
}

// stop lets the clock stand still, and start lets it go on; start returns how much it missed.
func (c *clock) stop(now time.Duration) { c.still, c.stood = true, now }

func (c *clock) start(now time.Duration) time.Duration {
	missed := now - c.stood
	c.still = false
	c.lost += missed
	return missed
}
