package session

import (
	"iter"
	"time"
)

// Times of the Keeper.
const (
	tickEvery  = time.Second - TurnMax  // while a deadline is pending the clock is moved at least once a second
	retryAfter = 500 * time.Millisecond // a proposal that is not applied by then is made again
	roundRetry = TurnMax                // a quorum round that is not acknowledged by then is begun again
)

// keepAlivesMax bounds the KeepAlives that wait for their quorum round. Beyond it they are dropped, and come again.
const keepAlivesMax = 1 << 18

// staleMax is how many timers of ended sessions there may be beyond one for each living session. Left alone, each stays for its TTL.
const staleMax = 1024

// never lies after every deadline.
const never = time.Duration(1<<63 - 1)

// KeepAlive is one client's sign of life, as a node passed it on.
type KeepAlive struct {
	Life   Life
	Number uint64        // rises within the session; the answer names it
	Age    time.Duration // how long ago the node received it, rounded down; not counted: its time on the wire
	From   uint64        // names the batch or connection it came by; comes back in the answer
}

// Verdicts of a KeepAlive.
const (
	Renewed    Confirmation = 1 // the deadline has moved
	NotRenewed Confirmation = 2 // an Expire is on its way. This is not yet an end: only the applied state tells that
	Unknown    Confirmation = 3 // at ReadIndex there is no such life
)

// Confirmation is the verdict on a KeepAlive.
type Confirmation uint8

// Answer answers one KeepAlive. A node passes it on only when it has applied ReadIndex, after the session's own events, and only
// for KeepAlives that were in the batch.
type Answer struct {
	KeepAlive
	Verdict   Confirmation
	ReadIndex uint64 // of the quorum round that confirmed it; with Unknown, at least that
}

// Work is what cluster time has to do in the applied state.
type Work struct {
	Clock   time.Duration // cluster time of the applied state
	Left    bool          // an earlier entry left something over
	Pending bool          // some deadline lies ahead
	Next    time.Duration // the first of them, in cluster time
}

// Output is what the Keeper wants done, in this order. The slices are valid until the next Output.
type Output struct {
	Round   uint64   // begin a quorum round of this number now, after this call; 0 = none
	Answers []Answer // send these
	Expire  []Life   // propose their end, in the Keeper's term only, in as many entries as their limit asks for
	Tick    bool     // propose a tick, in the Keeper's term only
	Unfit   bool     // the loop was late in more than half of its turns for ten seconds: give leadership away
	Wake    time.Duration
}

// Keeper is the leader's soft clock of sessions. It lives as long as one leadership: another term has another Keeper, and
// nothing one Keeper decided is valid in the term of another. Deadlines are in counted time.
type Keeper struct {
	term    uint64
	clock   clock
	fitness fitness
	started bool // the leader's own first entry is applied

	sessions map[Life]*liveness
	timers   timers
	stale    int         // timers of sessions that have ended, at most
	suspects []*liveness // due, waiting for a round that began after they fell due
	marked   []*liveness // an Expire was proposed

	waiting []waiting // KeepAlives, in order of arrival
	rounds  rounds

	tickAt    time.Duration // when the last tick was proposed
	tickStamp time.Duration // and what it was stamped with

	answers []Answer
	expire  []Life
}

// liveness is what the Keeper knows of one living session.
type liveness struct {
	terms    Terms
	deadline time.Duration // TTL after the last KeepAlive; only ever forwards
	cut      time.Duration // grace after the connection was seen closed; never if it was not, or a KeepAlive came since
	timer    time.Duration // earliest entry among the timers; always ≤ due(), or the session is among the suspects
	round    uint64        // suspects: the first round that began after it fell due; 0 = none yet
	proposed time.Duration // marked: when Expire was proposed last
	marked   bool          // never taken back within a term
	ended    bool
}

func (l *liveness) due() time.Duration { return min(l.deadline, l.cut) }

// waiting is a KeepAlive that waits for its round.
type waiting struct {
	KeepAlive
	round uint64 // that began after it arrived; 0 = none yet
}

// rounds are numbered by the Keeper. A round that was acknowledged speaks for all before it.
type rounds struct {
	begun     uint64
	begunAt   time.Duration // counted time
	done      uint64
	readIndex uint64 // of done
}

// NewKeeper returns the Keeper of the leader of this term. It holds KeepAlives back until Start.
func NewKeeper(term uint64, now time.Duration) *Keeper {
	k := &Keeper{term: term, sessions: make(map[Life]*liveness)}
	k.clock.turn, k.fitness.since = now, now
	return k
}

// Term returns the term in which everything this Keeper decides is valid.
func (k *Keeper) Term() uint64 { return k.term }

// Start begins to serve. The owner calls it when the leader's own first entry is committed and applied, with the cluster time and
// the living sessions of that state: until then an entry of an earlier term may still end a session. Each one gets its full TTL.
func (k *Keeper) Start(now, clusterTime time.Duration, living iter.Seq[Terms]) {
	at := k.clock.at(now)
	k.clock.offset = clusterTime - at
	k.started = true
	for terms := range living {
		k.add(at, terms)
	}
}

// Turn begins a turn of the owner's loop. It comes before every other input of the turn.
func (k *Keeper) Turn(now time.Duration) {
	k.fitness.turn(now, k.clock.step(now))
}

// Stamp returns the cluster time to stamp on what the leader proposes, zero before Start.
func (k *Keeper) Stamp(now time.Duration) time.Duration {
	if !k.started {
		return 0
	}
	return k.clock.at(now) + k.clock.offset
}

// KeepAlive takes one in. The owner reads now after it took the message, so that no deadline counts from before it was sent.
// The deadline moves at once, whatever becomes of the quorum round: a slow round expires nobody.
func (k *Keeper) KeepAlive(now time.Duration, ka KeepAlive) {
	if l := k.sessions[ka.Life]; l != nil {
		l.deadline = max(l.deadline, k.clock.at(now)-max(ka.Age, 0)+l.terms.TTL)
		l.cut = never
	}
	if len(k.waiting) < keepAlivesMax {
		k.waiting = append(k.waiting, waiting{KeepAlive: ka})
	}
}

// Disconnected takes the report of a node that saw the connection of a session close, after the KeepAlives it still had of it.
// The session expires its grace later, unless a KeepAlive arrives from anywhere. Without a grace it means nothing.
func (k *Keeper) Disconnected(now time.Duration, life Life) {
	l := k.sessions[life]
	if l == nil || l.terms.Grace == 0 || l.cut != never {
		return
	}
	l.cut = k.clock.at(now) + l.terms.Grace
	if l.cut < l.timer && l.timer != never {
		k.timers.push(timer{at: l.cut, l: l})
		l.timer = l.cut
	}
}

// Opened tells that an applied entry opened a session.
func (k *Keeper) Opened(now time.Duration, terms Terms) {
	if k.started {
		k.add(k.clock.at(now), terms)
	}
}

// Ended tells that an applied entry ended a session.
func (k *Keeper) Ended(life Life) {
	if l := k.sessions[life]; l != nil {
		l.ended = true
		delete(k.sessions, life)
		if k.stale++; k.stale > len(k.sessions)+staleMax {
			k.timers, k.stale = k.timers.current(), 0
		}
	}
}

// RoundDone tells that a quorum acknowledged this round, and its read index.
func (k *Keeper) RoundDone(round, readIndex uint64) {
	if round > k.rounds.done && round <= k.rounds.begun {
		k.rounds.done, k.rounds.readIndex = round, readIndex
	}
}

func (k *Keeper) add(at time.Duration, terms Terms) {
	if k.sessions[terms.Life] != nil {
		return
	}
	l := &liveness{terms: terms, deadline: at + terms.TTL, cut: never}
	l.timer = l.deadline
	k.sessions[terms.Life] = l
	k.timers.push(timer{at: l.timer, l: l})
}
