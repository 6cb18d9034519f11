package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	// packetBytes is the longest datagram.
	packetBytes = 64 << 10
	// socketBuffer is what the kernel is asked to keep while the process is busy.
	socketBuffer = 2 << 20
	// listenPause is how long a listener that fails rests.
	listenPause = 100 * time.Millisecond
)

// transport is memberlist's, over a socket and a listener that are given, so that it runs in a bubble too. Nothing that it hands over
// waits for a memberlist that has ended.
type transport struct {
	packets  net.PacketConn
	streams  net.Listener
	dial     func(address string, most time.Duration) (net.Conn, error)
	address  netip.AddrPort
	log      *slog.Logger
	packetCh chan *memberlist.Packet
	streamCh chan net.Conn
	stop     context.CancelFunc
	stopped  <-chan struct{} // closed by stop
	running  sync.WaitGroup
}

var _ memberlist.Transport = (*transport)(nil)

// newTransport begins at once, and outlives ctx until Shutdown: memberlist says goodbye over it.
func newTransport(ctx context.Context, o *Options, address netip.AddrPort) *transport {
	t := &transport{
		packets: o.Packets, streams: o.Streams, address: address, log: o.Logger,
		packetCh: make(chan *memberlist.Packet), streamCh: make(chan net.Conn),
	}
	life, stop := context.WithCancel(context.WithoutCancel(ctx))
	t.stop, t.stopped = stop, life.Done()
	t.dial = func(address string, most time.Duration) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(life, most)
		defer cancel()
		return o.Dial(ctx, address)
	}
	if c, ok := t.packets.(interface{ SetReadBuffer(int) error }); ok {
		for size := socketBuffer; size > packetBytes && c.SetReadBuffer(size) != nil; size /= 2 {
		}
	}
	t.running.Go(t.receive)
	t.running.Go(t.accept)
	return t
}

// receive hands over datagrams until the transport ends.
func (t *transport) receive() {
	b := make([]byte, packetBytes)
	for {
		n, from, err := t.packets.ReadFrom(b)
		if err != nil {
			if !t.again(err) {
				return
			}
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), b[:n]...), From: from, Timestamp: time.Now()}
		if n == 0 {
			continue
		}
		select {
		case t.packetCh <- p:
		case <-t.stopped:
			return
		}
	}
}

func (t *transport) accept() {
	for {
		conn, err := t.streams.Accept()
		if err != nil {
			if !t.again(err) {
				return
			}
			continue
		}
		select {
		case t.streamCh <- conn:
		case <-t.stopped:
			_ = conn.Close() // nobody will ever read it
			return
		}
	}
}

// again rests after an error, and reports whether to go on.
func (t *transport) again(err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	t.log.Warn("the gossip port", slog.Any("error", err))
	pause := time.NewTimer(listenPause)
	defer pause.Stop()
	select {
	case <-pause.C:
		return true
	case <-t.stopped:
		return false
	}
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.address.Addr().AsSlice(), int(t.address.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, address string) (time.Time, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return time.Time{}, fmt.Errorf("gossip goes to addresses only: %w", err)
	}
	_, err = t.packets.WriteTo(b, packetAddr(t.packets, to))
	return time.Now(), err
}

// packetAddr is what the socket understands.
func packetAddr(c net.PacketConn, to netip.AddrPort) net.Addr {
	if _, ok := c.LocalAddr().(*net.UDPAddr); ok {
		return net.UDPAddrFromAddrPort(to)
	}
	return plainAddr(to.String())
}

// plainAddr is an address of a network that is not the kernel's.
type plainAddr string

// Network implements net.Addr.
func (plainAddr) Network() string { return "gossip" }

// String implements net.Addr.
func (a plainAddr) String() string { return string(a) }

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packetCh }

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(address string, timeout time.Duration) (net.Conn, error) {
	return t.dial(address, timeout)
}

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streamCh }

// Shutdown implements memberlist.Transport: it closes the socket and the listener.
func (t *transport) Shutdown() error {
	t.stop()
	err := errors.Join(t.packets.Close(), t.streams.Close())
	t.running.Wait()
	return err
}
