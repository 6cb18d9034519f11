package raft

import "time"

// progress is what a leader knows of a peer's log.
//
// Invariants: match < next; match only rises; while replicating, entries of (match, next) are on their way.
type progress struct {
	id      PeerID
	session Index // the configuration that added the peer; answers to anything else are not about this log
	match   Index // durable there
	next    Index // to be sent next
	state   progressState
	waiting bool  // probing: the probe has no answer yet
	fetch   Index // these entries are being read from the disk; zero if none
	window  window
	heard   time.Duration
	round   uint64 // the newest round acknowledged
	told    Index  // the commit index it was told last

	probedAt  time.Duration
	stateless bool // it has the log but lost the state: it needs a snapshot beside its entries
	snapshot  snapshotProgress
	hold      bool // the log after snapshot.index is kept for the peer until it has caught up
}

// snapshotProgress is where a snapshot for a peer stands.
type snapshotProgress struct {
	ordered bool
	sent    bool          // accepted by the peer, not yet acknowledged
	index   Index         // of the snapshot once it is sent; before that the log's base, which it cannot be below
	retry   time.Duration // when the next may be ordered, or a sent one counts as lost
}

// progressState is how a leader sends to a peer.
type progressState uint8

const (
	probing     progressState = iota // one Append at a time, to find where the logs part
	replicating                      // as many as the window allows
	installing                       // nothing, until the peer has the snapshot
)

func (s progressState) String() string { return [...]string{"probing", "replicating", "snapshot"}[s] }

// probe begins to look for the end of the common log.
func (p *progress) probe() {
	p.probeFrom(p.match + 1)
}

func (p *progress) probeFrom(next Index) {
	p.state, p.waiting, p.next = probing, false, next
	p.window.clear()
}

// stream begins to send without waiting for answers.
func (p *progress) stream() {
	p.state, p.waiting, p.next = replicating, false, p.match+1
	p.window.clear()
}

// acked notes that the log up to i is durable there.
func (p *progress) acked(i Index) {
	p.match = max(p.match, i)
	p.next = max(p.next, p.match+1)
	p.window.free(p.match)
}

// tellsState notes whether the peer's state machine has its state.
func (p *progress) tellsState(has bool) {
	if p.stateless && has {
		p.snapshot.ordered = false
	}
	p.stateless = !has
}

// window bounds what is on its way to a peer, in messages and bytes.
type window struct {
	sent  []sentAppend
	bytes int
}

type sentAppend struct {
	last  Index
	bytes int
	at    time.Duration
}

func (w *window) full(o *Options) bool {
	return len(w.sent) >= o.MaxInflight || len(w.sent) > 0 && w.bytes >= o.MaxInflightBytes
}

func (w *window) add(s sentAppend) {
	w.sent = append(w.sent, s)
	w.bytes += s.bytes
}

// free takes out what ends at or before i.
func (w *window) free(i Index) {
	n := 0
	for n < len(w.sent) && w.sent[n].last <= i {
		w.bytes -= w.sent[n].bytes
		n++
	}
	w.sent = w.sent[n:]
}

func (w *window) clear() { *w = window{} }

// overdue reports whether the oldest message has been without an answer since t.
func (w *window) overdue(t time.Duration) bool { return len(w.sent) > 0 && w.sent[0].at <= t }
