package machine

import "time"

// shortPatience is how long the primary connection may be silent before it is asked for a sign of life. A node gathers KeepAlives for up to
// 100 ms, so the answer gets twice that. Together it is less than a cluster takes to notice the silence of its leader, so that the client
// is connected to another node by the time that there is a new one.
const shortPatience = 100 * time.Millisecond

// waitPulse is how often a session that waits in a queue sends a KeepAlive, at least.
const waitPulse = time.Second

// shortest is the patience of a machine that has had no false alarm of late.
func (m *Machine) shortest() time.Duration { return min(shortPatience, m.interval()/2) }

// heard notes that something came over a connection. If it was in doubt, that was a false alarm: the next one takes longer, so that
// a cluster that is merely slow is not asked twice for everything.
func (m *Machine) heard(s Slot) {
	if s >= slotCount || !m.links.of[s].up {
		return
	}
	m.links.of[s].quiet, m.links.of[s].probed = m.now, false
	if m.links.doubted && s == m.links.primary {
		m.links.doubted = false
		m.patience = min(2*m.patience, m.interval())
	}
}

// listen notices that the primary connection is silent while an answer is waited for: a stopped node, or one that is cut off, leaves its
// connections open. It is asked by a KeepAlive, which nodes put before all else and answer without their disks. If that is not answered
// either, another node is connected to beside it, and gets what waits for an answer.
func (m *Machine) listen() {
	s := m.links.primary
	l := &m.links.of[s]
	awaits := l.up && (m.calls.asked > 0 || m.calls.waits > 0 && l.number != 0)
	if awaits && !l.listens {
		l.quiet = m.now
		l.probed, l.probeAt = m.calls.asked == 0, m.now+m.patience // what a wait is waited with is a KeepAlive itself
	}
	l.listens = awaits
	if at, ok := m.listenAt(); !ok || m.now < at {
		return
	}
	if !l.probed {
		m.sendKeepAlive(s)
		l.probed, l.probeAt = true, m.now
		return
	}
	m.links.doubted = true
	m.want(1 - s)
	if m.links.of[1-s].up {
		m.calls.double(m, s, 1-s)
	}
}

// listenAt is when silence means something next, and false if it does not.
func (m *Machine) listenAt() (time.Duration, bool) {
	l := &m.links.of[m.links.primary]
	if l.probed {
		return l.probeAt + 2*m.patience, l.listens && !m.links.doubted
	}
	return l.quiet + m.patience, l.listens && !m.links.doubted
}
