package endurance

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

// busyHolders are clients that hold and clients that take turns.
type busyHolders struct {
	reader *client.Client
	held   []*client.Lock
	stop   func() int64

	mu     sync.Mutex
	events []event
}

// note takes something that should not happen to a client.
func (h *busyHolders) note(from time.Time, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event{what, from, time.Now(), clientBears})
}

func (h *busyHolders) noted() []event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

func holdBusily(t *testing.T, endpoints []string) *busyHolders {
	t.Helper()
	open := func() *client.Client {
		c, err := client.New(client.Config{Endpoints: endpoints, TTL: busyTTL})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), busyTTL)
			defer cancel()
			_ = c.Close(ctx) // the nodes may be gone by now
		})
		return c
	}
	h := &busyHolders{reader: open()}
	for i := range 20 {
		l, err := open().Lock(t.Context(), fmt.Sprint("held/", i))
		if err != nil {
			t.Fatal(err)
		}
		h.held = append(h.held, l)
		go func() {
			<-l.Context().Done()
			if err := l.Err(); err != nil {
				h.note(time.Now(), fmt.Sprintf("%s: %v", l.Name(), err))
			}
		}()
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done []chan struct{}
	var pairs atomic.Int64
	for i := range 4 {
		c, ended := open(), make(chan struct{})
		done = append(done, ended)
		go func() {
			defer close(ended)
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for ctx.Err() == nil {
				began := time.Now()
				if err := turn(c, fmt.Sprint("turn/", i%2)); err != nil {
					h.note(began, err.Error())
				}
				pairs.Add(1)
				select {
				case <-pace.C:
				case <-ctx.Done():
				}
			}
		}()
	}
	h.stop = func() int64 {
		cancel()
		for _, ended := range done {
			<-ended
		}
		return pairs.Load()
	}
	return h
}

// turn takes a lock and gives it back.
func turn(c *client.Client, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), busyTTL)
	defer cancel()
	l, err := c.Lock(ctx, name)
	if err == nil {
		err = l.Unlock(ctx)
	}
	return err
}

// finish ends the turns, and requires that what was held is, but for what was noted as lost.
func (h *busyHolders) finish(t *testing.T) int64 {
	t.Helper()
	pairs := h.stop()
	for _, l := range h.held {
		check, err := h.reader.CheckToken(t.Context(), l.Name(), l.Token())
		if err != nil {
			t.Fatal(err)
		}
		if l.Err() == nil && check.Validity != client.TokenValid {
			t.Errorf("%s: %v, its token is %v", l.Name(), l.Err(), check.Validity)
		}
	}
	return pairs
}
