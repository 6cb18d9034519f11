package front

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

// Sizes of a stream's queues.
const (
	roomBytes  = 256 << 10 // while so much waits to be written nothing more is read
	pieceBytes = 64 << 10  // of bulk in one write, so that what is urgent waits for no more
	lingerMost = 1 << 20   // bytes that are thrown away after a Goodbye

	bufferBytes = 2 << 10 // of a queue before it grows: some dozens of answers
)

// errLeft is what reading returns once a Goodbye is on its way.
var errLeft = errors.New("front: the connection is being closed")

// parting is why this side closes a connection.
type parting struct {
	code wire.Code
	text string
}

func (p *parting) Error() string { return p.code.String() + ": " + p.text }

// stream is a connection with its queues. One goroutine reads. What was queued is written together, by the crew; where that would
// block, by a goroutine that exists only while there is something to be written: an idle connection costs one goroutine and a small
// buffer.
//
// Urgent frames overtake bulk, and no others: among themselves both keep their order.
type stream struct {
	net    net.Conn
	crew   *crew   // writes what it can
	prompt *prompt // nil: to write may block
	in     *wire.Reader
	source source
	limits *Limits
	// greedy is set where reading must not wait for room: what the peer answers was asked for, and when both sides waited for the
	// other to read, none would.
	greedy bool
	// fill appends frames of what has been collected elsewhere since the last call; see wake. Nil: there is no such thing.
	fill func(b []byte) []byte
	run  func() // write, for a goroutine of its own: a method value for each would be allocated

	mu           sync.Mutex // guards the fields below
	urgent, bulk []byte     // whole frames
	inHand       int        // bytes of the write under way
	more         bool       // fill is to be asked
	writing      bool
	leaving      bool          // nothing more is taken
	bye          []byte        // the last frame, when leaving
	reason       *parting      // why this side has closed the connection
	over         time.Time     // when leaving: the writer gives up
	closed       bool          // nothing is written any more
	room         chan struct{} // closed when less than roomBytes wait; nil while nobody waits for that
	armed        time.Time     // write deadline of the connection
	done         chan struct{} // closed with closed
}

func newStream(c net.Conn, crew *crew, limits *Limits) *stream {
	s := &stream{net: c, crew: crew, prompt: newPrompt(c), limits: limits, done: make(chan struct{})}
	s.source.s, s.run = s, s.write
	s.in = wire.NewReader(&s.source, wire.HelloMax)
	return s
}

// buffers keeps arrays for queues: to keep slices would allocate a header for each. Queues that have outgrown one are not kept.
var buffers = sync.Pool{New: func() any { return new([bufferBytes]byte) }}

func takeBuffer() []byte {
	array, ok := buffers.Get().(*[bufferBytes]byte)
	if !ok {
		return nil
	}
	return array[:0]
}

func giveBuffer(b []byte) {
	if cap(b) == bufferBytes {
		buffers.Put((*[bufferBytes]byte)(b[:bufferBytes]))
	}
}

// push queues a message. An error means that it cannot be written as it is; that the connection is closed is none.
func (s *stream) push(m wire.Message, urgent bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving || s.closed {
		return nil
	}
	q := s.queue(urgent)
	b, err := wire.Append(*q, m)
	if err != nil {
		return err
	}
	*q = b
	if len(s.urgent)+len(s.bulk) > s.limits.QueueBytes {
		s.overflow()
	}
	s.start()
	return nil
}

// pushFrames queues frames that were encoded before, as they go to many.
func (s *stream) pushFrames(frames []byte, urgent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leaving || s.closed || len(frames) == 0 {
		return
	}
	q := s.queue(urgent)
	*q = append(*q, frames...)
	if len(s.urgent)+len(s.bulk) > s.limits.QueueBytes {
		s.overflow()
	}
	s.start()
}

// wake tells that fill has something.
func (s *stream) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leaving && !s.closed {
		s.more = true
		s.start()
	}
}

// leave says goodbye after what is queued, and closes the connection. Nothing is queued from here on.
func (s *stream) leave(p *parting) { s.leaveWithin(p, s.limits.WriteTimeout) }

func (s *stream) leaveWithin(p *parting, limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.leaving && !s.closed {
		s.part(p, limit)
		s.start()
	}
}

func (s *stream) part(p *parting, limit time.Duration) {
	s.leaving, s.over, s.reason = true, time.Now().Add(limit), p
	s.makeRoom()
	if b, err := wire.Append(nil, &wire.Goodbye{Code: p.code, Text: clip(p.text)}); err == nil {
		s.bye = b
	}
}

// giveUp closes a connection that cannot be written to.
func (s *stream) giveUp(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reason == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		s.reason = &parting{wire.TooSlow, "nothing was read within " + s.limits.WriteTimeout.String()}
	}
	s.close()
}

// parted returns why this side has closed the connection, nil if it has not.
func (s *stream) parted() *parting {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason
}

// drop closes the connection as it is.
func (s *stream) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close()
}

// close is idempotent; the caller holds mu.
func (s *stream) close() {
	if s.closed {
		return
	}
	s.closed, s.urgent, s.bulk = true, nil, nil
	s.makeRoom()
	close(s.done)
	_ = bare(s.net).Close() // whoever reads or writes is told
}

// bare returns the connection beneath TLS, which is closed without a word to the peer, and so without waiting for it.
func bare(c net.Conn) net.Conn {
	if over, ok := c.(interface{ NetConn() net.Conn }); ok {
		return over.NetConn()
	}
	return c
}

func (s *stream) queue(urgent bool) *[]byte {
	q := &s.bulk
	if urgent {
		q = &s.urgent
	}
	if cap(*q) == 0 {
		*q = takeBuffer()
	}
	return q
}

// overflow gives up a peer that has let too much pile up.
func (s *stream) overflow() {
	s.urgent, s.bulk, s.more = nil, nil, false
	s.part(&parting{wire.TooSlow, "more was waiting to be read than the node keeps"}, s.limits.WriteTimeout)
}

func (s *stream) start() {
	if !s.writing {
		s.writing = true
		s.crew.write(s)
	}
}

func (s *stream) makeRoom() {
	if s.room != nil {
		close(s.room)
		s.room = nil
	}
}

// attend writes as much as the socket takes at once. When it takes no more, or there is no end to it, a goroutine does the rest.
func (s *stream) attend() {
	const pieces = 4
	if s.prompt == nil {
		go s.run()
		return
	}
	var piece []byte
	for range pieces {
		if piece = s.advance(piece); len(piece) == 0 {
			return
		}
		n, err := s.prompt.write(piece)
		if err != nil {
			s.giveUp(err)
			return
		}
		if n < len(piece) {
			go s.writeRest(piece[n:])
			return
		}
	}
	go s.run()
}

// writeRest goes on where attend has stopped.
func (s *stream) writeRest(piece []byte) {
	if _, err := s.net.Write(piece); err != nil {
		s.giveUp(err)
		return
	}
	s.write()
}

// write writes until nothing is left.
func (s *stream) write() {
	var piece []byte
	for {
		if piece = s.advance(piece); len(piece) == 0 {
			return
		}
		if _, err := s.net.Write(piece); err != nil {
			s.giveUp(err)
			return
		}
	}
}

// advance returns what is to be written now, or nothing. It takes back the piece that was written before.
func (s *stream) advance(written []byte) []byte {
	piece, deadline, last := s.next(written)
	if last {
		s.finish()
	}
	if !deadline.IsZero() {
		_ = s.net.SetWriteDeadline(deadline) // of a closed connection: the write tells
	}
	return piece
}

// next is advance with s locked. It returns also the deadline to set for the piece if there is need to, or, without one, whether
// nothing will follow.
func (s *stream) next(written []byte) (piece []byte, deadline time.Time, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	giveBuffer(written)
	s.inHand = 0
	if s.more && !s.closed {
		s.collect()
	}
	switch {
	case s.closed:
	case len(s.urgent)+len(s.bulk) > 0:
		piece = s.cut()
	default:
		piece, s.bye = s.bye, nil
	}
	if len(piece) == 0 {
		s.makeRoom()
		last = s.leaving && !s.closed
		s.writing = last
		return nil, deadline, last
	}
	s.inHand = len(piece)
	if len(s.urgent)+len(s.bulk)+s.inHand < roomBytes {
		s.makeRoom()
	}
	return piece, s.deadline(), false
}

// collect queues what fill has. The caller holds mu, which is let go meanwhile.
func (s *stream) collect() {
	s.more = false
	s.mu.Unlock()
	frames := s.fill(takeBuffer())
	s.mu.Lock()
	if !s.closed {
		s.bulk = append(*s.queue(false), frames...)
	}
	giveBuffer(frames)
}

// finish ends a stream that has written its Goodbye. The reader is woken, to see the peer out.
func (s *stream) finish() {
	if half, ok := s.net.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // the peer may be gone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	_ = s.net.SetReadDeadline(time.Unix(1, 0))
}

// cut takes the next piece out of the queues.
func (s *stream) cut() []byte {
	n := frames(s.bulk, pieceBytes)
	switch {
	case len(s.urgent) == 0 && n == len(s.bulk):
		piece := s.bulk
		s.bulk = nil
		return piece
	case n == 0:
		piece := s.urgent
		s.urgent = nil
		return piece
	}
	piece := append(takeBuffer(), s.urgent...)
	piece = append(piece, s.bulk[:n]...)
	giveBuffer(s.urgent)
	s.urgent = nil
	if s.bulk = s.bulk[n:]; len(s.bulk) == 0 {
		s.bulk = nil
	}
	return piece
}

// frames returns the length of the whole frames at the start of b that make up at most limit bytes, but of one frame at least.
func frames(b []byte, limit int) int {
	n := 0
	for n < len(b) {
		size := 4 + int(binary.BigEndian.Uint32(b[n:]))
		if n > 0 && n+size > limit {
			break
		}
		n += size
	}
	return n
}

// deadline returns the write deadline to set now, or zero if the one that is set will do: setting one costs more than a message.
func (s *stream) deadline() time.Time {
	if s.leaving {
		return s.over
	}
	now := time.Now()
	if s.armed.Sub(now) >= s.limits.WriteTimeout {
		return time.Time{}
	}
	s.armed = now.Add(2 * s.limits.WriteTimeout)
	return s.armed
}

// read returns the next message, once there is room for its answer. After a *[wire.BodyError] the stream goes on.
func (s *stream) read() (wire.Message, error) {
	if err := s.waitRoom(); err != nil {
		return nil, err
	}
	m, err := s.in.Read()
	s.source.whole()
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return m, err
	}
	if s.in.Buffered() > 0 {
		return nil, &parting{wire.TooSlow, "a frame did not arrive within " + s.limits.BodyTimeout.String()}
	}
	return nil, &parting{wire.TooSlow, "nothing arrived for " + s.limits.IdleTimeout.String()}
}

// waitRoom blocks while the peer has too much to read already.
func (s *stream) waitRoom() error {
	for {
		s.mu.Lock()
		if s.leaving || s.closed {
			s.mu.Unlock()
			return errLeft
		}
		if s.greedy || len(s.urgent)+len(s.bulk)+s.inHand < roomBytes {
			s.mu.Unlock()
			return nil
		}
		if s.room == nil {
			s.room = make(chan struct{})
		}
		room := s.room
		s.mu.Unlock()
		<-room
	}
}

// end sees the peer out: it waits for the last frame to be written, and then a while for the peer to close, as closing first would
// take from it what it has not read yet.
func (s *stream) end() {
	<-s.done
	_ = s.net.SetReadDeadline(time.Now().Add(lingerFor)) // of a closed connection: reading tells
	_, _ = io.CopyN(io.Discard, s.net, lingerMost)
	_ = s.net.Close()
}

// source is what the Reader of a stream reads: the connection, with the deadline of what is awaited.
type source struct {
	s     *stream
	hello bool      // Hello has been accepted: its deadline is over
	timed bool      // the deadline of the present frame is set
	armed time.Time // read deadline of the connection
}

// Read implements [io.Reader].
func (r *source) Read(p []byte) (int, error) {
	if r.hello {
		r.arm()
	}
	r.s.mu.Lock()
	left := r.s.leaving || r.s.closed
	r.s.mu.Unlock()
	if left { // looked at behind the deadline: finish sets another one
		return 0, errLeft
	}
	return r.s.net.Read(p)
}

// arm sets the deadline for the rest of a frame once, and one for the time between frames now and then.
func (r *source) arm() {
	now, idle := time.Now(), r.s.limits.IdleTimeout
	switch {
	case r.s.in.Buffered() > 0:
		if !r.timed {
			r.timed = true
			r.set(now.Add(r.s.limits.BodyTimeout))
		}
	case idle == 0:
		if !r.armed.IsZero() {
			r.set(time.Time{})
		}
	case r.armed.Sub(now) < idle/2 || r.armed.Sub(now) > idle:
		r.set(now.Add(idle))
	}
}

func (r *source) set(at time.Time) {
	r.armed = at
	_ = r.s.net.SetReadDeadline(at) // of a closed connection: the read tells
}

// whole tells that the present frame has been read.
func (r *source) whole() { r.timed = false }

// clip returns a text that fits a message.
func clip(text string) string {
	const most = 512
	if len(text) <= most {
		return strings.ToValidUTF8(text, "?")
	}
	return strings.ToValidUTF8(text[:most], "")
}
