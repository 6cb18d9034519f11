package lockd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// stewardEvery is how often a leader looks after the cluster.
const stewardEvery = 500 * time.Millisecond

// steward lets nodes into the cluster that ask for it, makes learners voters, and replaces the dead, as far as the configuration of
// this node allows. It works while its node leads.
type steward struct {
	n      *node
	policy membership.Policy
	leader raft.Term                    // in whose office the times below count
	since  time.Time                    // since when this node leads
	seen   map[raft.PeerID]*observation // of the servers in the configuration
	said   string                       // the last advice that was told
	turns  int                          // counts those who were asked whether they are who they say
}

// observation is since when a server has been well, or silent.
type observation struct{ healthy, silent time.Time }

func newSteward(n *node) *steward {
	return &steward{n: n, policy: n.config.policy(), seen: map[raft.PeerID]*observation{}}
}

// policy returns what autopilot may do.
func (c *Config) policy() membership.Policy {
	p := membership.DefaultPolicy()
	p.Size, p.Dead = c.DeclaredSize, c.ReplaceAfter
	return p
}

// run works until ctx ends.
func (w *steward) run(ctx context.Context) error {
	tick := time.NewTicker(stewardEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if w.n.standing.now().Role != raft.Leader {
			continue
		}
		if err := w.turn(ctx, time.Now()); err != nil && ctx.Err() == nil && !isPassing(err) {
			w.n.log.Warn("the cluster could not be changed", slog.Any("error", err))
		}
	}
}

// isPassing reports whether an error of a change will go away by itself.
func isPassing(err error) bool {
	_, moved := errors.AsType[*raft.NotLeaderError](err)
	return moved || errors.Is(err, raft.ErrConfigPending) || errors.Is(err, raft.ErrConfigChanged) || errors.Is(err, raft.ErrTransferring) ||
		errors.Is(err, raft.ErrNotCaughtUp)
}

// turn makes at most one change.
func (w *steward) turn(ctx context.Context, now time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, _, err := w.n.raft.Status(ctx)
	if err != nil || s.Role != raft.Leader || !s.Ready || s.Config.Joint() || !s.Transfer.IsZero() {
		return err
	}
	if s.Term != w.leader {
		w.leader, w.since, w.seen = s.Term, now, map[raft.PeerID]*observation{}
	}
	members := w.members()
	servers := w.observe(now, s, members)
	advice := membership.Advise(w.policy, now.Sub(w.since), servers)
	w.n.findings.set(s.Term, servers, members, advice)
	if one, err := w.moved(ctx, s); one || err != nil {
		return err
	}
	if p, ok := w.applicant(ctx, s, members); ok {
		next := raft.Config{Voters: s.Config.Voters, Learners: append(slices.Clone(s.Config.Learners), p)}
		_, err := w.n.raft.Reconfigure(ctx, s.Config.Index, next)
		if err == nil {
			w.n.log.Info("a node was let into the cluster, as a learner", slog.String("node", p.ID.String()), slog.String("raft", p.Address))
		}
		return err
	}
	return w.follow(ctx, s, advice)
}

func (w *steward) members() []membership.Member {
	if w.n.gossip == nil {
		return nil
	}
	return w.n.gossip.Members()
}

// applicant returns a node that asks to be let in, if there is one that proves at its Raft port that it is what gossip says.
// It asks one in each turn, for a second, so that those who only pretend hold up nobody.
func (w *steward) applicant(ctx context.Context, s raft.Status, members []membership.Member) (raft.Peer, bool) {
	asking := slices.DeleteFunc(slices.Clone(members), func(m membership.Member) bool {
		return m.Status != membership.Alive || !m.Joining || m.Cluster != membership.ClusterID(w.n.id.cluster()) || s.Config.Contains(peerOf(m.Peer))
	})
	if len(asking) == 0 || len(s.Config.Peers()) >= raft.MaxPeers {
		return raft.Peer{}, false
	}
	m := asking[w.turns%len(asking)]
	w.turns++
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	id := peerOf(m.Peer)
	by, err := w.n.transport.Probe(ctx, m.Raft)
	if err != nil || by.ID != id || by.Cluster != w.n.id.cluster() {
		w.n.log.Debug("a node that asks to be let in does not answer as itself", slog.String("node", m.Name), slog.Any("error", err))
		return raft.Peer{}, false
	}
	return raft.Peer{ID: id, Address: m.Raft}, true
}

// silence returns how long a leader has not heard of a peer.
func silence(s raft.Status, id raft.PeerID) (silent time.Duration, known bool) {
	if id == s.ID {
		return 0, true
	}
	i := slices.IndexFunc(s.Peers, func(p raft.PeerStatus) bool { return p.ID == id })
	if i < 0 {
		return 0, false
	}
	return s.Now - s.Peers[i].Heard, true
}

// observe brings up to date what is known of the servers, and returns it in autopilot's terms.
func (w *steward) observe(now time.Time, s raft.Status, members []membership.Member) (servers []membership.Server) {
	for _, p := range s.Config.Peers() {
		v := membership.Server{
			ID: p.ID.String(), Name: w.n.nameOf(p.ID), Voter: s.Config.IsVoter(p.ID), Leader: p.ID == s.ID, Contact: -1,
			NonVoter: true, // who is not heard of does not ask to be a voter
		}
		if silent, known := silence(s, p.ID); known {
			v.Contact = silent
		}
		if i := slices.IndexFunc(s.Peers, func(q raft.PeerStatus) bool { return q.ID == p.ID }); i >= 0 {
			v.Behind = uint64(s.Commit - min(s.Commit, s.Peers[i].Match))
		}
		gone := true // where nobody gossips, only the leader knows
		if i := slices.IndexFunc(members, func(m membership.Member) bool { return peerOf(m.Peer) == p.ID }); i >= 0 {
			v.NonVoter, v.Gossip = members[i].NonVoter, members[i].Status
			gone = members[i].Status != membership.Alive
		}
		o := w.seen[p.ID]
		if o == nil {
			o = &observation{}
			w.seen[p.ID] = o
		}
		v.Healthy = since(&o.healthy, now, w.policy.Fit(v))
		v.Silent = since(&o.silent, now, gone && !w.policy.Fit(v))
		servers = append(servers, v)
	}
	for id := range w.seen {
		if !s.Config.Contains(id) {
			delete(w.seen, id)
		}
	}
	return servers
}

// since returns how long a condition has held, of which from holds the beginning.
func since(from *time.Time, now time.Time, holds bool) time.Duration {
	if !holds {
		*from = time.Time{}
		return 0
	}
	if from.IsZero() {
		*from = now
	}
	return now.Sub(*from)
}

// follow takes autopilot's advice.
func (w *steward) follow(ctx context.Context, s raft.Status, a membership.Advice) error {
	if a.Why != w.said && a.Why != "" {
		w.n.log.Info("autopilot", slog.String("action", a.Action.String()), slog.String("why", a.Why))
	}
	w.said = a.Why
	if a.Action == membership.Nothing {
		return nil
	}
	next := raft.Config{Voters: slices.Clone(s.Config.Voters), Learners: slices.Clone(s.Config.Learners)}
	is := func(id string) func(raft.Peer) bool { return func(p raft.Peer) bool { return p.ID.String() == id } }
	if i := slices.IndexFunc(next.Learners, is(a.In)); i >= 0 {
		next.Voters, next.Learners = append(next.Voters, next.Learners[i]), slices.Delete(next.Learners, i, i+1)
	}
	next.Voters, next.Learners = slices.DeleteFunc(next.Voters, is(a.Out)), slices.DeleteFunc(next.Learners, is(a.Out))
	if _, err := w.n.raft.Reconfigure(ctx, s.Config.Index, next); err != nil {
		return fmt.Errorf("%s: %w", a.Action, err)
	}
	w.n.log.Info("autopilot has changed the cluster", slog.String("action", a.Action.String()), slog.String("in", a.In), slog.String("out", a.Out),
		slog.String("why", a.Why))
	return nil
}
