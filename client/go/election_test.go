//go:build unix

package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

// TestCampaign leads, proclaims, and resigns.
func TestCampaign(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		a, b, ctx := w.client("a"), w.client("b"), t.Context()
		if _, err := b.Leader(ctx, "e"); !errors.Is(err, client.ErrNoLeader) {
			t.Errorf("nobody leads: %v", err)
		}
		l := got[*client.Leadership](t)(a.Campaign(ctx, "e", []byte("v1")))
		if leader := got[client.Leader](t)(b.Leader(ctx, "e")); leader.Identity != "a" || string(leader.Value) != "v1" || leader.Token != l.Token() {
			t.Errorf("leader %+v", leader)
		}
		must(t, l.Proclaim(ctx, []byte("v2")))
		if leader := got[client.Leader](t)(b.Leader(ctx, "e")); string(leader.Value) != "v2" || leader.Session != a.Session().ID() {
			t.Errorf("leader %+v", leader)
		}
		must(t, l.Resign(ctx))
		if err := l.Proclaim(ctx, nil); !errors.Is(err, client.ErrReleased) {
			t.Errorf("proclaim after resign: %v", err)
		}
	})
}

// TestRunElection hands the leadership on among three candidates when they stop, fail and are cut off; never do two lead at a time.
func TestRunElection(t *testing.T) {
	bubble(t, 3, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var log []string
		leaders := map[string]*client.Leadership{} // whose Lead runs
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			log = append(log, fmt.Sprintf(format, args...))
		}
		failed := errors.New("failed")
		next := make(chan string)
		ended := make(chan error, 3)
		run := func(ctx context.Context, name string, lead func(ctx context.Context) error) {
			c := w.client(name)
			ended <- c.RunElection(ctx, "e", client.Callbacks{
				Lead: func(ctx context.Context, l *client.Leadership) error {
					mu.Lock()
					for other, leads := range leaders {
						if leads.Err() == nil { // one that has lost it may be on its way out
							t.Errorf("%s leads beside %s", name, other)
						}
					}
					leaders[name] = l
					mu.Unlock()
					note("%s leads", name)
					next <- name
					if err := l.Proclaim(ctx, []byte(name)); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
					err := lead(ctx)
					mu.Lock()
					delete(leaders, name)
					mu.Unlock()
					return err
				},
				Lost: func(err error) { note("%s lost: %v", name, err) },
			})
		}
		ctx, stop := context.WithCancelCause(t.Context())
		turn := 0
		go run(ctx, "x", func(ctx context.Context) error {
			if turn++; turn == 1 {
				return failed
			}
			<-ctx.Done()
			return nil
		})
		if got := <-next; got != "x" {
			t.Fatalf("%s leads first", got)
		}
		if got := <-next; got != "x" {
			t.Fatalf("%s leads after a failure of x, alone", got)
		}
		go run(t.Context(), "y", func(ctx context.Context) error {
			w.cut("y")
			<-ctx.Done()
			defer w.heal("y")
			return client.ErrStop
		})
		time.Sleep(time.Second)
		go run(t.Context(), "z", func(context.Context) error { return client.ErrStop })
		time.Sleep(time.Second)
		enough := errors.New("enough")
		stop(enough)
		if err := <-ended; !errors.Is(err, enough) {
			t.Errorf("x ends with %v", err)
		}
		for _, want := range []string{"y", "z"} {
			if got := <-next; got != want {
				t.Errorf("%s leads, not %s", got, want)
			}
			if err := <-ended; err != nil {
				t.Errorf("%s ends with %v", want, err)
			}
		}
		want := []string{
			"x leads", "x lost: failed", "x leads", "x lost: enough", "y leads", "y lost: " + client.ErrSessionExpired.Error(), "z leads",
			"z lost: " + client.ErrStop.Error(),
		}
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(log)
		slices.Sort(want) // y learns of its loss while z leads already
		if !slices.Equal(log, want) {
			t.Errorf("log %q", log)
		}
	})
}

// TestElectionRefused ends when the cluster refuses for good.
func TestElectionRefused(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		c := w.client("a")
		mustLock(t, c, "e", client.Slots(1))
		lead := func(context.Context, *client.Leadership) error { return errors.New("it leads") }
		if err := c.RunElection(t.Context(), "e", client.Callbacks{Lead: lead}); !errors.Is(err, client.ErrWrongKind) {
			t.Errorf("ended with %v", err)
		}
	})
}
