package lockd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// askTime bounds a question to one node while a cluster is looked for.
const askTime = 3 * time.Second

// seek finds the cluster of a node that has neither a list nor a log, or founds it with others, or alone if an operator says so. It
// returns the voters if this node is the founder.
func (f *founding) seek(ctx context.Context, p *port) (voters []raft.Peer, err error) {
	if own := f.vow.bound(); own != nil && own.Founder == f.id.peer() { // the process ended in the middle
		if err := f.giveUp(own); err != nil {
			return nil, err
		}
	}
	err = f.ask(ctx, func() (wait, fatal error) {
		wait, fatal = f.look(ctx, p, &voters)
		return wait, fatal
	})
	return voters, err
}

// look is one turn of seek.
func (f *founding) look(ctx context.Context, p *port, voters *[]raft.Peer) (wait, fatal error) {
	asked := f.gossip.Asked() // before what is known is looked at
	known := f.gossip.Members()
	members := slices.DeleteFunc(slices.Clone(known), func(m membership.Member) bool { return m.Status != membership.Alive || m.Raft == "" })
	clusters, of := clustersOf(members)
	switch {
	case len(clusters) > 1:
		wait = fmt.Errorf("nodes of %d clusters are in reach (%s): give each cluster a name of its own", len(clusters), strings.Join(clusters, ", "))
		f.deny(wait)
		return wait, nil
	case len(clusters) == 1:
		f.deny(errHasCluster)
		return f.joinAny(ctx, p, of)
	}
	if other := f.vow.bound(); other != nil {
		f.deny(fmt.Errorf("this node takes part in the founding by the node at %s", other.Address))
		return f.awaitFounder(ctx, p, other)
	}
	if wait = unheardOf(known); wait != nil {
		f.deny(wait)
		return wait, nil
	}
	self := raft.Peer{ID: f.id.peer(), Address: p.advertise}
	joining := slices.DeleteFunc(slices.Clone(members), func(m membership.Member) bool { return !m.Joining })
	if f.wish != nil && !asked { // an operator may be quicker than gossip
		return errors.New("the nodes to join have not all been asked yet"), nil
	}
	if f.wish != nil {
		wait, fatal = f.propose(ctx, p, []raft.Peer{self}, witnesses(joining, self), voters)
		if err := errors.Join(fatal, wait); err != nil {
			f.deny(err)
		}
		return wait, fatal
	}
	if f.config.BootstrapExpect == 0 {
		return errors.New("no cluster has been found, and none is founded by itself: start a node of it, or \"lockd cluster init\" on one " +
			"node of a new cluster"), nil
	}
	all, wait := f.expected(joining)
	if wait == nil && all[0].ID != self.ID {
		wait = fmt.Errorf("%d nodes have found each other; the one at %s founds the cluster", len(all), all[0].Address)
	}
	if wait != nil {
		return wait, nil
	}
	return f.propose(ctx, p, all, all, voters)
}

// unheardOf returns an error if one of the members, be it alive or not, belongs to a cluster.
func unheardOf(members []membership.Member) error {
	clusters, of := clustersOf(members)
	if len(clusters) == 0 {
		return nil
	}
	return fmt.Errorf("%q of the cluster %s is %s, and none is founded beside that one: start its nodes. If it is gone for good, start the "+
		"nodes of a new one again, all at once: they have forgotten it then", of[0].Name, clusters[0], of[0].Status)
}

// clustersOf returns the clusters that members belong to, and those members.
func clustersOf(members []membership.Member) (list []string, of []membership.Member) {
	for _, m := range members {
		if m.Cluster == (membership.ClusterID{}) {
			continue
		}
		of = append(of, m)
		if id := m.Cluster.String(); !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list, of
}

func witnesses(joining []membership.Member, self raft.Peer) (list []raft.Peer) {
	for _, m := range joining {
		if p := peerOf(m.Peer); p != self.ID {
			list = append(list, raft.Peer{ID: p, Address: m.Raft})
		}
	}
	return list
}

func peerOf(p membership.Peer) raft.PeerID {
	return raft.PeerID{Node: raft.NodeID(p.Node), Incarnation: p.Incarnation}
}

// expected returns the nodes that found a cluster together, in the order of their ids, once they are exactly as many as each expects.
func (f *founding) expected(joining []membership.Member) (all []raft.Peer, wait error) {
	want := f.config.BootstrapExpect
	var names []string
	for _, m := range joining {
		if m.NonVoter {
			continue
		}
		if int(m.Expect) != want {
			return nil, fmt.Errorf("%q expects %d nodes, this one %d: start all with the same number", m.Name, m.Expect, want)
		}
		if slices.Contains(names, m.Name) {
			return nil, fmt.Errorf("two nodes are called %q", m.Name)
		}
		names = append(names, m.Name)
		all = append(all, raft.Peer{ID: peerOf(m.Peer), Address: m.Raft})
	}
	slices.Sort(names)
	if len(all) != want {
		return nil, fmt.Errorf("%d of %d nodes are there: %s", len(all), want, strings.Join(names, ", "))
	}
	slices.SortFunc(all, func(a, b raft.Peer) int { return a.ID.Compare(b.ID) })
	return all, nil
}

// propose founds a cluster of the voters if all witnesses promise it. A founder that hears one refusal gives up and frees the others.
func (f *founding) propose(ctx context.Context, p *port, of, witnesses []raft.Peer, voters *[]raft.Peer) (wait, fatal error) {
	pr := &promise{Founder: f.id.peer(), Address: p.advertise, Voters: of, Frees: slices.Clone(f.givenUp)}
	_, _ = rand.Read(pr.Cluster[:]) // never fails
	if err := f.vow.promise(tcp.Asker{ID: pr.Founder}, pr); err != nil {
		return err, nil
	}
	for _, w := range witnesses {
		if w.ID == pr.Founder {
			continue
		}
		if err := f.askFor(ctx, p, w, pr); err != nil {
			return fmt.Errorf("the founding with %v needs a promise of all, and %s gives none: %w", pr.names(), w.Address, err), f.giveUp(pr)
		}
	}
	// From here on it stands; it is saved together with the log. Nobody else may promise or release any more.
	err := f.vow.do(func() error {
		f.id.ClusterID = pr.Cluster
		return nil
	})
	if err == nil {
		err = f.reopen(ctx, p)
	}
	*voters = of
	return nil, err
}

// maxGivenUp bounds the foundings that are remembered; who is bound to an older one asks whether it stands.
const maxGivenUp = 16

func (f *founding) giveUp(pr *promise) error {
	f.givenUp = append(f.givenUp, pr.Cluster)
	f.givenUp = f.givenUp[max(0, len(f.givenUp)-maxGivenUp):]
	return f.vow.release(pr.Cluster)
}

func (f *founding) askFor(ctx context.Context, p *port, w raft.Peer, pr *promise) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	_, err := put(ctx, p.transport, w.Address, question{Promise: pr, To: w.ID})
	return err
}

// awaitFounder waits for the cluster that was promised, or for its founder to give it up.
func (f *founding) awaitFounder(ctx context.Context, p *port, pr *promise) (wait, fatal error) {
	address := pr.Address
	for _, m := range f.gossip.Members() { // it may have moved
		if peerOf(m.Peer) == pr.Founder && m.Raft != "" {
			address = m.Raft
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	r, err := put(ctx, p.transport, address, question{Stands: pr.Cluster, Founder: pr.Founder})
	switch {
	case err != nil:
		return fmt.Errorf("this node has promised to found a cluster with the node at %s, which does not answer: %w", address, err), nil
	case !r.Stands:
		return errors.New("the founding was given up, and is tried again"), f.vow.release(pr.Cluster)
	}
	return fmt.Errorf("the node at %s founds the cluster", address), nil
}

// joinAny makes this node one of the cluster of the members, by the first that answers.
func (f *founding) joinAny(ctx context.Context, p *port, of []membership.Member) (wait, fatal error) {
	for _, m := range of {
		if wait, fatal = f.joinCluster(ctx, p, m); wait == nil || fatal != nil {
			break
		}
	}
	return wait, fatal
}

// joinCluster makes this node one of the cluster of a member, which must prove at its Raft port that it is what gossip says.
func (f *founding) joinCluster(ctx context.Context, p *port, m membership.Member) (wait, fatal error) {
	by, err := p.transport.Probe(ctx, m.Raft)
	switch {
	case err != nil:
		return fmt.Errorf("%s of the cluster %s does not answer at its Raft port: %w", m.Name, m.Cluster, err), nil
	case by.ID != peerOf(m.Peer) || by.Cluster != m.Cluster || by.Status.Empty:
		return fmt.Errorf("the node at %s is not %s of the cluster %s, as gossip says", m.Raft, m.Name, m.Cluster), nil
	}
	if err := f.vow.join(clusterID(m.Cluster)); err != nil {
		if pr := f.vow.bound(); pr != nil { // to a founding that may have been given up
			wait, fatal = f.awaitFounder(ctx, p, pr)
		}
		return errors.Join(err, wait), fatal
	}
	f.log.Info("the cluster is found", slog.String("cluster", m.Cluster.String()), slog.String("by", m.Name))
	return nil, f.reopen(ctx, p)
}

// reopen opens the Raft port anew, as a node of the cluster that the identity names now.
func (f *founding) reopen(ctx context.Context, p *port) error {
	address := p.transport.Addr().String()
	if err := p.transport.Close(); err != nil {
		return err
	}
	next, err := f.open(ctx, address)
	if err != nil {
		return err
	}
	*p = *next
	return nil
}

// deny tells the operator who wished for a cluster why there is none, or nil.
func (f *founding) deny(reason error) {
	if f.wish != nil {
		f.wish.done <- reason
		f.wish = nil
	}
}
