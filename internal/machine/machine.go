package machine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Limits of a session.
const (
	MinTTL = time.Second
	MaxTTL = 10 * time.Minute

	// Window is how many sequence numbers above the acknowledged one may be in use.
	Window = 1024

	// MaxBacklog is how many calls may wait for a number or a connection.
	MaxBacklog = 100_000

	// maxOld is how many lives may wait to be closed. Each ends by itself when its TTL has passed.
	maxOld = 8

	// maxResend is the longest that an unanswered request waits before it is repeated.
	maxResend = time.Second
)

// The errors of Do, Release and Abandon.
var (
	ErrClosed   = errors.New("client: closed")                     // the machine was closed, or refused for good
	ErrBacklog  = errors.New("client: too many calls are waiting") // MaxBacklog is reached
	ErrNotHeld  = errors.New("client: the call holds nothing")     // Release of a hold that has ended
	ErrNotACall = errors.New("client: no such call")               // Abandon of a call that is finished
)

// Config says what session a machine keeps.
type Config struct {
	// ID is random. The lives of the session carry it with its last four bytes replaced by their number.
	ID SessionID

	// TTL of the session, from MinTTL to MaxTTL.
	TTL time.Duration

	// Grace, when not 0, asks the cluster to end the session this long after its connection closed, from MinTTL to
	// TTL. Validity is then counted with it, and KeepAlives go out as often as that needs.
	Grace time.Duration
}

// Validate names the field that is out of its bounds.
func (c Config) Validate() error {
	if c.TTL < MinTTL || c.TTL > MaxTTL {
		return fmt.Errorf("client: TTL %v is not within %v to %v", c.TTL, MinTTL, MaxTTL)
	}
	if c.Grace != 0 && (c.Grace < MinTTL || c.Grace > c.TTL) {
		return fmt.Errorf("client: grace %v is neither 0 nor within %v to the TTL, %v", c.Grace, MinTTL, c.TTL)
	}
	return nil
}

// span is what the cluster grants after it received a KeepAlive, whatever happens to the connection.
func (c Config) span() time.Duration {
	if c.Grace != 0 {
		return c.Grace
	}
	return c.TTL
}

// phase is where the present life stands.
type phase uint8

const (
	opening  phase = iota // Open is not answered yet
	open                  // valid, until validity ends
	stopping              // Close was asked for: only CloseRequests are sent
	stopped
)

// Machine keeps one session alive, life after life, and carries the calls made in it. See the package documentation
// for how to drive it. It is not safe for concurrent use.
type Machine struct {
	cfg Config

	now   time.Duration // the largest time seen, plus slept
	slept time.Duration // what suspend reports added to the own clock

	phase    phase
	lives    uint32
	life     Life
	validity validity
	jeopardy bool
	beatAt   time.Duration // the next KeepAlive
	patience time.Duration // with a primary connection that is silent
	opened   sending       // of the present life's Open
	old      []oldLife     // lives to close

	links links
	calls ledger

	out, spare []Effect
}

// sending is something repeated until it is answered.
type sending struct {
	began bool
	first time.Duration
	again time.Duration
	tries uint // that were given back
}

// oldLife is a life that was given up and that the cluster shall end before its TTL does.
type oldLife struct {
	life  Life
	sent  sending
	until time.Duration // it has ended by itself by then, or nobody knows
}

// New returns a machine that opens its session on the first connection.
func New(cfg Config) (*Machine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	m := &Machine{cfg: cfg, links: newLinks(), calls: newLedger()}
	m.patience = m.shortest()
	m.begin()
	m.want(m.links.primary)
	return m, nil
}

// begin draws the next life.
func (m *Machine) begin() {
	m.phase = opening
	m.life = Life{ID: m.cfg.ID}
	binary.BigEndian.PutUint32(m.life.ID[len(m.life.ID)-4:], m.lives)
	m.lives++
	m.validity = newValidity(m.cfg.span())
	m.jeopardy = false
	m.opened = sending{}
	for s := range m.links.of {
		m.links.of[s].number = 0
	}
}

// Output returns the effects since the last call, to be carried out in order. The slice is overwritten after the
// next call of Output.
func (m *Machine) Output() []Effect {
	out := m.out
	m.out, m.spare = m.spare[:0], out
	return out
}

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }

// ValidUntil returns until when, by the owner's clock, everything held is held, and false when no life is valid.
func (m *Machine) ValidUntil() (time.Duration, bool) {
	return m.validity.until - m.slept, m.phase == open
}

// Life returns the present life, and false while it is being opened.
func (m *Machine) Life() (Life, bool) { return m.life, m.phase == open }

// Deadline returns when Wake wants to be called, and false if only a message or a connection can change anything.
func (m *Machine) Deadline() (time.Duration, bool) {
	at, some := time.Duration(0), false
	soon := func(t time.Duration) {
		if !some || t < at {
			at, some = t, true
		}
	}
	switch m.phase {
	case opening:
		if m.opened.began {
			soon(m.opened.first + m.validity.reach)
			if m.links.up() {
				soon(m.opened.again)
			}
		}
	case open:
		soon(m.validity.until)
		soon(m.beatAt)
		if !m.jeopardy {
			soon(m.validity.jeopardy())
		}
		if m.calls.dueSet && m.links.up() {
			soon(m.calls.due)
		}
		if at, ok := m.listenAt(); ok {
			soon(at)
		}
	case stopping, stopped:
	}
	for i := range m.old {
		soon(m.old[i].until)
		if m.old[i].sent.began && m.links.up() {
			soon(m.old[i].sent.again)
		}
	}
	return at - m.slept, some
}

// Wake tells that it is now. A call before the Deadline does no harm.
func (m *Machine) Wake(now time.Duration) {
	m.advance(now)
	m.turn()
}

// Suspended tells that the clock that now is read from has missed gained of real time, as CLOCK_BOOTTIME against
// CLOCK_MONOTONIC after a suspend. Each stop is told once.
func (m *Machine) Suspended(now, gained time.Duration) {
	m.slept += max(gained, 0)
	m.advance(now)
	m.turn()
}

// Close gives up the session and everything in it. Closed follows when the cluster has confirmed it, or when waiting
// for that is of no use.
func (m *Machine) Close(now time.Duration) {
	m.advance(now)
	if m.phase < stopping {
		m.retire()
		m.calls.closeAll(m)
		m.phase = stopping
	}
	m.turn()
}

// advance moves the clock, and ends what has ended by it before anything else is looked at: nothing that arrives
// after ValidUntil can bring the life back.
func (m *Machine) advance(now time.Duration) {
	m.now = max(m.now, now+m.slept)
	switch {
	case m.phase == open && m.now >= m.validity.until:
		m.lose(LossValidity)
		m.moveOn()
	case m.phase == opening && m.opened.began && m.now >= m.opened.first+m.validity.reach:
		m.begin() // an answer would come too late to be of use
		m.moveOn()
	}
}

// turn does what is due.
func (m *Machine) turn() {
	switch m.phase {
	case opening:
		m.sendOpen()
	case open:
		m.judge()
		if m.now >= m.beatAt {
			m.beat()
		}
		m.calls.turn(m)
		m.listen()
	case stopping, stopped:
	}
	m.closeOld()
}

// judge tells the approach of the end of validity, and its retreat.
func (m *Machine) judge() {
	switch at := m.now >= m.validity.jeopardy(); {
	case at && !m.jeopardy:
		m.emit(Jeopardy{ValidUntil: m.validity.until - m.slept})
		m.jeopardy = true
	case !at && m.jeopardy:
		m.emit(Safe{ValidUntil: m.validity.until - m.slept})
		m.jeopardy = false
	}
}

// lose ends the present life for good, and begins the next. What the cluster still holds for the old one is ended by
// closing it: the code it was held for has been told to stop.
func (m *Machine) lose(cause LossCause) {
	m.emit(Lost{Life: m.life, Cause: cause, Holds: m.calls.holds()})
	m.calls.lose(m)
	if cause != LossUnknown {
		m.retire()
	}
	m.begin()
}

// retire puts the present life on the list of those to close.
func (m *Machine) retire() {
	if m.phase != open {
		return
	}
	if len(m.old) == maxOld {
		m.old = m.old[1:]
	}
	m.old = append(m.old, oldLife{life: m.life, until: m.now + m.cfg.TTL})
}

// interval is the time between two KeepAlives, and the patience with each.
func (m *Machine) interval() time.Duration { return m.cfg.span() / 5 }

// resend is the patience with a request.
func (m *Machine) resend() time.Duration { return min(m.interval(), maxResend) }
