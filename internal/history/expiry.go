package history

import (
	"fmt"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
)

// expiry checks that no session ended by its time before its time: the TTL has passed since its last confirmed KeepAlive was sent. Where
// it is asked for, also that none ended too late: a dead one is gone within the TTL and a second of the last KeepAlive that it can have sent, or
// of the start of the leader that ended it.
func (w *witness) expiry(o Options) {
	if o.LeadersSkewed {
		return
	}
	began := map[uint64]int64{} // of each term
	for i := range w.log {
		if _, ok := began[w.log[i].Term]; !ok {
			began[w.log[i].Term] = w.log[i].At
		}
	}
	for life, ended := range w.ended {
		span, known := w.t.spans[life.ID]
		if ended.how != locktable.Expired || !known {
			continue
		}
		w.r.Expiries++
		e := &w.log[ended.entry]
		var confirmed, sent *renewal
		for i := range w.t.renewals[life] {
			k := &w.t.renewals[life][i]
			if k.at > 0 && k.verdict == wire.Renewed && (confirmed == nil || k.sent > confirmed.sent) {
				confirmed = k
			}
			sent = k
		}
		if confirmed != nil && e.At < confirmed.sent+int64(span/100*99) {
			w.r.add("expiry", fmt.Sprintf("session %v of %v expired %v after the sending of a KeepAlive that was confirmed", life, span,
				time.Duration(e.At-confirmed.sent)), beat{life, confirmed}, seen{"log", e})
		}
		if o.Late > 0 && sent != nil {
			w.late(beat{life, sent}, e, began[e.Term], span+time.Second+o.Late)
		}
	}
}

func (w *witness) late(last beat, e *Entry, began int64, most time.Duration) {
	if took := time.Duration(e.At - max(last.k.sent, began)); took > most {
		w.r.add("expiry", fmt.Sprintf("session %v expired %v after its last KeepAlive and the start of its leader, more than %v", last.life, took, most),
			last, seen{"log", e})
	}
}
