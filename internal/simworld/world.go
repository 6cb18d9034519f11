package simworld

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Server is a node of the service, as its clients see it.
type Server interface {
	// Up reports whether it takes connections.
	Up() bool
	// Connected tells that a connection stands.
	Connected(c *Conn)
	// Receive takes a message of a client, which is a machine.Message or an *Ask, or nil for the end of its connection. The process may
	// be stopped at the moment.
	Receive(c *Conn, msg any)
}

// World is one simulated run: time, chance, the programs and the judge. Whoever makes it adds the servers.
type World struct {
	Opts     Options
	Rand     *rand.Rand
	Servers  []Server
	Programs []*Program
	Judge    *Judge
	Stats    Stats
	Healed   bool  // no more faults
	Err      error // the first thing that was wrong

	now     time.Duration // true time, which nobody in the world can read
	queue   queue
	order   uint64
	trace   trace
	stalled int // events since time passed last
}

// New returns a world without servers and programs.
func New(o Options, r *rand.Rand) *World {
	w := &World{Opts: o, Rand: r, Stats: Stats{Faults: map[string]int{}}}
	w.Judge = newJudge(w)
	return w
}

// AddPrograms starts the programs. The servers must be there.
func (w *World) AddPrograms() {
	for i := range w.Opts.Clients {
		w.Programs = append(w.Programs, newProgram(w, i))
	}
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

// Now returns the true time.
func (w *World) Now() time.Duration { return w.now }

// After plans an event.
func (w *World) After(d time.Duration, do func()) { w.At(w.now+d, do) }

// At plans an event at a true time.
func (w *World) At(at time.Duration, do func()) {
	w.order++
	w.queue.push(event{at: max(at, w.now), order: w.order, do: do})
}

// Next returns when the next event happens; false if none is planned.
func (w *World) Next() (at time.Duration, ok bool) {
	if len(w.queue) == 0 {
		return 0, false
	}
	return w.queue[0].at, true
}

// Advance lets time pass in which nothing happens here.
func (w *World) Advance(now time.Duration) {
	if now > w.now {
		w.now, w.stalled = now, 0
	}
}

// Step lets the next event happen.
func (w *World) Step() {
	e := w.queue.pop()
	w.Advance(e.at)
	if w.stalled++; w.stalled > stallMax {
		w.Fail("%d events and no time passes", w.stalled)
		return
	}
	w.Stats.Events++
	e.do()
}

// Run lets the events happen until the time, or until something is wrong.
func (w *World) Run(until time.Duration) {
	for w.Err == nil && len(w.queue) > 0 && w.queue[0].at <= until {
		w.Step()
	}
	w.now = max(w.now, until)
}

// Until runs until something holds, and fails if it does not within the time.
func (w *World) Until(limit time.Duration, otherwise string, holds func() bool) {
	for end := w.now + limit; w.Err == nil && !holds(); w.Run(w.now + 100*time.Millisecond) {
		if w.now >= end {
			w.Fail("%s", otherwise)
		}
	}
}

// Again does something at random times, until the faults end. Zero is never.
func (w *World) Again(mean time.Duration, do func()) {
	if mean == 0 {
		return
	}
	w.After(w.Between(0, 2*mean), func() {
		if !w.Healed {
			do()
			w.Again(mean, do)
		}
	})
}

// Fail notes what is wrong; the first counts.
func (w *World) Fail(format string, args ...any) {
	if w.Err == nil {
		w.Err = fmt.Errorf("at %v: %s", w.now, fmt.Sprintf(format, args...))
	}
}

// Hit counts that something has happened.
func (w *World) Hit(kind string) { w.Stats.Faults[kind]++ }

// Chance is true with a probability of so many in 1,000.
func (w *World) Chance(permille int) bool { return w.Rand.IntN(1000) < permille }

// Between draws a duration.
func (w *World) Between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.Rand.Int64N(int64(most-least)+1))
}

// Drift draws the rate of a clock.
func (w *World) Drift() int { return w.Rand.IntN(2*w.Opts.Drift+1) - w.Opts.Drift }

// Tracef adds a line to the trace. Its hash tells whether two runs were the same.
func (w *World) Tracef(format string, args ...any) {
	w.trace.add(w.now, w.Opts.Trace, format, args...)
}

// Hash returns the hash of the trace, and Tail its last lines.
func (w *World) Hash() uint64 { return w.trace.hash }

// Tail returns the last lines of the trace.
func (w *World) Tail() string { return w.trace.tail() }

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
