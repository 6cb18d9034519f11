package session

import (
	"slices"
	"time"
)

// Output decides what is to be done. The owner calls it last in a turn, when it has taken in everything that had arrived, and after
// everything that happened between two turns. Applied is the index up to which the leader has applied the log, work what its state
// has to do.
func (k *Keeper) Output(now time.Duration, applied uint64, work Work) Output {
	out := Output{Unfit: k.fitness.unfit, Wake: k.clock.turn + TurnMax}
	k.fitness.unfit = false
	if !k.started {
		return out
	}
	at := k.clock.at(now)
	k.findDue(at)
	out.Answers = k.answer(applied)
	out.Expire = k.judge(at)
	out.Round = k.beginRound(at)
	out.Tick = k.tick(at, work)
	if next, ok := k.timers.first(); ok {
		out.Wake = min(out.Wake, k.clock.when(next))
	}
	if next := work.Next - k.clock.offset; work.Pending && next > at {
		out.Wake = min(out.Wake, k.clock.when(next))
	}
	out.Wake = max(out.Wake, now)
	return out
}

// findDue moves the sessions whose time is up among the suspects. Deadlines move without touching their timers, so a timer that
// fires early is set again.
func (k *Keeper) findDue(at time.Duration) {
	for {
		first, ok := k.timers.first()
		if !ok || first > at {
			return
		}
		t := k.timers.pop()
		l := t.l
		if l.ended || t.at != l.timer {
			continue
		}
		if l.due() > at {
			k.arm(l)
			continue
		}
		l.timer, l.round = never, 0
		k.suspects = append(k.suspects, l)
	}
}

func (k *Keeper) arm(l *liveness) {
	l.timer = l.due()
	k.timers.push(timer{at: l.timer, l: l})
}

// answer answers the KeepAlives whose round was acknowledged. That a life is unknown can only be said once everything up to
// the round's read index is applied here: before that it may be an Open that this node is late to see. The life may have lived at the
// read index and ended since, so the answer names what is applied here.
func (k *Keeper) answer(applied uint64) []Answer {
	k.answers = k.answers[:0]
	k.waiting = slices.DeleteFunc(k.waiting, func(w waiting) bool {
		if w.round == 0 || w.round > k.rounds.done {
			return false
		}
		a := Answer{KeepAlive: w.KeepAlive, Verdict: Renewed, ReadIndex: k.rounds.readIndex}
		l := k.sessions[w.Life]
		if l == nil {
			if applied < k.rounds.readIndex {
				return false
			}
			a.Verdict, a.ReadIndex = Unknown, applied
		} else if l.marked {
			a.Verdict = NotRenewed
		}
		k.answers = append(k.answers, a)
		return true
	})
	return k.answers
}

// judge ends the suspects whose round is done and that no KeepAlive has saved by then, and proposes again what is not applied.
func (k *Keeper) judge(at time.Duration) []Life {
	k.expire = k.expire[:0]
	k.suspects = slices.DeleteFunc(k.suspects, func(l *liveness) bool {
		switch {
		case l.ended:
		case l.due() > at:
			k.arm(l)
		case l.round != 0 && l.round <= k.rounds.done:
			l.marked, l.proposed = true, at
			k.marked = append(k.marked, l)
			k.expire = append(k.expire, l.terms.Life)
		default:
			return false
		}
		return true
	})
	k.marked = slices.DeleteFunc(k.marked, func(l *liveness) bool {
		if !l.ended && at-l.proposed >= retryAfter {
			l.proposed = at
			k.expire = append(k.expire, l.terms.Life)
		}
		return l.ended
	})
	return k.expire
}

// beginRound begins one quorum round for everything that needs one, if none is on its way.
func (k *Keeper) beginRound(at time.Duration) uint64 {
	r := &k.rounds
	if r.done < r.begun && at-r.begunAt < roundRetry {
		return 0
	}
	needed := false
	next := r.begun + 1
	for i := len(k.waiting) - 1; i >= 0 && k.waiting[i].round == 0; i-- {
		k.waiting[i].round, needed = next, true
	}
	for _, l := range k.suspects {
		if l.round == 0 {
			l.round, needed = next, true
		}
	}
	if !needed && (r.done == r.begun || !k.awaits()) {
		return 0
	}
	r.begun, r.begunAt = next, at
	return next
}

// awaits reports whether anything still waits for a round that was begun.
func (k *Keeper) awaits() bool {
	return len(k.suspects) > 0 || slices.ContainsFunc(k.waiting, func(w waiting) bool { return w.round > k.rounds.done })
}

// tick asks for a tick when something is due, and once a second while anything will be, so that little of the idle time is lost
// when the leader changes. One tick is on its way at a time.
func (k *Keeper) tick(at time.Duration, work Work) bool {
	stamp := at + k.clock.offset
	wanted := work.Left || work.Pending && (work.Next <= stamp || stamp-work.Clock >= tickEvery)
	onItsWay := work.Clock < k.tickStamp && at-k.tickAt < retryAfter
	if !wanted || onItsWay {
		return false
	}
	k.tickAt, k.tickStamp = at, stamp
	return true
}
