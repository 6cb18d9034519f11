package machine

import "time"

// links are the two connections a machine may have: the primary one, and another while the primary one is doubtful.
type links struct {
	of      [slotCount]link
	primary Slot
	doubted bool // the primary one is silent, and the other one is used if it is up
}

type link struct {
	wanted, up bool

	// The first KeepAlive that was sent over it, at asked, since one was confirmed over it; 0: there is none. What the other connection
	// confirms does not count: what waits over this one might wait for ever.
	number uint64
	asked  time.Duration

	listens bool          // something is waited for over it, as primary connection
	quiet   time.Duration // of listens: since when nothing came over it
	probed  bool          // of listens: a KeepAlive was sent at probeAt to see whether it answers
	probeAt time.Duration
}

func newLinks() links { return links{} }

// up reports whether anything can be sent.
func (l *links) up() bool { return l.of[0].up || l.of[1].up }

// usable reports whether a slot is up, and not the one in doubt while the other one is up.
func (l *links) usable(s Slot) bool {
	avoided := l.doubted && s == l.primary && l.of[1-s].up
	return l.of[s].up && !avoided
}

// best returns the primary slot if it is usable, else the other.
func (l *links) best() Slot {
	switch {
	case l.usable(l.primary):
		return l.primary
	case l.of[1-l.primary].up:
		return 1 - l.primary
	default:
		return noSlot
	}
}

// other returns the slot that is usable and not s, else s itself if it is up.
func (l *links) other(s Slot) Slot {
	if s < slotCount && l.usable(1-s) {
		return 1 - s
	}
	return l.best()
}

func (m *Machine) want(s Slot) {
	if !m.links.of[s].wanted {
		m.links.of[s].wanted = true
		m.emit(Dial{Slot: s})
	}
}

// hang ends the connection of a slot, if there is one. What waits over it goes on over the primary one.
func (m *Machine) hang(s Slot) {
	if !m.links.of[s].wanted {
		return
	}
	m.links.of[s] = link{}
	m.emit(Hang{Slot: s})
	m.calls.moved(m, s)
}

// prefer makes s the primary slot, and its connection the only one.
func (m *Machine) prefer(s Slot) {
	if m.links.doubted {
		m.links.doubted, m.patience = false, m.shortest()
	}
	m.links.primary = s
	m.hang(1 - s)
}

// moveOn gives up one of two connections over which nothing was confirmed for as long as a life lasts: their nodes may both be cut off
// from the others. The other one is given up the next time.
func (m *Machine) moveOn() {
	if s := m.links.primary; m.links.of[s].up && m.links.of[1-s].up {
		m.links.primary, m.links.doubted = 1-s, false
		m.hang(s)
		m.want(s)
	}
}

// Connected tells that the connection of a slot stands. The session is resumed over it.
func (m *Machine) Connected(now time.Duration, s Slot) {
	m.advance(now)
	if s >= slotCount || !m.links.of[s].wanted {
		return
	}
	m.links.of[s] = link{wanted: true, up: true}
	if !m.links.of[m.links.primary].up {
		m.links.primary = s
	}
	switch m.phase {
	case opening:
		m.opened.again = m.now
	case open:
		m.sendKeepAlive(s)
		m.calls.moved(m, noSlot)
		if m.links.doubted {
			m.calls.double(m, 1-s, s)
		}
	case stopping, stopped:
	}
	for i := range m.old {
		m.old[i].sent.again = m.now
	}
	m.turn()
}

// Disconnected tells that the connection of a slot broke, or that dialing failed. The owner goes on dialing.
func (m *Machine) Disconnected(now time.Duration, s Slot) {
	m.advance(now)
	if s >= slotCount || !m.links.of[s].up {
		m.turn()
		return
	}
	m.links.of[s].up = false
	m.links.doubted = m.links.doubted && s != m.links.primary
	if best := m.links.best(); best != noSlot {
		m.links.primary = best
	}
	if m.phase == open {
		m.calls.moved(m, s)
	}
	m.turn()
}

// beat sends the KeepAlives that are due: over the primary connection, and over another node when the last one was
// not answered in time.
func (m *Machine) beat() {
	m.beatAt = m.now + m.pulse()
	m.patience = max(m.patience/2, m.shortest()) // for false alarms are forgiven
	if m.doubtful() {
		m.want(1 - m.links.primary)
	}
	for s := range Slot(slotCount) {
		if m.links.of[s].up {
			m.sendKeepAlive(s)
		}
	}
}

// pulse is the time to the next KeepAlive. Who waits in a queue sends nothing else by which it could notice that its node is gone.
func (m *Machine) pulse() time.Duration {
	if m.calls.waits > 0 {
		return min(m.interval(), waitPulse)
	}
	return m.interval()
}

// doubtful reports whether the primary connection is down, or a KeepAlive over it was not answered in time.
func (m *Machine) doubtful() bool {
	l := &m.links.of[m.links.primary]
	return !l.up || m.links.doubted || l.number != 0 && m.now-l.asked >= m.interval()
}

func (m *Machine) sendKeepAlive(s Slot) {
	number := m.validity.send(m.now, s)
	if l := &m.links.of[s]; l.number == 0 {
		l.number, l.asked = number, m.now
	}
	m.emit(Send{Slot: s, Message: KeepAlive{Life: m.life, Number: number}})
}

// sendOpen sends Open, or repeats it, over every connection there is.
func (m *Machine) sendOpen() {
	if !m.links.up() || m.opened.began && m.now < m.opened.again {
		return
	}
	if !m.opened.began {
		m.opened = sending{began: true, first: m.now}
	} else if m.now >= m.opened.first+m.interval() {
		m.want(1 - m.links.primary)
	}
	m.opened.again = m.now + m.resend()
	msg := OpenRequest{ID: m.life.ID, TTL: m.cfg.TTL, Grace: m.cfg.Grace}
	for s := range Slot(slotCount) {
		if m.links.of[s].up {
			m.emit(Send{Slot: s, Message: msg})
		}
	}
}

// closeOld sends CloseRequests, or repeats them, and forgets the lives that have ended by themselves.
func (m *Machine) closeOld() {
	kept := m.old[:0]
	for _, o := range m.old {
		if m.now >= o.until {
			continue
		}
		if best := m.links.best(); best != noSlot && (!o.sent.began || m.now >= o.sent.again) {
			o.sent = sending{began: true, again: m.now + m.resend()}
			m.emit(Send{Slot: best, Message: CloseRequest{Life: o.life}})
		}
		kept = append(kept, o)
	}
	m.old = kept
	if m.phase == stopping && len(m.old) == 0 {
		m.stop(nil)
	}
}

// stop ends the machine.
func (m *Machine) stop(reason any) {
	m.phase = stopped
	m.old = nil
	m.hang(m.links.primary)
	m.hang(1 - m.links.primary)
	m.emit(Closed{Reason: reason})
}
