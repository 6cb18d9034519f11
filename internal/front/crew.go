package front

import (
	"context"
	"runtime"
	"slices"
	"sync"
)

// Sizes of a crew.
const (
	crewMost  = 4  // goroutines
	shiftMost = 64 // commands, and streams, that one of them takes at a time
)

// crew does what those who find it to be done must not be held up by: it gives decided commands their verdicts, and writes what
// connections have queued, as far as that takes no waiting. A few goroutines do it for all connections, so that one wake-up serves
// all who are answered together.
type crew struct {
	f    *Front
	wake chan struct{} // has room for one: there is something to do

	mu      sync.Mutex // guards the fields below; the last one to be taken
	decided []*command
	ready   []*stream // have something to write, and nobody who does
	stopped bool
}

func (c *crew) init(f *Front) { c.f, c.wake = f, make(chan struct{}, 1) }

// size is how many goroutines there are: one cannot keep many processors busy.
func (c *crew) size() int { return min(crewMost, max(1, runtime.GOMAXPROCS(0)/2)) }

// settle takes a command that was decided. It does not block.
func (c *crew) settle(cmd *command) {
	c.mu.Lock()
	stopped := c.stopped
	if !stopped {
		c.decided = append(c.decided, cmd)
	}
	c.mu.Unlock()
	if stopped {
		c.f.settle(nobody(), cmd)
		return
	}
	signal(c.wake)
}

// write takes a stream that has something to write. It does not block.
func (c *crew) write(s *stream) {
	c.mu.Lock()
	stopped := c.stopped
	if !stopped {
		c.ready = append(c.ready, s)
	}
	c.mu.Unlock()
	if stopped {
		go s.run()
		return
	}
	signal(c.wake)
}

// run works until ctx ends.
func (c *crew) run(ctx context.Context) {
	var commands []*command
	var streams []*stream
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		for {
			commands, streams = c.take(commands, streams)
			if len(commands)+len(streams) == 0 {
				break
			}
			for _, cmd := range commands {
				c.f.settle(ctx, cmd)
			}
			for _, s := range streams {
				s.attend()
			}
		}
	}
}

// take returns some of what is to be done, in the slices given. Streams come only when no more commands wait, so that answers which
// belong together are written together. If more is left, another goroutine is woken.
func (c *crew) take(commands []*command, streams []*stream) ([]*command, []*stream) {
	clear(commands)
	clear(streams)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(len(c.decided), shiftMost)
	commands = append(commands[:0], c.decided[:n]...)
	c.decided = slices.Delete(c.decided, 0, n)
	n = 0
	if len(c.decided) == 0 && len(commands) == 0 {
		n = min(len(c.ready), shiftMost)
	}
	streams = append(streams[:0], c.ready[:n]...)
	c.ready = slices.Delete(c.ready, 0, n)
	if len(c.decided)+len(c.ready) > 0 && (len(commands) == shiftMost || len(streams) == shiftMost) {
		signal(c.wake)
	}
	return commands, streams
}

// stop lets nothing lie. What comes later is done by whoever brings it, and by goroutines of the streams' own.
func (c *crew) stop() {
	c.mu.Lock()
	decided, ready := c.decided, c.ready
	c.decided, c.ready, c.stopped = nil, nil, true
	c.mu.Unlock()
	for _, cmd := range decided {
		c.f.settle(nobody(), cmd)
	}
	for _, s := range ready {
		go s.run()
	}
}

// nobody is the context of what is done when nobody waits for it any more.
func nobody() context.Context { return context.Background() } //nolint:forbidigo // see above
