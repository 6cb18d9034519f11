package memnet

import (
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// window is how many bytes may be on their way in one direction: sent and not yet read.
const window = 64 << 10

// pipe is one direction of a connection.
type pipe struct {
	way way

	mu      sync.Mutex // guards all below
	state   state
	flight  []segment // in the order they were sent
	size    int       // bytes of flight
	sent    end       // how the sender's end is
	read    end       // how the reader's end is
	changed chan struct{}
}

// segment is what was written at once, or the end of the stream when it has no data.
type segment struct {
	data []byte
	at   time.Time // when it arrives
}

// end is how one end of a pipe is.
type end struct {
	closed bool  // by its own side
	err    error // a reset that it has heard of
	told   bool  // a reset, or a close of the reader, that it will hear of when the way is not cut
}

func newPipe(w way, s state) *pipe { return &pipe{way: w, state: s, changed: make(chan struct{})} }

// notify wakes who waits; mu is held.
func (p *pipe) notify() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pipe) set(s state) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
	p.hear()
	p.notify()
}

// hear lets both ends learn what they were told, unless the way is cut; mu is held.
func (p *pipe) hear() {
	if p.state.cut {
		return
	}
	for _, e := range []*end{&p.sent, &p.read} {
		if e.told && e.err == nil {
			e.err = syscall.ECONNRESET
		}
	}
}

// reset breaks the pipe from the side of a host: that side knows at once.
func (p *pipe) reset(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent.told, p.read.told = true, true
	if p.way.from == host {
		p.sent.err = syscall.ECONNRESET
	}
	if p.way.to == host {
		p.read.err = syscall.ECONNRESET
	}
	p.hear()
	p.notify()
}

// put takes as much of b as there is room for.
func (p *pipe) put(b []byte) (n int, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.sent.closed:
		return 0, nil, net.ErrClosed
	case p.sent.err != nil:
		return 0, nil, p.sent.err
	}
	n = min(len(b), window-p.size)
	if n > 0 {
		p.flight = append(p.flight, segment{data: append([]byte(nil), b[:n]...), at: time.Now().Add(p.state.delay)})
		p.size += n
		p.notify()
	}
	return n, p.changed, nil
}

// take reads what has arrived. When nothing has, wait is how long the first of what is on its way still needs, 0 if nothing is.
func (p *pipe) take(b []byte) (n int, wait time.Duration, changed <-chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.read.closed:
		return 0, 0, nil, net.ErrClosed
	case p.read.err != nil:
		return 0, 0, nil, p.read.err
	case len(b) == 0:
		return 0, 0, nil, nil
	case p.state.cut:
		return 0, 0, p.changed, nil
	}
	for n < len(b) && len(p.flight) > 0 {
		first := &p.flight[0]
		if wait = time.Until(first.at); wait > 0 {
			break
		}
		if len(first.data) == 0 { // stays, for the next read
			if n == 0 {
				return 0, 0, nil, io.EOF
			}
			break
		}
		m := copy(b[n:], first.data)
		n += m
		first.data = first.data[m:]
		if len(first.data) == 0 {
			p.flight = p.flight[1:]
		}
	}
	if n > 0 {
		p.size -= n
		p.notify()
	}
	return n, wait, p.changed, nil
}

// closeSent ends the stream behind what was written.
func (p *pipe) closeSent() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sent.closed {
		p.sent.closed = true
		p.flight = append(p.flight, segment{at: time.Now().Add(p.state.delay)})
		p.notify()
	}
}

// closeRead lets the sender hear that nobody reads.
func (p *pipe) closeRead() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read.closed = true
	p.sent.told = true
	p.hear()
	p.notify()
}

// over reports whether both ends are closed.
func (p *pipe) over() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.closed && p.read.closed
}
