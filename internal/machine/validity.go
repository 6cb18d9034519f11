package machine

import "time"

// maxUnanswered bounds the KeepAlives whose send times are remembered. At five a TTL over two connections more than
// twenty of them cannot be of use: an answer to an older one would not move validity beyond the present.
const maxUnanswered = 32

// validity is the client's side of the session's deadline.
//
//	0 <= len(sent) <= maxUnanswered; sent[i].number < sent[i+1].number; sent[i].at <= sent[i+1].at
type validity struct {
	reach  time.Duration // how far one confirmation carries, from its send time
	margin time.Duration
	until  time.Duration
	number uint64 // of the newest KeepAlive
	sent   []sentKeepAlive

	tied   bool          // offset is known
	offset time.Duration // an upper bound of (cluster time − own clock) at the send time that until rests on
}

// sentKeepAlive remembers the clock as it was before KeepAlive number was handed to slot.
type sentKeepAlive struct {
	number uint64
	at     time.Duration
	slot   Slot
}

// newValidity returns the rules for a session that the cluster ends span after it received a KeepAlive.
// The factor 0.99 is the drift of client and leader together, the margin is for the client's own slowness.
func newValidity(span time.Duration) validity {
	margin := min(span/10, time.Second)
	return validity{reach: span/100*99 - margin, margin: margin}
}

// send numbers a KeepAlive that is about to be handed to slot.
func (v *validity) send(now time.Duration, slot Slot) uint64 {
	v.number++
	if len(v.sent) == maxUnanswered {
		v.sent = append(v.sent[:0], v.sent[1:]...)
	}
	v.sent = append(v.sent, sentKeepAlive{number: v.number, at: now, slot: slot})
	return v.number
}

// confirm takes the answer to KeepAlive number. It reports false for one that is not (or no longer) waited for.
func (v *validity) confirm(number uint64, cluster time.Duration) (sentKeepAlive, bool) {
	for i, k := range v.sent {
		if k.number != number {
			continue
		}
		v.extend(k.at, cluster)
		v.forget(i, k.at)
		return k, true
	}
	return sentKeepAlive{}, false
}

// forget drops the KeepAlive at index i and those that were sent no later: their answers could not move validity.
func (v *validity) forget(i int, at time.Duration) {
	kept := v.sent[:0]
	for j, k := range v.sent {
		if j != i && k.at > at {
			kept = append(kept, k)
		}
	}
	v.sent = kept
}

// extend moves validity to what a confirmation of something sent at the given time carries, only ever forwards.
func (v *validity) extend(sent, cluster time.Duration) {
	if sent+v.reach <= v.until {
		return
	}
	v.until = sent + v.reach
	v.tied = cluster > 0
	v.offset = cluster - sent
}

// jeopardy is the time from which on more than half of what a confirmation carries is used up.
func (v *validity) jeopardy() time.Duration { return v.until - v.reach/2 }

// stoodStill reports whether cluster time, told by a message taken at now, has gained more than drift and margin over
// the own clock since the send time that validity rests on. Cluster time is never fast, and a message only makes it
// old. So the own clock did not count a stop, as a hypervisor's, and validity may have ended behind its back.
func (v *validity) stoodStill(now, cluster time.Duration) bool {
	drift := (now - (v.until - v.reach)) / 100
	return v.tied && cluster > 0 && cluster-now > v.offset+v.margin+drift
}

// next returns the first KeepAlive after a number that was handed to slot and is not answered, and when; 0 if there is none.
func (v *validity) next(slot Slot, after uint64) (number uint64, at time.Duration) {
	for _, k := range v.sent {
		if k.slot == slot && k.number > after {
			return k.number, k.at
		}
	}
	return 0, 0
}
