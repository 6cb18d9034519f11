package tcp

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/lockd/lockd/raft"
)

// Options configure a Transport. Cluster, Self and one of Listener and Listen are required.
type Options struct {
	// Cluster is the same on all nodes of one cluster and on no others.
	Cluster [16]byte
	// Self is who we are.
	Self raft.PeerID
	// Boot tells the runs of one data directory apart. Zero: drawn at random.
	Boot uint64

	// Listener takes connections; the Transport closes it. If it is nil, New listens at the TCP address Listen.
	Listener net.Listener
	Listen   string
	// Advertise is where a peer that does not name us yet can answer us. Default: the address of the listener.
	Advertise string
	// Dial opens connections. Default: a net.Dialer for TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// TLS, if not nil, is used on both sides of every connection: it needs certificates for a server, and RootCAs.
	// An empty ServerName is replaced by the host that is dialed.
	TLS *tls.Config

	// Answer answers what other nodes ask by Transport.Ask; its error is told to who asked. Several calls may run at a time, before
	// Start too; ctx ends with the Transport, and after a minute. Nil: this node answers nothing.
	Answer func(ctx context.Context, from Asker, question []byte) ([]byte, error)

	// Logger receives connections, refusals and losses. Default: nothing is logged.
	Logger *slog.Logger
	// Events are told what concerns the node as a whole.
	Events Events
	// Seed of the jitter between dials.
	Seed uint64
	// Limits; each zero field has its default.
	Limits Limits
}

// Limits bound memory and patience.
type Limits struct {
	// LogMessages and LogBytes bound what is queued of Appends and their replies for one peer. Default 16,384 and 64 MiB.
	// The bytes are mostly entries, which the sender holds anyway.
	LogMessages int
	LogBytes    int
	// UrgentMessages bounds what is queued of everything else for one peer. Default 4,096.
	UrgentMessages int
	// Connect bounds how long a dial waits for the peer's kernel. When the network has lost two of its packets the kernel waits longer before each
	// further one; a fresh dial finds sooner that the way is open again. Default 1.5 s.
	Connect time.Duration
	// Handshake bounds a dial with its handshake. Default 5 s.
	Handshake time.Duration
	// Write bounds one write of messages to a peer that takes nothing. Default 10 s.
	Write time.Duration
	// Silence is how long a snapshot stream may go without a byte. Default 10 s.
	Silence time.Duration
	// CloneCheck is how long the older connection of a PeerID has to answer when a second process claims to be it.
	// Default 1 s.
	CloneCheck time.Duration
	// MinBackoff and MaxBackoff bound the pause between dials of one peer. Defaults 10 ms and 1 s.
	MinBackoff, MaxBackoff time.Duration
}

// Events are callbacks that must not block. A nil func is not called.
type Events struct {
	// Clone: two living processes claim to be Peer; the newer was refused. Whoever hears this should not trust the
	// votes and acknowledgements of that peer any more.
	Clone func(Clone)
	// Refused: a node refused our connection. With CodeClone it holds us for a copy of a process that is alive.
	Refused func(RefusedError)
}

// Clone describes two processes with one PeerID.
type Clone struct {
	Peer         raft.PeerID
	Boot, Second uint64 // of the process that was there first, and of the one refused
	Remote       string // where the second one dialed from
}

// Status is what a node tells whoever probes it. The zero Status says that the node belongs to a cluster already.
type Status struct {
	// Empty: the node has neither log nor configuration and may be founded.
	Empty bool
	// Detail is the caller's own, at most MaxDetailBytes.
	Detail []byte
}

// MaxDetailBytes bounds Status.Detail.
const MaxDetailBytes = 1024

// Identity is what a listening node says of itself.
type Identity struct {
	Cluster [16]byte
	ID      raft.PeerID
	Boot    uint64
	Status  Status
}

// Stats count since New. Dropped messages never reached a socket.
type Stats struct {
	Sent, Received             uint64
	DroppedLog, DroppedUrgent  uint64
	Dialed, Accepted, Refusals uint64
}

func (o *Options) complete(ctx context.Context) error {
	if o.Cluster == [16]byte{} {
		return errors.New("raft/tcp: Options.Cluster is zero")
	}
	if o.Self.Node == 0 {
		return errors.New("raft/tcp: Options.Self has no node id")
	}
	for o.Boot == 0 {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		o.Boot = binary.LittleEndian.Uint64(b[:])
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.Limits.complete()
	if o.Listener == nil {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Listen)
		if err != nil {
			return fmt.Errorf("raft/tcp: %w", err)
		}
		o.Listener = listener
	}
	o.Advertise = cmp.Or(o.Advertise, o.Listener.Addr().String())
	if len(o.Advertise) > raft.MaxAddressBytes {
		_ = o.Listener.Close()
		return fmt.Errorf("raft/tcp: advertised address is longer than %d bytes", raft.MaxAddressBytes)
	}
	return nil
}

func (l *Limits) complete() {
	l.LogMessages = cmp.Or(l.LogMessages, 16<<10)
	l.LogBytes = cmp.Or(l.LogBytes, 64<<20)
	l.UrgentMessages = cmp.Or(l.UrgentMessages, 4<<10)
	l.Connect = cmp.Or(l.Connect, 1500*time.Millisecond)
	l.Handshake = cmp.Or(l.Handshake, 5*time.Second)
	l.Write = cmp.Or(l.Write, 10*time.Second)
	l.Silence = cmp.Or(l.Silence, 10*time.Second)
	l.CloneCheck = cmp.Or(l.CloneCheck, time.Second)
	l.MinBackoff = cmp.Or(l.MinBackoff, 10*time.Millisecond)
	l.MaxBackoff = cmp.Or(l.MaxBackoff, time.Second)
}
