package nemesis

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestNemesisControl stops processes of clients while one of them stands between the read and the write of a counter, until somebody else has
// been granted its lock and has written. A register that takes every write must lose some, or nothing that the scenarios say of fencing means
// anything; one that checks the tokens refuses each of them and loses none.
func TestNemesisControl(t *testing.T) {
	need(t)
	const overtaken = 3
	for _, fenced := range []bool{false, true} {
		t.Run(fmt.Sprint("fenced=", fenced), func(t *testing.T) {
			a := newArena(t, keep(t), 1, fenced, func(c *workerConfig) {
				c.Only, c.Group, c.Clients, c.TTL = "counter", 0, 2, time.Second
				c.Careless, c.Think, c.Epoch = true, 10*time.Millisecond, time.Hour
			})
			ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Minute, errors.New("no holder was overtaken for too long"))
			defer cancel()
			seen := a.registers.watch()
			for n := 0; n < overtaken; {
				late, err := a.overtake(ctx, a.workers[n%workerCount], seen)
				if err != nil {
					t.Fatal(err)
				}
				if late == nil {
					continue // it was quicker than the signal
				}
				if late.stale != fenced {
					t.Errorf("the write of the overtaken holder: %+v", *late)
				}
				n++
			}
			for _, w := range a.workers {
				w.kill()
			}
			writes, lost, stale := a.registers.lost()
			t.Logf("%d holders overtaken, %d writes, %d lost, %d accesses refused", overtaken, writes, lost, stale)
			if want := int64(overtaken); !fenced && lost < want || fenced && (lost != 0 || stale < want) {
				t.Errorf("%d writes were lost and %d accesses refused", lost, stale)
			}
		})
	}
}

// overtake stops a worker when it has read a counter, and lets it go on when another holder has written it. It returns the write that then
// comes late; nil if it came before the worker was stopped.
func (a *arena) overtake(ctx context.Context, w *crew, seen <-chan sighting) (*sighting, error) {
	host := a.lab.Addr(w.host).String()
	next := func(is func(sighting) bool) (sighting, error) {
		for {
			select {
			case s := <-seen:
				if is(s) {
					return s, nil
				}
			case <-ctx.Done():
				return sighting{}, context.Cause(ctx)
			}
		}
	}
	read, err := next(func(s sighting) bool { return s.host == host && !s.Write && !s.stale })
	if err != nil {
		return nil, err
	}
	w.signal(syscall.SIGSTOP)
	defer w.signal(syscall.SIGCONT)
	own := func(s sighting) bool {
		return s.host == host && s.Write && s.Name == read.Name && s.Token == read.Token
	}
	first, err := next(func(s sighting) bool { return own(s) || s.Write && s.Name == read.Name && s.Token > read.Token })
	if err != nil || own(first) {
		return nil, err
	}
	w.signal(syscall.SIGCONT)
	late, err := next(own)
	return &late, err
}
