package machine

import (
	"encoding/binary"
	"math"
	"time"
)

// Receive takes a message that arrived over the connection of a slot. A message that nobody waits for, be it late,
// doubled or wrong, is ignored.
func (m *Machine) Receive(now time.Duration, s Slot, msg Message) {
	m.advance(now)
	m.heard(s)
	switch msg := msg.(type) {
	case OpenAnswer:
		m.openAnswered(s, msg)
	case KeepAliveAnswer:
		if m.of(msg.Life, msg.Cluster) {
			m.keepAliveAnswered(s, msg)
		}
	case Answer:
		if m.of(msg.Life, msg.Cluster) {
			m.answered(s, msg)
		}
	case CloseAnswer:
		m.closeAnswered(msg.Life)
	case NoQuorum:
		if m.phase == open && s == m.links.primary {
			m.want(1 - s)
		}
	case OpenRequest, KeepAlive, Request, CloseRequest:
	}
	m.turn()
}

// of reports whether a message about a life is to be looked at. A message that shows by its cluster time that the own
// clock stood still ends the life instead.
func (m *Machine) of(life Life, cluster time.Duration) bool {
	if m.phase != open || life != m.life {
		return false
	}
	if m.validity.stoodStill(m.now, cluster) {
		m.lose(LossClock)
		return false
	}
	return true
}

func (m *Machine) openAnswered(s Slot, a OpenAnswer) {
	if m.phase != opening || !m.opened.began || a.ID != m.life.ID || s >= slotCount {
		return
	}
	switch a.Code {
	case Done:
		if a.Index == 0 {
			return
		}
		m.phase = open
		m.life.Index = a.Index
		m.validity.extend(m.opened.first, a.Cluster)
		m.emit(Opened{Life: m.life})
		m.beatAt = m.opened.first + m.spread()
		m.openedOver(s)
	case Refused:
		m.calls.closeAll(m)
		m.stop(a.Body)
	default:
		m.opened.again = m.now + max(backoff(m.opened.tries), a.Wait)
		m.opened.tries++
	}
}

// openedOver makes the connection the primary one over which Open was answered. That it was does not say that KeepAlives will be: the node
// may pass on what the leader answers, and be behind in what it applies itself. Where half of what Open carries is used up there is no
// time to find out: the other connection, which was asked for long ago, stays.
func (m *Machine) openedOver(s Slot) {
	switch {
	case !m.links.of[s].up:
	case m.now < m.validity.jeopardy():
		m.prefer(s)
	default:
		m.links.primary, m.links.doubted = s, false
	}
}

// spread is the time to the first KeepAlive. It differs from session to session, so that those opened together do not
// beat together.
func (m *Machine) spread() time.Duration {
	half := m.interval() / 2
	return half + half*time.Duration(binary.BigEndian.Uint16(m.cfg.ID[:2]))/math.MaxUint16
}

func (m *Machine) keepAliveAnswered(s Slot, a KeepAliveAnswer) {
	switch a.Code {
	case SessionUnknown:
		m.lose(LossUnknown)
	case Done:
		doubtful := m.doubtful()
		k, ok := m.validity.confirm(a.Number, a.Cluster)
		if s < slotCount && a.Number >= m.links.of[s].number {
			m.links.of[s].number, m.links.of[s].asked = m.validity.next(s, a.Number)
		}
		switch {
		case !ok:
		case k.slot == m.links.primary:
			m.hang(1 - k.slot)
		case doubtful && m.links.of[k.slot].up:
			m.prefer(k.slot)
		}
	default: // not renewed, which is not expired: a later one may be
	}
}

func (m *Machine) answered(s Slot, a Answer) {
	if a.Code == SessionUnknown {
		m.lose(LossUnknown)
		return
	}
	m.calls.answered(m, s, a)
	if m.links.doubted && s == 1-m.links.primary && m.links.of[s].up && a.Code != Retry {
		m.prefer(s)
	}
}

func (m *Machine) closeAnswered(life Life) {
	for i := range m.old {
		if m.old[i].life == life {
			m.old = append(m.old[:i], m.old[i+1:]...)
			return
		}
	}
}
