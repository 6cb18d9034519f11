package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
)

func clusterStatusCommand(p *program) *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show the cluster on one screen, and what is wrong with it", UsageText: "lockd cluster status [flags]",
		Description: `What any node and its leader know: who leads, how many may fail, how each node
is, and what to do where something is wrong. Exit code 1: there is a problem,
not only a warning; 69: the node has no cluster, or the cluster no leader.

Examples:
lockd cluster status
lockd cluster status --http n1:7403 -o json`,
		Flags: []cli.Flag{httpFlag()}, Action: p.action(showCluster),
	}
}

// clusterShown is what is told of the cluster.
type clusterShown struct {
	Cluster string        `json:"cluster"` // empty: the node that was asked has none
	Asked   string        `json:"asked"`   // name of that node
	Leader  string        `json:"leader"`  // empty: none is known
	Term    uint64        `json:"term"`
	Quorum  string        `json:"quorum"`
	Margin  *int          `json:"margin"` // how many more voters may fail; null: nobody knows
	Nodes   []serverShown `json:"nodes"`
	Wrong   []finding     `json:"wrong"`
}

// serverShown is one of its nodes.
type serverShown struct {
	memberShown
	State   string `json:"state"`           // empty: no leader tells
	Contact int64  `json:"last_contact_ms"` // since the leader last heard of it; negative: never, or no leader tells
	Behind  uint64 `json:"behind"`          // entries that it does not have yet
}

func showCluster(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	var s lockd.NodeStatus
	var gossip []lockd.GossipMember
	var h *lockd.ClusterHealth
	if err := c.http(ctx, http.MethodGet, "/status", nil, &s); err != nil {
		return err
	}
	if err := c.http(ctx, http.MethodGet, "/gossip", nil, &gossip); err != nil {
		return err
	}
	var unknown error
	if s.Cluster != "" {
		unknown = c.http(ctx, http.MethodGet, "/cluster/health", nil, &h)
	}
	shown := clusterOf(s, gossip, h, unknown)
	if err := c.printCluster(shown); err != nil {
		return err
	}
	switch {
	case s.Cluster == "" || h == nil:
		return &failure{code: exitUnavailable}
	case slices.ContainsFunc(shown.Wrong, func(f finding) bool { return f.Verdict == verdictProblem }):
		return &failure{code: exitFailure}
	}
	return nil
}

// clusterOf puts together what a node knows, what it hears by gossip, and how its leader finds the others, which nobody may know.
func clusterOf(s lockd.NodeStatus, gossip []lockd.GossipMember, h *lockd.ClusterHealth, unknown error) clusterShown {
	shown := clusterShown{Cluster: s.Cluster, Asked: s.Node, Leader: s.Leader, Term: s.Term, Nodes: []serverShown{}, Wrong: []finding{}}
	f := &findings{}
	switch {
	case s.Cluster == "":
		shown.Quorum = "not known"
		f.problem("cluster", s.Node, "lockd cluster join ADDRESS, or lockd cluster init on one node of a new one", "it has no cluster yet: %s", orDash(s.Waits))
	case h != nil:
		shown.Leader, shown.Term, shown.Margin = h.Leader, h.Term, &h.Margin
		shown.Quorum = quorumOf(h)
		f.quorum(h, nil)
	default:
		shown.Quorum = "not known"
		f.quorum(nil, unknown)
	}
	for _, m := range mergeMembers(s, gossip) {
		if m.Role == "none" && m.Gossip != "alive" {
			continue // it was removed, and is gone
		}
		if m.Name == s.Node && m.Build == "" {
			m.Build = s.Version
		}
		shown.Nodes = append(shown.Nodes, serverOf(m, h))
		if m.Name != s.Node {
			f.member(m)
		}
	}
	f.keys(gossip)
	f.builds(shown.Nodes)
	if s.Disk.Full {
		f.problem("space", s.Node, "make room: what grows the state is refused", "its disk is full")
	}
	for _, one := range f.list {
		if one.Verdict != verdictOK {
			shown.Wrong = append(shown.Wrong, one)
		}
	}
	return shown
}

func quorumOf(h *lockd.ClusterHealth) string {
	return fmt.Sprintf("%d of %s are well and %d are needed: %s", h.Healthy, plural(h.Voters, "voter", "voters"), h.Needed, marginOf(h.Margin))
}

func serverOf(m memberShown, h *lockd.ClusterHealth) serverShown {
	shown := serverShown{memberShown: m, Contact: -1}
	if h == nil {
		return shown
	}
	for _, s := range h.Servers {
		if s.ID == m.ID {
			shown.Role, shown.State, shown.Contact, shown.Behind = s.Role, stateOf(s), s.Contact, s.Behind
		}
	}
	return shown
}

// member tells of those who gossip here and belong to nobody.
func (f *findings) member(m memberShown) {
	switch {
	case m.Role == "joining" && m.Gossip == "alive":
		f.warn("members", m.Name, "nothing, if it has just been started; else look at its log and at the leader's", "it asks to be let into a cluster")
	case m.Role == "none" && m.Gossip == "alive":
		f.warn("members", m.Name, "it was removed: stop it; with an empty directory it can come back as a new node", "it runs, and is in no configuration")
	}
}

// builds tells of an upgrade that has not come to its end.
func (f *findings) builds(nodes []serverShown) {
	by := map[string][]string{}
	for _, n := range nodes {
		if n.Build != "" && n.Gossip != "left" {
			by[n.Build] = append(by[n.Build], n.Name)
		}
	}
	if len(by) > 1 {
		f.warn("versions", "cluster", "end the upgrade: the same version on all nodes; lockd doctor compares them", "%s", eachOf(by))
	}
}

// printCluster writes one screen.
func (c *call) printCluster(s clusterShown) error {
	if c.json {
		return c.printJSON(s)
	}
	leader := orDash(s.Leader)
	if s.Term > 0 {
		leader += ", term " + strconv.FormatUint(s.Term, 10)
	}
	if _, err := fmt.Fprintf(c.out, "cluster  %s\nleader   %s\nquorum   %s\n\n", orDash(s.Cluster), leader, s.Quorum); err != nil {
		return err
	}
	l := c.list("node", "ROLE", "STATE", "CONTACT", "BEHIND", "GOSSIP", "build")
	for _, n := range s.Nodes {
		contact, behind := "-", "-"
		if n.State != "" {
			behind = strconv.FormatUint(n.Behind, 10)
		}
		if n.Contact >= 0 && n.Role != "leader" {
			contact = about(time.Duration(n.Contact) * time.Millisecond)
		}
		if err := l.add(n, n.Name, n.Role, orDash(n.State), contact, behind, orDash(n.Gossip), orDash(n.Build)); err != nil {
			return err
		}
	}
	if err := l.end(); err != nil {
		return err
	}
	width := max(columns(c.out), defaultColumns) - gap
	for _, one := range s.Wrong {
		lines := wrap(one.Verdict+": "+one.Of+": "+one.Found, width)
		if one.Do != "" {
			lines = append(lines, wrap("→ "+one.Do, width)...)
		}
		if _, err := fmt.Fprintf(c.out, "\n%s\n", strings.Join(lines, "\n  ")); err != nil {
			return err
		}
	}
	return nil
}

func joinCluster(ctx context.Context, c *call) error {
	args, err := c.args("ADDRESS")
	if err != nil {
		return err
	}
	done, err := c.give(ctx, "/cluster/join", lockd.JoinOrder{Seed: args[0]})
	if err != nil && strings.Contains(err.Error(), lockd.NobodyMet) {
		err = &failure{code: exitFailure, err: err, hint: "ADDRESS is the gossip port of a node of the cluster (its --listen-gossip)"}
	}
	return c.tell(done, err)
}
