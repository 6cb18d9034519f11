package session

import "slices"

// Result is the stored answer to one request, as the owner of the Table wrote it: at most ResultMax bytes.
type Result struct {
	n     uint8
	bytes [ResultMax]byte
}

// NewResult returns a Result of b, of which only the first ResultMax bytes are kept.
func NewResult(b []byte) (r Result) {
	r.n = uint8(copy(r.bytes[:], b))
	return r
}

// Bytes returns what NewResult was given.
func (r *Result) Bytes() []byte { return r.bytes[:r.n] }

// Verdict says what a request's seq means to the window of its session.
type Verdict uint8

// The verdicts.
const (
	Fresh  Verdict = iota // never seen: execute it and Keep its result
	Repeat                // answered before: answer the same
	Stale                 // at or below acked: a late duplicate of what the client has seen the answer to
	TooFar                // more than WindowMax above acked
)

// window remembers the results of the requests above acked.
//
// Every seq is in exactly one place: at or below acked, in results, or not yet seen. That is what makes a request take effect
// once, however often and late it arrives.
type window struct {
	acked   uint64
	results []kept // rising seq, all in (acked, acked+WindowMax]
}

type kept struct {
	seq    uint64
	result Result
}

// Acked returns the highest acked the session has told.
func (s *Session[H]) Acked() uint64 { return s.window.acked }

// Acknowledge drops the results at or below acked and reports whether that changed anything. A lower acked than before is an
// older message and changes nothing.
func (s *Session[H]) Acknowledge(acked uint64) bool {
	w := &s.window
	if acked <= w.acked {
		return false
	}
	w.acked = acked
	n, found := w.find(acked)
	if found {
		n++
	}
	w.results = slices.Delete(w.results, 0, n)
	return true
}

// Judge says what to do with a request, and returns its result if it is a repeat.
func (s *Session[H]) Judge(seq uint64) (Result, Verdict) {
	w := &s.window
	if seq <= w.acked {
		return Result{}, Stale
	}
	if seq-w.acked > WindowMax {
		return Result{}, TooFar
	}
	if i, found := w.find(seq); found {
		return w.results[i].result, Repeat
	}
	return Result{}, Fresh
}

// Keep stores the result of a request that Judge called fresh.
func (s *Session[H]) Keep(seq uint64, r Result) {
	w := &s.window
	i, _ := w.find(seq)
	w.results = slices.Insert(w.results, i, kept{seq: seq, result: r})
}

// Replace stores another result of a request that has one.
func (s *Session[H]) Replace(seq uint64, r Result) {
	if i, found := s.window.find(seq); found {
		s.window.results[i].result = r
	}
}

func (w *window) find(seq uint64) (int, bool) {
	if n := len(w.results); n == 0 || w.results[n-1].seq < seq {
		return n, false
	}
	return slices.BinarySearchFunc(w.results, seq, func(k kept, seq uint64) int {
		switch {
		case k.seq < seq:
			return -1
		case k.seq > seq:
			return 1
		}
		return 0
	})
}
