package netlab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// mostHosts is what the addresses of one lab are enough for.
const mostHosts = 250

// Lab is a set of hosts and the switch between them. Its methods are safe for concurrent use.
type Lab struct {
	hosts  []*host
	links  [][]*link // by source and destination; nil on the diagonal
	closed chan struct{}
	loops  sync.WaitGroup

	mu   sync.Mutex // guards the fields below
	ends []context.CancelFunc
	errs []error // of the switch
}

// Need skips a test that has not been asked for by LOCKD_ROOT=1. With CI=true it is always asked for.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv("LOCKD_ROOT") != "1" && os.Getenv("CI") != "true" {
		t.Skip("LOCKD_ROOT=1 is not set: this test makes network namespaces, which needs root")
	}
}

// New opens a lab for a test, which fails if it cannot be made or its switch fails; it is closed when the test ends.
func New(t testing.TB, n int, seed uint64) *Lab {
	t.Helper()
	Need(t)
	l, err := Open(n, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("remove the network lab: %v", err)
		}
	})
	return l
}

// Open makes n hosts, 0 to n-1, each of which reaches each other at once. The seed draws which packets the faults hit. The lab has to be
// closed.
func Open(n int, seed uint64) (*Lab, error) {
	if n < 1 || n > mostHosts {
		return nil, fmt.Errorf("a network lab has 1 to %d hosts, not %d", mostHosts, n)
	}
	l := &Lab{closed: make(chan struct{})}
	for i := range n {
		h, err := newHost(netip.AddrFrom4([4]byte{198, 18, 0, byte(i + 1)}))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("make a network lab: %w", err), l.Close())
		}
		l.hosts = append(l.hosts, h)
	}
	for from := range n {
		l.links = append(l.links, make([]*link, n))
		for to := range n {
			if from != to {
				l.links[from][to] = newLink(rand.New(rand.NewPCG(seed, uint64(from*mostHosts+to))), l.writer(to))
			}
		}
	}
	for from := range n {
		l.loops.Go(func() { l.read(from) })
		for to := range n {
			if from != to {
				l.loops.Go(func() { l.links[from][to].run(l.closed) })
			}
		}
	}
	return l, nil
}

func (l *Lab) writer(to int) func([]byte) error {
	return func(packet []byte) error {
		_, err := l.hosts[to].tun.Write(packet)
		return err
	}
}

// read is the switch's port for one host, until that is closed.
func (l *Lab) read(from int) {
	buffer := make([]byte, mtu)
	for {
		n, err := l.hosts[from].tun.Read(buffer)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			l.mu.Lock()
			l.errs = append(l.errs, fmt.Errorf("host %d: %w", from, err))
			l.mu.Unlock()
			return
		}
		if to, ok := l.destination(buffer[:n]); ok && to != from {
			l.links[from][to].pass(buffer[:n], time.Now())
		}
	}
}

// destination returns the host that a packet is for. Nobody else is there to take it.
func (l *Lab) destination(packet []byte) (int, bool) {
	if !isIPv4(packet) {
		return 0, false
	}
	to := binary.BigEndian.Uint32(packet[16:])
	first := l.hosts[0].address.As4()
	i := int64(to) - int64(binary.BigEndian.Uint32(first[:]))
	return int(i), i >= 0 && i < int64(len(l.hosts))
}

// Close ends what runs in the hosts and removes them. It returns what has gone wrong with the switch, too; it is called once.
func (l *Lab) Close() error {
	l.mu.Lock()
	for _, end := range l.ends { // also those that have not entered their host yet
		end()
	}
	l.mu.Unlock()
	var err error
	for _, h := range l.hosts {
		err = errors.Join(err, h.kill())
	}
	close(l.closed)
	for _, h := range l.hosts {
		err = errors.Join(err, h.close())
	}
	l.loops.Wait()
	return errors.Join(append(l.errs, err)...)
}

// Addr returns the address of host i.
func (l *Lab) Addr(i int) netip.Addr { return l.hosts[i].address }

// In calls f on a thread of host i: the sockets that f makes, and the processes that it starts, belong there. It returns f's error.
func (l *Lab) In(i int, f func() error) error { return l.hosts[i].in(f) }

// Command prepares a process in host i, as exec.CommandContext does; its process id is that of the named program. It is killed when
// the lab is closed. One that is to end also when this process is killed has to look at its stdin, or to ask for a Pdeathsig.
func (l *Lab) Command(ctx context.Context, i int, name string, args ...string) *exec.Cmd {
	ctx, end := context.WithCancel(ctx)
	l.mu.Lock()
	l.ends = append(l.ends, end)
	l.mu.Unlock()
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + l.hosts[i].path(), "--", name}, args...)...)
}

// Dial returns a function that opens TCP connections from host i to an address and port in numbers, for goroutines of this process.
func (l *Lab) Dial(i int) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (conn net.Conn, err error) {
		if _, err := netip.ParseAddrPort(address); err != nil {
			return nil, fmt.Errorf("dial from host %d: %w", i, err)
		}
		inside := l.In(i, func() error {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp4", address)
			return err
		})
		return conn, inside
	}
}

// Listen listens for TCP connections in host i.
func (l *Lab) Listen(i int, address string) (listener net.Listener, err error) {
	err = l.In(i, func() (err error) {
		listener, err = new(net.ListenConfig).Listen(context.Background(), "tcp4", address) //nolint:forbidigo // it ends by its Close
		return err
	})
	return listener, err
}

// Set changes one direction. What is under way already arrives when it would have, unless the link is cut.
func (l *Lab) Set(from, to int, k Link) {
	l.links[from][to].set(func(is *Link) { *is = k })
}

// Split cuts both directions between hosts of different sides, and changes nothing else.
func (l *Lab) Split(sides ...[]int) {
	for i, side := range sides {
		for j, other := range sides {
			if i == j {
				continue
			}
			for _, from := range side {
				for _, to := range other {
					l.links[from][to].set(func(is *Link) { is.Cut = true })
				}
			}
		}
	}
}

// Heal makes all links pass everything, as at the start.
func (l *Lab) Heal() {
	for from := range l.hosts {
		for to := range l.hosts {
			if from != to {
				l.Set(from, to, Link{})
			}
		}
	}
}

// Between returns what has happened on one direction.
func (l *Lab) Between(from, to int) Stats { return l.links[from][to].count() }

// Stats returns what has happened on all links: a fault that hit nothing is seen.
func (l *Lab) Stats() Stats {
	var sum Stats
	for from := range l.hosts {
		for to := range l.hosts {
			if from != to {
				sum.add(l.Between(from, to))
			}
		}
	}
	return sum
}

// Reset ends all TCP connections between two hosts by a RST to each side, whatever the links do. A connection with bytes under way may
// keep one side: it is then half open.
func (l *Lab) Reset(a, b int) {
	reset(l.hosts[a].address, l.hosts[b].address, l.links[a][b], l.links[b][a])
}
