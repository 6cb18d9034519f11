package tcp

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/lockd/lockd/raft"
)

// Both sides begin with magic (8 bytes), version (2) and length (2) of the rest, so that any two versions can at least
// refuse each other. Who dials says hello, who listens answers; then frames follow.
const (
	magic          = "lockraft"
	version        = 1
	preambleBytes  = len(magic) + 2 + 2
	maxHelloBytes  = 1 + 16 + 16 + 16 + 8 + 1 + raft.MaxAddressBytes
	maxAnswerBytes = 1 + 16 + 16 + 8 + 1 + 2 + MaxDetailBytes + 1 + maxReasonBytes
	maxReasonBytes = 255
)

// purpose is what a connection is for.
type purpose uint8

const (
	forMessages purpose = 1 + iota
	forSnapshot
	forProbe
	forAsk
)

// Code says why a connection was refused.
type Code uint8

// The codes are part of the protocol.
const (
	codeWelcome  Code = 0
	CodeVersion  Code = 1 // the two speak different versions of the protocol
	CodeCluster  Code = 2 // they belong to different clusters
	CodeIdentity Code = 3 // who answers is not who was expected
	CodeClone    Code = 4 // another process with the same PeerID is alive
	CodeNotReady Code = 5 // the node has not been started yet
	CodeBusy     Code = 6 // too many connections
	CodeBad      Code = 7 // the hello made no sense
	codes             = 8
)

// RefusedError is the error of a connection that the other side refused, or that we refuse.
type RefusedError struct {
	Code   Code
	Reason string
	// Remote is the address, and By what the refusing node said of itself.
	Remote string
	By     Identity
}

func (r *RefusedError) Error() string {
	return fmt.Sprintf("raft/tcp: refused by %s: %s", r.Remote, r.Reason)
}

func refuse(code Code, format string, args ...any) *RefusedError {
	return &RefusedError{Code: code, Reason: fmt.Sprintf(format, args...)}
}

// errHandshake is wrapped by errors about bytes that are no handshake.
var errHandshake = errors.New("raft/tcp: bad handshake")

type hello struct {
	purpose  purpose
	cluster  [16]byte
	from, to raft.PeerID
	boot     uint64
	// reply is where from listens.
	reply string
}

func (h *hello) encode() []byte {
	return preamble(func(b []byte) []byte {
		b = append(b, byte(h.purpose))
		b = append(b, h.cluster[:]...)
		b = appendWords(b, uint64(h.from.Node), h.from.Incarnation, uint64(h.to.Node), h.to.Incarnation, h.boot)
		b = append(b, byte(len(h.reply)))
		return append(b, h.reply...)
	})
}

func decodeHello(b []byte) (hello, error) {
	c := cursor{b: b}
	h := hello{purpose: purpose(c.u8())}
	copy(h.cluster[:], c.take(len(h.cluster)))
	h.from, h.to, h.boot = c.peer(), c.peer(), c.u64()
	h.reply = string(c.take(int(c.u8())))
	if !c.end() || h.purpose < forMessages || h.purpose > forAsk {
		return hello{}, fmt.Errorf("%w: hello of %d bytes for purpose %d", errHandshake, len(b), h.purpose)
	}
	return h, nil
}

type answer struct {
	code   Code
	reason string
	by     Identity
}

func (a *answer) encode() []byte {
	reason := a.reason[:min(len(a.reason), maxReasonBytes)]
	return preamble(func(b []byte) []byte {
		b = append(b, byte(a.code))
		b = append(b, a.by.Cluster[:]...)
		b = appendWords(b, uint64(a.by.ID.Node), a.by.ID.Incarnation, a.by.Boot)
		b = append(b, bit(a.by.Status.Empty, flag1))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(a.by.Status.Detail)))
		b = append(b, a.by.Status.Detail...)
		b = append(b, byte(len(reason)))
		return append(b, reason...)
	})
}

func decodeAnswer(b []byte) (answer, error) {
	c := cursor{b: b}
	a := answer{code: Code(c.u8())}
	copy(a.by.Cluster[:], c.take(len(a.by.Cluster)))
	a.by.ID, a.by.Boot = c.peer(), c.u64()
	a.by.Status.Empty = c.flags(flag1) != 0
	if detail := c.take(int(c.u16())); len(detail) > 0 {
		a.by.Status.Detail = append([]byte(nil), detail...)
	}
	a.reason = string(c.take(int(c.u8())))
	if !c.end() {
		return answer{}, fmt.Errorf("%w: answer of %d bytes", errHandshake, len(b))
	}
	return a, nil
}

// preamble puts magic, version and length before a body.
func preamble(body func([]byte) []byte) []byte {
	b := append(make([]byte, 0, preambleBytes+maxHelloBytes), magic...)
	b = binary.LittleEndian.AppendUint16(b, version)
	b = append(b, 0, 0)
	b = body(b)
	binary.LittleEndian.PutUint16(b[preambleBytes-2:], uint16(len(b)-preambleBytes))
	return b
}

// readPreamble reads one side of a handshake, of at most limit bytes. Of another version the error is a *RefusedError.
func readPreamble(r io.Reader, limit int) ([]byte, error) {
	var head [preambleBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, unexpected(err)
	}
	if string(head[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: it begins with %q", errHandshake, head[:len(magic)])
	}
	c := cursor{b: head[len(magic):]}
	v, n := c.u16(), int(c.u16())
	if v != version {
		_, _ = io.CopyN(io.Discard, r, int64(n))
		return nil, refuse(CodeVersion, "protocol version %d, want %d", v, version)
	}
	if n > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", errHandshake, n, limit)
	}
	body := make([]byte, n)
	_, err := io.ReadFull(r, body)
	return body, unexpected(err)
}

// link is a connection. Reads and writes go through TLS if there is any; fail ends the socket below it at once. Writers
// take turns by a channel, as those who wait for the mutex inside a net.Conn would stop the clock of a synctest bubble.
type link struct {
	net.Conn
	socket net.Conn
	turn   chan struct{}

	mu    sync.Mutex // guards the field below
	cause error
}

func newLink(socket net.Conn) *link {
	return &link{Conn: socket, socket: socket, turn: make(chan struct{}, 1)}
}

// fail ends the connection; the first cause stays.
func (k *link) fail(cause error) {
	k.blame(cause)
	_ = k.socket.Close()
}

// blame says why the connection is about to end.
func (k *link) blame(cause error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cause == nil {
		k.cause = cause
	}
}

func (k *link) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.cause
}

// Write writes b in one turn.
func (k *link) Write(b []byte) (int, error) {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	return k.Conn.Write(b)
}

// send writes a frame beside whatever other goroutines write.
func (k *link) send(b []byte, patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case k.turn <- struct{}{}:
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
	defer func() { <-k.turn }()
	_ = k.SetWriteDeadline(time.Now().Add(patience))
	_, err := k.Conn.Write(b)
	return err
}

// sendAlive shows a sign of life, unless somebody is writing, which is one.
func (k *link) sendAlive() error {
	select {
	case k.turn <- struct{}{}:
	default:
		return nil
	}
	defer func() { <-k.turn }()
	_, err := k.Conn.Write(controlFrame(frameAlive))
	return err
}

// dial connects to address and shakes hands. The error wraps raft.ErrUnreachable or is a *RefusedError.
func (t *Transport) dial(ctx context.Context, address string, h hello) (*link, Identity, error) {
	ctx, cancel := context.WithTimeout(ctx, t.o.Limits.Handshake)
	defer cancel()
	socket, err := t.connect(ctx, address)
	if err != nil {
		return nil, Identity{}, fmt.Errorf("%w: %w", raft.ErrUnreachable, err)
	}
	tuneSocket(socket, t.o.Limits.Write)
	k := newLink(socket)
	if t.o.TLS != nil {
		k.Conn = tls.Client(socket, clientTLS(t.o.TLS, address))
	}
	stop := context.AfterFunc(ctx, func() { k.fail(context.Cause(ctx)) })
	by, err := t.greet(k, h)
	if err == nil && !stop() {
		err = fmt.Errorf("%w: handshake: %w", raft.ErrUnreachable, context.Cause(ctx))
	}
	if err != nil {
		stop()
		_ = socket.Close()
		return nil, Identity{}, err
	}
	t.stats.dialed.Add(1)
	return k, by, nil
}

func (t *Transport) connect(ctx context.Context, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.o.Limits.Connect)
	defer cancel()
	return t.o.Dial(ctx, address)
}

func clientTLS(config *tls.Config, address string) *tls.Config {
	if config.ServerName != "" {
		return config
	}
	config = config.Clone()
	config.ServerName = address
	if host, _, err := net.SplitHostPort(address); err == nil {
		config.ServerName = host
	}
	return config
}

func (t *Transport) greet(k *link, h hello) (Identity, error) {
	h.cluster, h.from, h.boot, h.reply = t.o.Cluster, t.o.Self, t.o.Boot, t.o.Advertise
	if _, err := k.Write(h.encode()); err != nil {
		return Identity{}, fmt.Errorf("%w: handshake: %w", raft.ErrUnreachable, err)
	}
	remote := k.socket.RemoteAddr().String()
	body, err := readPreamble(k, maxAnswerBytes)
	if refusal, ok := errors.AsType[*RefusedError](err); ok {
		refusal.Remote = remote
		return Identity{}, refusal
	}
	if err != nil {
		return Identity{}, fmt.Errorf("%w: handshake: %w", raft.ErrUnreachable, err)
	}
	a, err := decodeAnswer(body)
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", raft.ErrUnreachable, err)
	case a.code != codeWelcome:
		return a.by, &RefusedError{Code: a.code, Reason: a.reason, Remote: remote, By: a.by}
	case h.purpose < forProbe && (a.by.Cluster != t.o.Cluster || a.by.ID != h.to):
		return a.by, &RefusedError{CodeIdentity, fmt.Sprintf("it is %v of cluster %x", a.by.ID, a.by.Cluster), remote, a.by}
	}
	return a.by, nil
}

// Probe asks the node that listens at address who it is, whatever its cluster. It works before Start, on both sides.
func (t *Transport) Probe(ctx context.Context, address string) (Identity, error) {
	k, by, err := t.dial(ctx, address, hello{purpose: forProbe})
	if err != nil {
		return by, fmt.Errorf("probe %s: %w", address, err)
	}
	_ = k.socket.Close()
	return by, nil
}
