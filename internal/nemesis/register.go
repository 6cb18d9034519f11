package nemesis

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/lockd/lockd/client/go/guard"
)

// registerLimit bounds one exchange with a register.
const registerLimit = 2 * time.Second

// access is a request to a register, one JSON text in a line.
type access struct {
	Name         string
	Write        bool
	Value        uint64 // to be written
	Floor, Token uint64 // of the lock that it is done under
}

// answer is what a register says: the value that it has now.
type answer struct {
	Value uint64
	Order uint64 // of a write: its place among all writes of the name, from 1
	Stale bool   // it was refused, as its token is too old
}

// registers is the resource that the counters protect: numbers by name, kept by a server of this process. A fenced one checks the token
// of every access, reads too: a holder that has read must know that no older holder writes afterwards.
type registers struct {
	fenced bool
	gate   guard.Gate

	mu      sync.Mutex // guards the fields below
	values  map[string]answer
	stale   int64
	watcher chan<- sighting // nil: nobody watches
}

// sighting is one access, as the server saw it.
type sighting struct {
	access
	host  string // that it came from
	stale bool   // it was refused
}

func newRegisters(fenced bool) *registers {
	return &registers{fenced: fenced, values: map[string]answer{}}
}

// serve answers everybody who connects, until the listener is closed.
func (r *registers) serve(l net.Listener) {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		connections.Go(func() { r.converse(c) })
	}
}

// converse answers one connection until it is closed, says nonsense, or says nothing for a while.
func (r *registers) converse(c net.Conn) {
	defer func() { _ = c.Close() }()
	in, out := json.NewDecoder(bufio.NewReader(c)), json.NewEncoder(c)
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	for {
		_ = c.SetDeadline(time.Now().Add(5 * registerLimit))
		var a access
		if err := in.Decode(&a); err != nil {
			return
		}
		if err := out.Encode(r.do(host, a)); err != nil {
			return
		}
	}
}

func (r *registers) do(host string, a access) answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.values[a.Name]
	switch {
	case r.fenced && r.gate.Admit(a.Name, a.Floor, a.Token) != nil:
		r.stale++
		now.Stale = true
	case a.Write:
		now = answer{Value: a.Value, Order: now.Order + 1}
		r.values[a.Name] = now
	}
	if r.watcher != nil {
		select {
		case r.watcher <- sighting{a, host, now.Stale}:
		default: // it is too slow, and does not want all of them
		}
	}
	return now
}

// watch returns a channel of what happens from now on.
func (r *registers) watch() <-chan sighting {
	seen := make(chan sighting, 256)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.watcher = seen
	return seen
}

// lost returns how many accepted writes left no trace, as each adds one to what it has read, and how many accesses were refused.
func (r *registers) lost() (writes, lost, stale int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.values {
		writes += int64(v.Order)
		lost += int64(v.Order) - int64(v.Value)
	}
	return writes, lost, r.stale
}

// register is a client's connection to the registers. It is for one goroutine.
type register struct {
	address string
	conn    net.Conn // nil: none
	in      *json.Decoder
}

// do asks once. After an error nobody knows whether it was done.
func (r *register) do(ctx context.Context, a access) (answer, error) {
	var reply answer
	err := r.connect(ctx)
	if err == nil {
		err = errors.Join(r.conn.SetDeadline(time.Now().Add(registerLimit)), json.NewEncoder(r.conn).Encode(a))
	}
	if err == nil {
		err = r.in.Decode(&reply)
	}
	if err != nil {
		r.close()
		return reply, fmt.Errorf("register %s: %w", a.Name, err)
	}
	return reply, nil
}

func (r *register) connect(ctx context.Context) error {
	if r.conn != nil {
		return nil
	}
	conn, err := (&net.Dialer{Timeout: registerLimit}).DialContext(ctx, "tcp", r.address)
	if err != nil {
		return err
	}
	r.conn, r.in = conn, json.NewDecoder(bufio.NewReader(conn))
	return nil
}

func (r *register) close() {
	if r.conn != nil {
		_ = r.conn.Close()
		r.conn = nil
	}
}
