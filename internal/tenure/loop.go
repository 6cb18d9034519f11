package tenure

import (
	"context"
	"sync"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

const (
	// pace is how long turns are apart that are taken for KeepAlives and their rounds: a round costs a message to every
	// node, and the answer to a KeepAlive is in no hurry, as its validity counts from its sending.
	pace = 10 * time.Millisecond
	// roundsMax bounds the quorum rounds on their way. Without a quorum they do not come back before leadership is lost.
	roundsMax = 8
)

// Run does the leader's work whenever the node leads. It returns nil when ctx has ended and all that it started too.
func (t *Tenure) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.wake:
		case <-t.soon:
		}
		select {
		case <-ctx.Done():
			return nil
		default: // not even when there is something to do
		}
		if r := t.present(); r != nil {
			t.lead(ctx, r)
			t.o.Events.ended(r.term)
			signal(t.wake) // the next one may have begun
		}
	}
}

func (t *Tenure) present() *reign {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reign
}

// leadership is what the loop owns during one reign.
type leadership struct {
	*Tenure
	reign *reign
	wg    sync.WaitGroup
}

// lead takes turns until the reign is over or ctx ends.
func (t *Tenure) lead(ctx context.Context, r *reign) {
	l := &leadership{Tenure: t, reign: r}
	defer l.wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last, next time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		case <-t.soon:
			if early := last.Add(pace); time.Now().Before(early) {
				if early.Before(next) {
					next = early
					timer.Reset(time.Until(next))
				}
				continue
			}
		}
		last = time.Now()
		d := l.decide()
		if d.over {
			return
		}
		l.do(ctx, d)
		next = last.Add(d.wait)
		timer.Reset(time.Until(next))
	}
}

// decision is what a turn has come to: all that is to be done without the locks.
type decision struct {
	session.Output
	over     bool
	clock    time.Duration // cluster time
	wait     time.Duration // until the next turn
	late     time.Duration // since the last turn, if it was late
	began    bool          // the Keeper has just started
	sessions int           // with so many
	expiring bool          // somebody must propose what is due
}

// decide takes the Keeper's turn, with the table as it is at one entry.
func (l *leadership) decide() (d decision) {
	l.o.State.View(func(table *locktable.Table) {
		l.mu.Lock()
		defer l.mu.Unlock()
		r := l.reign
		if r.over {
			d.over = true
			return
		}
		now := l.now()
		if by := now - r.turned; by > session.StallMax {
			d.late = by
		}
		r.keeper.Turn(now)
		r.turned = now
		if !r.served && l.applied.Term == r.term {
			r.serve(now, table)
			d.began = true
			_, d.sessions, _ = table.Len()
		}
		d.Output = r.keeper.Output(now, uint64(l.applied.Index), table.Work())
		d.clock, d.wait = r.keeper.Stamp(now), d.Wake-now
		l.book(&d)
	})
	return d
}

// book notes under the lock what do is about to begin, and takes out what is on its way already: the Keeper asks again.
func (l *leadership) book(d *decision) {
	r := l.reign
	if d.Round != 0 && r.rounds >= roundsMax {
		d.Round = 0
	}
	if d.Round != 0 {
		r.rounds++
	}
	d.Tick = d.Tick && !r.ticking
	r.ticking = r.ticking || d.Tick
	r.expire(d.Expire)
	d.expiring = len(r.due) > 0 && !r.ending
	r.ending = r.ending || d.expiring
}

// do carries out a decision.
func (l *leadership) do(ctx context.Context, d decision) {
	if d.began {
		l.o.Logger.Info("serving as leader", "term", l.reign.term, "sessions", d.sessions)
		l.o.Events.began(l.reign.term, d.sessions)
	}
	if d.late > 0 {
		l.o.Logger.Warn("the leader's loop was late; sessions are given the time", "term", l.reign.term, "by", d.late)
		l.o.Events.late(d.late)
	}
	if d.Round != 0 {
		l.wg.Go(func() { l.round(ctx, d.Round) })
	}
	if len(d.Answers) > 0 {
		l.o.Answer(d.clock, d.Answers)
	}
	if d.expiring {
		l.wg.Go(func() { l.expire(ctx) })
	}
	if d.Tick {
		l.wg.Go(func() { l.tick(ctx) })
	}
	if d.Unfit {
		l.wg.Go(func() { l.resign(ctx) })
	}
}
