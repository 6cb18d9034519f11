package tenure

import (
	"context"
	"sync"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
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

func (t *Tenure) present() *Reign {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.reign
}

// leadership is what the loop owns during one reign.
type leadership struct {
	*Tenure
	reign *Reign
	wg    sync.WaitGroup
}

// lead takes turns until the reign is over or ctx ends.
func (t *Tenure) lead(ctx context.Context, r *Reign) {
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
		if d.Over {
			return
		}
		l.do(ctx, d)
		next = last.Add(d.Wait)
		timer.Reset(time.Until(next))
	}
}

// decide takes the reign's turn, with the table as it is at one entry.
func (l *leadership) decide() (d Decision) {
	l.o.State.View(func(table *locktable.Table) {
		l.mu.Lock()
		defer l.mu.Unlock()
		d = l.reign.Decide(l.now(), l.applied, table)
	})
	return d
}

// do carries out a decision.
func (l *leadership) do(ctx context.Context, d Decision) {
	if d.Began {
		l.o.Logger.Info("serving as leader", "term", l.reign.term, "sessions", d.Sessions)
		l.o.Events.began(l.reign.term, d.Sessions)
		l.begin()
	}
	if d.Late > 0 {
		l.o.Logger.Warn("the leader's loop was late; sessions are given the time", "term", l.reign.term, "by", d.Late)
		l.o.Events.late(d.Late)
	}
	if d.Round != 0 {
		l.wg.Go(func() { l.round(ctx, d.Round) })
	}
	if len(d.Answers) > 0 {
		l.o.Answer(d.Clock, d.Answers)
	}
	if d.Expiring {
		l.wg.Go(func() { l.expire(ctx) })
	}
	if d.Tick {
		l.wg.Go(func() { l.tick(ctx) })
	}
	if d.Unfit {
		l.wg.Go(func() { l.resign(ctx) })
	}
}
