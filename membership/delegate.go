package membership

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// delegate is what memberlist calls, often with its own lock held: nothing here waits, does I/O, calls memberlist, or keeps what it
// is given.
type delegate struct{ g *Gossip }

var (
	_ memberlist.Delegate         = (*delegate)(nil)
	_ memberlist.EventDelegate    = (*delegate)(nil)
	_ memberlist.AliveDelegate    = (*delegate)(nil)
	_ memberlist.MergeDelegate    = (*delegate)(nil)
	_ memberlist.ConflictDelegate = (*delegate)(nil)
)

// NodeMeta implements memberlist.Delegate.
func (d *delegate) NodeMeta(int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	return d.g.self.encode()
}

// NotifyMsg implements memberlist.Delegate: members say goodbye, and send each other orders about keys.
func (d *delegate) NotifyMsg(b []byte) {
	if name, ok := decodeGoodbye(b); ok {
		d.g.goodbye(name)
		return
	}
	o, err := decodeOrder(b)
	if err != nil || d.g.o.Keyring == nil { // without keys it could have come from anybody
		return
	}
	select {
	case d.g.orders <- o:
	default: // who ordered will see that it was not followed
	}
}

// GetBroadcasts implements memberlist.Delegate.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyAlive implements memberlist.AliveDelegate: it refuses those who cannot be members.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	m, err := d.g.admit(n)
	if err != nil {
		d.g.refuse(addressOf(n).String(), m.Name, err)
	}
	return err
}

// NotifyMerge implements memberlist.MergeDelegate. Both sides of a join are asked, so both know why it failed.
func (d *delegate) NotifyMerge(peers []*memberlist.Node) error {
	for _, n := range peers {
		if m, err := d.g.admit(n); err != nil {
			d.g.refuse(addressOf(n).String(), m.Name, err)
			return err
		}
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	m, _ := decodeMeta(existing.Meta)
	d.g.refuse(addressOf(other).String(), m.Name, fmt.Errorf("it runs with a copy of the data directory of the node at %s", addressOf(existing)))
}

// NotifyJoin implements memberlist.EventDelegate.
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.g.note(n, Alive) }

// NotifyUpdate implements memberlist.EventDelegate.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.g.note(n, Alive) }

// NotifyLeave implements memberlist.EventDelegate.
func (d *delegate) NotifyLeave(n *memberlist.Node) { d.g.note(n, Failed) }

func addressOf(n *memberlist.Node) netip.AddrPort {
	a, _ := netip.AddrFromSlice(n.Addr)
	return netip.AddrPortFrom(a.Unmap(), n.Port)
}

// admit returns why a node cannot be a member.
func (g *Gossip) admit(n *memberlist.Node) (Meta, error) {
	m, err := decodeMeta(n.Meta)
	if err != nil {
		return Meta{}, err
	}
	if n.Name != m.Peer.name() {
		return m, fmt.Errorf("it calls itself %q and says that it is %q", n.Name, m.Peer.name())
	}
	if n.DMin > gossipMax || n.DMax < gossipMin {
		return m, fmt.Errorf("it speaks versions %d to %d of gossip, this node %d to %d", n.DMin, n.DMax, gossipMin, gossipMax)
	}
	g.mu.Lock()
	self := g.self
	g.mu.Unlock()
	if m.Peer == self.Peer {
		return m, nil
	}
	if own := (ClusterID{}); m.Cluster != own && self.Cluster != own && m.Cluster != self.Cluster {
		return m, fmt.Errorf("it belongs to the cluster %s, this node to %s", m.Cluster, self.Cluster)
	}
	if m.FormatMin > self.FormatMax || m.FormatMax < self.FormatMin {
		return m, fmt.Errorf("its build %s applies formats %d to %d, this node's build %s %d to %d: upgrade one release after the other",
			m.Build, m.FormatMin, m.FormatMax, self.Build, self.FormatMin, self.FormatMax)
	}
	if at := addressOf(n); at.Addr().IsLoopback() != g.address.Addr().IsLoopback() {
		return m, fmt.Errorf("one of %s and %s is a loopback address: the two cannot reach each other; say at which address others reach "+
			"each node", at, g.address)
	}
	return m, nil
}

// refuse keeps a reason for Run to tell, once for each address and reason.
func (g *Gossip) refuse(address, name string, reason error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	told := g.refused[address]
	if slices.Contains(told, reason.Error()) || len(g.refusals) >= maxWaiting {
		return
	}
	if len(g.refused) >= maxWaiting || len(told) >= maxReasons {
		clear(g.refused)
	}
	g.refused[address] = append(told, reason.Error())
	g.refusals = append(g.refusals, Refusal{Address: address, Name: name, Reason: reason, At: time.Now()})
	g.notify()
}

// maxReasons bounds how many reasons are kept for an address.
const maxReasons = 8

const (
	// rememberGone is how long members that are gone are known.
	rememberGone = 72 * time.Hour
	// maxGone bounds how many are; the first to be forgotten is who has been gone longest.
	maxGone = 256
)

// note keeps a copy of what memberlist says of a node.
func (g *Gossip) note(n *memberlist.Node, s Status) {
	meta, err := decodeMeta(n.Meta)
	if err != nil {
		return // it was refused
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.leaving[n.Name]; ok && s == Failed {
		s = Left // memberlist knows it, and does not tell
	}
	delete(g.leaving, n.Name)
	m := Member{Meta: meta, Address: addressOf(n), Status: s, Since: time.Now()}
	if before, ok := g.members[n.Name]; ok && before.Status == s {
		m.Since = before.Since
	}
	g.members[n.Name] = m
	delete(g.refused, m.Address.String())
	delete(g.refused, m.Address.Addr().String())
	g.forgetGone()
	if s == Failed {
		g.counts.Failures++
		g.doubt(m)
	}
	g.announce()
}

// doubt keeps a suspicion for Run to tell; mu is held.
func (g *Gossip) doubt(m Member) {
	if len(g.doubts) < maxWaiting {
		g.doubts = append(g.doubts, m)
	}
}

// announce wakes everybody who waits for a change; mu is held.
func (g *Gossip) announce() {
	g.changed = true
	close(g.news)
	g.news = make(chan struct{})
	g.notify()
}

// forgetGone is called with mu held.
func (g *Gossip) forgetGone() {
	var gone []string
	for name, m := range g.members {
		if m.Status == Alive {
			continue
		}
		if time.Since(m.Since) > rememberGone {
			delete(g.members, name)
			continue
		}
		gone = append(gone, name)
	}
	if len(gone) <= maxGone {
		return
	}
	slices.SortFunc(gone, func(a, b string) int { return g.members[a].Since.Compare(g.members[b].Since) })
	for _, name := range gone[:len(gone)-maxGone] {
		delete(g.members, name)
	}
}

func compareMembers(a, b Member) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return strings.Compare(a.Peer.name(), b.Peer.name())
}

// SetSelf changes what the node tells of itself; Run spreads it. The identity stays what it was in Options.
func (g *Gossip) SetSelf(change func(*Meta)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.self
	change(&next)
	next.Peer, next.Primary, next.Keys = g.self.Peer, g.self.Primary, g.self.Keys
	if err := next.Validate(); err != nil {
		return err
	}
	g.self, g.unspread = next, true
	g.notify()
	return nil
}
