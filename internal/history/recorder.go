package history

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/lockd/lockd/client/go"
)

// Recorder writes down what one process does and sees. It is safe for concurrent use. Each line is one write, so with a file as its
// writer nothing of a process that is killed is lost, but perhaps the last half of a line.
type Recorder struct {
	clock func() int64

	mu    sync.Mutex // guards the fields below
	w     io.Writer
	line  []byte
	last  uint64 // operation or connection that was numbered
	fails error
}

// NewRecorder returns the Recorder of a process, whose name is its own in the whole history, also if the writer appends to what another
// process of that name has written: a process that was started again goes on under another name.
func NewRecorder(w io.Writer, process string) *Recorder {
	r := &Recorder{w: w, clock: Now}
	r.write(func(b []byte) []byte { return append(append(b, "process "...), strconv.Quote(process)...) })
	return r
}

// UseClock makes the Recorder read another clock than [Now], for a history within a simulation. It is called before anything else.
func (r *Recorder) UseClock(clock func() int64) { r.clock = clock }

// Err returns the first error of the writer. A history with one is no history.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fails
}

// write writes one line.
func (r *Recorder) write(text func(b []byte) []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line = append(text(r.line[:0]), '\n')
	if _, err := r.w.Write(r.line); err != nil {
		r.fails = errors.Join(r.fails, fmt.Errorf("history: record: %w", err))
	}
}

func (r *Recorder) number() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	return r.last
}

// event writes what an operation is known to be at its begin or end.
func (r *Recorder) event(what string, o *Operation, at int64) {
	text, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("history: %v", err)) // every Operation can be written
	}
	r.write(func(b []byte) []byte {
		b = append(append(b, what...), ' ')
		b = append(strconv.AppendUint(b, o.ID, 10), ' ')
		b = append(strconv.AppendInt(b, at, 10), ' ')
		return append(b, text...)
	})
}

// frame writes a frame that came in ('<') or went out ('>') over a connection.
func (r *Recorder) frame(conn uint64, direction byte, at int64, frame []byte) {
	r.write(func(b []byte) []byte {
		b = append(b, direction, ' ')
		b = append(strconv.AppendUint(b, conn, 10), ' ')
		b = append(strconv.AppendInt(b, at, 10), ' ')
		return base64.StdEncoding.AppendEncode(b, frame)
	})
}

// Begin writes down that an operation begins, with all that is known of it.
func (r *Recorder) Begin(o Operation) *Pending {
	o.ID = r.number()
	p := &Pending{r: r, op: o}
	r.event("begin", &o, r.clock())
	return p
}

// Note writes down an operation that takes no time: Held and Lost.
func (r *Recorder) Note(o Operation) {
	o.ID = r.number()
	r.event("note", &o, r.clock())
}

// Believes notes that the process believes that it holds what it was granted under the token, until the time that the hold tells.
func (r *Recorder) Believes(h Hold, keys ...string) {
	if left := time.Until(h.ValidUntil()); left > 0 {
		r.Note(Operation{Kind: Held, Keys: keys, Token: h.Token(), Until: r.clock() + int64(left)})
	}
}

// Pending is an operation that has begun and not ended. It is for one goroutine.
type Pending struct {
	r  *Recorder
	op Operation
}

// End writes down how the operation ended: with these outcome, reason and whatever else set changes. Set may be nil.
func (p *Pending) End(outcome Outcome, reason string, set func(o *Operation)) {
	at := p.r.clock()
	if set != nil {
		set(&p.op)
	}
	p.op.Outcome, p.op.Reason = outcome, reason
	p.r.event("end", &p.op, at)
}

// Hold is a *client.Lock or a *client.Lease.
type Hold interface {
	Token() uint64
	ValidUntil() time.Time
}

// Granted ends an Acquire or a HandOn by what the client's library returned.
func (p *Pending) Granted(h Hold, err error) {
	if err != nil {
		p.Done(err)
		return
	}
	p.End(OK, "", func(o *Operation) {
		o.Token = h.Token()
		o.Until = p.r.clock() + int64(time.Until(h.ValidUntil()))
	})
}

// Done ends any other operation by the error that the client's library returned.
func (p *Pending) Done(err error) {
	if err == nil {
		p.End(OK, "", nil)
		return
	}
	outcome := Unknown
	if e := (*client.Error)(nil); errors.As(err, &e) && e.Known {
		outcome = Refused
	}
	p.End(outcome, err.Error(), nil)
}
