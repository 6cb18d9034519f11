package lockd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// ClusterHealth is what the leader knows of the nodes of its cluster.
type ClusterHealth struct {
	Leader  string         `json:"leader"` // name
	Term    uint64         `json:"term"`
	Voters  int            `json:"voters"`
	Healthy int            `json:"healthy_voters"`
	Needed  int            `json:"needed"` // of them, for a majority
	Margin  int            `json:"margin"` // how many more may fail; negative: nothing can be decided
	Action  string         `json:"autopilot"`
	Why     string         `json:"autopilot_why,omitempty"` // or what it waits for
	Servers []ServerHealth `json:"servers"`                 // by name
}

// ServerHealth is one node, as the leader sees it.
type ServerHealth struct {
	Name    string `json:"name"`
	ID      string `json:"id"`
	Role    string `json:"role"`            // leader, voter or learner
	Fit     bool   `json:"fit"`             // it answers the leader and is not behind
	Contact int64  `json:"last_contact_ms"` // since the leader last heard of it; negative: never
	Behind  uint64 `json:"behind"`          // entries that it does not have yet
	Gossip  string `json:"gossip"`          // alive, failed or left; empty: nobody gossips, or not with it
	Healthy int64  `json:"healthy_ms"`      // for how long without a break
	Silent  int64  `json:"silent_ms"`       // for how long neither gossip nor the leader has heard of it
}

// findings are what a steward has seen at its last turn.
type findings struct {
	mu      sync.Mutex // guards the fields below
	term    raft.Term  // in which it led; zero: it has not had a turn
	servers []membership.Server
	members []membership.Member // of gossip
	advice  membership.Advice
}

func (f *findings) set(term raft.Term, servers []membership.Server, members []membership.Member, a membership.Advice) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.term, f.servers, f.members, f.advice = term, servers, members, a
}

// health tells what the leader of a term has found.
func (f *findings) health(term raft.Term, leader string, p membership.Policy) (*ClusterHealth, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.term != term {
		return nil, fmt.Errorf("%s leads since a moment ago, and has not looked after the others yet: ask again", leader)
	}
	h := &ClusterHealth{Leader: leader, Term: uint64(term), Action: f.advice.Action.String(), Why: f.advice.Why}
	var voters []membership.Voter
	for _, s := range f.servers {
		v := f.server(s, p)
		if s.Voter {
			voters = append(voters, membership.Voter{Name: s.Name, Healthy: v.Fit})
			if v.Fit {
				h.Healthy++
			}
		}
		h.Servers = append(h.Servers, v)
	}
	slices.SortFunc(h.Servers, func(a, b ServerHealth) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	h.Voters, h.Needed, h.Margin = len(voters), membership.Majority(len(voters)), membership.Margin(voters)
	return h, nil
}

// server is called with mu held.
func (f *findings) server(s membership.Server, p membership.Policy) ServerHealth {
	v := ServerHealth{
		Name: s.Name, ID: s.ID, Role: "learner", Fit: p.Fit(s), Contact: -1, Behind: s.Behind,
		Healthy: s.Healthy.Milliseconds(), Silent: s.Silent.Milliseconds(),
	}
	if s.Contact >= 0 {
		v.Contact = s.Contact.Milliseconds()
	}
	switch {
	case s.Leader:
		v.Role = "leader"
	case s.Voter:
		v.Role = "voter"
	}
	if i := slices.IndexFunc(f.members, func(m membership.Member) bool { return peerOf(m.Peer).String() == s.ID }); i >= 0 {
		v.Gossip = f.members[i].Status.String()
	}
	return v
}

// health tells how the nodes of the cluster are, as its leader sees them.
func (n *node) health(ctx context.Context) (*ClusterHealth, error) {
	if !n.hasJoined() {
		return nil, errJoining
	}
	s, _, err := n.raft.Status(ctx)
	if err != nil {
		return nil, err
	}
	if s.Role == raft.Leader {
		return n.findings.health(s.Term, n.config.Name, n.config.policy())
	}
	i := slices.IndexFunc(s.Config.Peers(), func(p raft.Peer) bool { return p.ID == s.Leader })
	if i < 0 {
		return nil, errors.New("no leader is known: most of the nodes are down, or cannot reach each other")
	}
	r, err := put(ctx, n.transport, s.Config.Peers()[i].Address, question{Health: true})
	if err == nil && r.Health == nil {
		err = errors.New("the leader does not tell")
	}
	return r.Health, err
}
