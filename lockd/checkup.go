package lockd

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// Checkup is what a node finds out about itself and about the way to the others, for "lockd doctor".
type Checkup struct {
	Node     string        `json:"node"`
	Version  string        `json:"version"`
	Listens  Addresses     `json:"listens"`
	Election time.Duration `json:"election_timeout_ns"`
	Joined   bool          `json:"joined"` // it has found its cluster
	Host     Host          `json:"host"`
	Peers    []PeerCheck   `json:"peers"` // by name
}

// PeerCheck is one other node as this one reaches it. An empty error: it answers, or the node does not tell that it has such a port.
type PeerCheck struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Version string `json:"version,omitempty"` // empty: it did not tell

	Raft        string `json:"raft"` // addresses
	Client      string `json:"client,omitempty"`
	Gossip      string `json:"gossip,omitempty"`
	RaftError   string `json:"raft_error,omitempty"`
	ClientError string `json:"client_error,omitempty"`
	UDPError    string `json:"gossip_udp_error,omitempty"`
	TCPError    string `json:"gossip_tcp_error,omitempty"`

	Clock ClockCheck `json:"clock"`
}

// ClockCheck compares two clocks.
type ClockCheck struct {
	Known       bool          `json:"known"`
	Ahead       time.Duration `json:"ahead_ns"`       // of the other one's wall clock
	Uncertainty time.Duration `json:"uncertainty_ns"` // of that
	Faster      float64       `json:"faster"`         // by which part the other one's monotonic clock runs faster
	Uncertain   float64       `json:"uncertain"`      // of that
}

// reading is what a node tells of its clocks, and its version.
type reading struct {
	Wall    time.Time     `json:"wall"`
	Up      time.Duration `json:"up"` // monotonic, since some moment
	Version string        `json:"version"`
}

func (n *node) reading() *reading {
	now := time.Now()
	return &reading{Wall: now, Up: now.Sub(n.started), Version: version()}
}

// Check looks at the machine and at the way to every other node, which takes a few seconds. It writes a little to the disk of the data
// directory; it changes nothing.
func (s *Server) Check(ctx context.Context) (*Checkup, error) {
	n, err := s.open()
	if err != nil {
		return nil, err
	}
	return n.check(ctx)
}

const checkTime = 20 * time.Second

func (n *node) check(ctx context.Context) (*Checkup, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTime, errNoAnswer)
	defer cancel()
	c := &Checkup{Node: n.config.Name, Version: version(), Listens: n.listens(), Election: n.config.ElectionTimeout, Joined: n.hasJoined()}
	others, err := n.others(ctx)
	if err != nil {
		return nil, err
	}
	c.Peers = make([]PeerCheck, len(others))
	var checking sync.WaitGroup
	for i, o := range others {
		checking.Go(func() { c.Peers[i] = n.checkPeer(ctx, o) })
	}
	checking.Wait()
	// The disk comes last: while it is busy no clock can be read.
	c.Host = CheckHost(ctx, n.config.DataDir)
	if c.Host.Disk.Path != "" {
		c.Host.Disk.Mark = n.config.MinFree
	}
	return c, nil
}

// other is another node, as the configuration or gossip tells of it.
type other struct {
	name         string
	id           raft.PeerID
	raft, client string
	member       *membership.Member // nil: gossip does not know it
}

// others returns the nodes of the configuration, and those that gossip sees alive.
func (n *node) others(ctx context.Context) (list []other, err error) {
	if n.hasJoined() {
		s, _, err := n.raft.Status(ctx)
		if err != nil {
			return nil, err
		}
		for _, p := range s.Config.Peers() {
			o := other{name: n.nameOf(p.ID), id: p.ID, raft: p.Address}
			if known, ok := n.directory.lookup(p.ID.Node); ok {
				o.client = known.Address
			}
			list = append(list, o)
		}
	}
	for _, m := range n.members() {
		id := peerOf(m.Peer)
		i := slices.IndexFunc(list, func(o other) bool { return o.id == id })
		if i < 0 && m.Status != membership.Alive {
			continue
		}
		if i < 0 {
			list = append(list, other{name: m.Name, id: id, raft: m.Raft})
			i = len(list) - 1
		}
		list[i].member, list[i].client = &m, cmp.Or(list[i].client, m.Client)
	}
	list = slices.DeleteFunc(list, func(o other) bool { return o.id == n.self })
	slices.SortFunc(list, func(a, b other) int { return strings.Compare(a.name+a.raft, b.name+b.raft) })
	return list, nil
}

// members returns who is known by gossip; nobody if there is none.
func (n *node) members() []membership.Member {
	if n.gossip == nil {
		return nil
	}
	return n.gossip.Members()
}

func (n *node) checkPeer(ctx context.Context, o other) PeerCheck {
	c := PeerCheck{Name: o.name, ID: o.id.String(), Raft: o.raft, Client: o.client}
	var ways sync.WaitGroup
	if o.member != nil {
		c.Gossip = o.member.Address.String()
		ways.Go(func() {
			udp, tcp := n.gossip.Reach(*o.member)
			c.UDPError, c.TCPError = said(udp), said(tcp)
		})
	}
	if o.client != "" {
		ways.Go(func() { c.ClientError = said(n.knock(ctx, o.client)) })
	}
	ways.Go(func() { c.RaftError = said(n.compareClocks(ctx, o, &c)) })
	ways.Wait()
	return c
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// knock connects, and no more.
func (n *node) knock(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	conn, err := n.config.Dial(ctx, address)
	if err != nil {
		return err
	}
	return conn.Close()
}

// How clocks are compared: the quickest of some readings, twice, with time between them to see how fast they run.
const (
	clockReadings = 5
	clockApart    = 2 * time.Second
)

// compareClocks asks a node for its clocks, at its Raft port.
func (n *node) compareClocks(ctx context.Context, o other, c *PeerCheck) error {
	if !n.hasJoined() {
		return n.knock(ctx, o.raft) // whoever has no cluster yet is known to nobody
	}
	by, err := n.transport.Probe(ctx, o.raft)
	switch {
	case err != nil:
		return err
	case by.ID != o.id:
		return errors.New("another node answers there: " + by.ID.String())
	}
	first, err := n.readClock(ctx, o.raft)
	if _, declined := errors.AsType[*tcp.DeclinedError](err); declined {
		return nil // a version that knows nothing of this; it was reached
	}
	if err != nil {
		return err
	}
	c.Version = first.told.Version
	apart := time.NewTimer(clockApart)
	defer apart.Stop()
	select {
	case <-apart.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	second, err := n.readClock(ctx, o.raft)
	if err != nil {
		return err
	}
	c.Clock = compare(first, second)
	return nil
}

// clockReading is a reading of another node's clocks, at some moment from which this one's is not further than off.
type clockReading struct {
	told *reading
	at   time.Time
	off  time.Duration
}

func (n *node) readClock(ctx context.Context, address string) (best clockReading, err error) {
	for range clockReadings {
		asked := time.Now()
		ctx, cancel := context.WithTimeout(ctx, askTime)
		r, err := put(ctx, n.transport, address, question{Clock: true})
		cancel()
		if err != nil {
			return clockReading{}, err
		}
		if r.Clock == nil {
			return clockReading{}, &tcp.DeclinedError{Reason: "it tells no time"}
		}
		if off := time.Since(asked) / 2; best.told == nil || off < best.off {
			best = clockReading{r.Clock, asked.Add(off), off}
		}
	}
	return best, nil
}

func compare(first, second clockReading) ClockCheck {
	c := ClockCheck{Known: true, Ahead: second.told.Wall.Sub(second.at.Round(0)), Uncertainty: second.off}
	here, there := second.at.Sub(first.at), second.told.Up-first.told.Up
	if here > 0 && there > 0 { // less: it was started anew meanwhile
		c.Faster = float64(there)/float64(here) - 1
		c.Uncertain = float64(first.off+second.off) / float64(here)
	}
	return c
}
