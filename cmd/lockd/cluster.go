package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
)

const clusterHelp = `The cluster is changed through the HTTP port of a node, on that node's own
machine. A node joins by its start: lockd serve --join HOST, the gossip port of
any node, or later by lockd cluster join. It becomes a learner, and a voter once
it has caught up.

Examples:
lockd cluster init                 # found one, on one of the waiting nodes
lockd cluster status
lockd cluster remove n3
lockd cluster transfer n2`

func (p *program) clusterCommand() *cli.Command {
	order := func(name, usage, about string, kind lockd.OrderKind, force bool) *cli.Command {
		flags := []cli.Flag{httpFlag()}
		if force {
			flags = append(flags, &cli.BoolFlag{Name: "force", Usage: "also if a majority of the voters would not be healthy then"})
		}
		text := "lockd cluster " + name + " NODE [flags]"
		if kind == lockd.OrderTransfer {
			text = "lockd cluster " + name + " [NODE] [flags]"
		}
		return &cli.Command{
			Name: name, Usage: usage, UsageText: text, Description: about, Flags: flags,
			Action: p.action(func(ctx context.Context, c *call) error { return orderCluster(ctx, c, kind) }),
		}
	}
	return &cli.Command{
		Name: "cluster", Category: groupOperate, Usage: "found a cluster, see and change its nodes", UsageText: "lockd cluster COMMAND",
		Description: clusterHelp,
		Subcommands: []*cli.Command{
			{
				Name: "init", Usage: "found a cluster on a node that waits for one", UsageText: "lockd cluster init [flags]",
				Description: "The node is alone in it at first; all others that wait join it.\n\nExamples:\nlockd cluster init --http 127.0.0.1:7403",
				Flags:       []cli.Flag{httpFlag()}, Action: p.action(initCluster),
			},
			clusterStatusCommand(p),
			{
				Name: "join", Usage: "let a node that has no cluster join one", UsageText: "lockd cluster join ADDRESS [flags]",
				Description: `ADDRESS is the gossip port of any node of the cluster. The node that is asked
runs, and was started with --join or --bootstrap-expect. It asks there, and the
leader lets it in as a learner. Again is safe. After a restart it finds the
cluster by its own --join: put the address there too.

Examples:
lockd cluster join n1:7402`,
				Flags: []cli.Flag{httpFlag()}, Action: p.action(joinCluster),
			},
			{
				Name: "members", Usage: "list the nodes of the cluster", UsageText: "lockd cluster members [flags]",
				Description: "What the configuration says, and what gossip knows of it.\n\nExamples:\nlockd cluster members -o json",
				Flags:       []cli.Flag{httpFlag()}, Action: p.action(listMembers),
			},
			order("remove", "take a node out of the cluster", "It is not let in again; with an empty directory it is a new node.\n\nExamples:\nlockd cluster remove n3", lockd.OrderRemove, true),
			order("promote", "make a learner a voter", "Examples:\nlockd cluster promote n4", lockd.OrderPromote, false),
			order("demote", "make a voter a learner", "A node that was not started with --non-voter is made a voter again.\n\nExamples:\nlockd cluster demote n4", lockd.OrderDemote, true),
			order("transfer", "hand leadership to a voter", "Without NODE: to the one that has the most of the log.\n\nExamples:\nlockd cluster transfer n2", lockd.OrderTransfer, false),
			healthCommand(p), recoverCommand(p),
		},
	}
}

func httpFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "http", EnvVars: []string{"LOCKD_HTTP"}, Value: "127.0.0.1:" + defaultHTTPPort, Usage: "HTTP port of a node, `HOST:PORT`",
	}
}

func initCluster(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	return c.tell(c.give(ctx, "/cluster/init", struct{}{}))
}

func orderCluster(ctx context.Context, c *call, kind lockd.OrderKind) error {
	o := lockd.Order{Kind: kind, Force: c.flags.Bool("force")}
	if kind != lockd.OrderTransfer || c.flags.Args().Present() {
		args, err := c.args("NODE")
		if err != nil {
			return err
		}
		o.Node = args[0]
	}
	return c.tell(c.give(ctx, "/cluster/order", o))
}

// tell says what an order has done.
func (c *call) tell(done lockd.OrderDone, err error) error {
	if err != nil {
		return err
	}
	if c.json {
		return c.printJSON(done)
	}
	c.say("%s", done.Done)
	return nil
}

// give sends an order to the node's HTTP port.
func (c *call) give(ctx context.Context, path string, order any) (done lockd.OrderDone, err error) {
	body, err := json.Marshal(order)
	if err != nil {
		return done, err
	}
	return done, c.http(ctx, http.MethodPost, path, bytes.NewReader(body), &done)
}

// http asks the node's HTTP port, and reads JSON.
func (c *call) http(ctx context.Context, method, path string, body io.Reader, into any) error {
	address := withPort(c.flags.String("http"), defaultHTTPPort)
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, body)
	if err != nil {
		return c.usage("--http: %v", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := (&http.Client{}).Do(request)
	if err != nil {
		return &failure{code: exitUnavailable, err: err, hint: "--http names the HTTP port of a node (its --listen-http)"}
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	const most = 4 << 20
	text, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", strings.TrimSpace(string(text)))
	}
	return json.Unmarshal(text, into)
}

// memberShown is what is told of a node of the cluster.
type memberShown struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Role   string `json:"role"` // leader, voter, learner, or joining: it asks to be let in
	Raft   string `json:"raft"`
	Client string `json:"client"`
	Gossip string `json:"gossip"` // alive, failed, left; empty: not known
	Zone   string `json:"zone,omitempty"`
	Build  string `json:"build,omitempty"`
}

func listMembers(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	var s lockd.NodeStatus
	var gossip []lockd.GossipMember
	if err := c.http(ctx, http.MethodGet, "/status", nil, &s); err != nil {
		return err
	}
	if err := c.http(ctx, http.MethodGet, "/gossip", nil, &gossip); err != nil {
		return err
	}
	l := c.list("node", "ROLE", "raft", "client", "GOSSIP", "ZONE", "BUILD")
	for _, m := range mergeMembers(s, gossip) {
		if err := l.add(m, m.Name, m.Role, m.Raft, m.Client, orDash(m.Gossip), orDash(m.Zone), orDash(m.Build)); err != nil {
			return err
		}
	}
	return l.end()
}

// mergeMembers puts together what the configuration and what gossip say.
func mergeMembers(s lockd.NodeStatus, gossip []lockd.GossipMember) (list []memberShown) {
	for _, n := range s.Nodes {
		m := memberShown{Name: n.Name, ID: n.ID, Role: "learner", Raft: n.Raft, Client: n.Client}
		switch {
		case n.Name == s.Leader:
			m.Role = "leader"
		case n.Voter:
			m.Role = "voter"
		}
		list = append(list, m)
	}
	for _, g := range gossip {
		i := slices.IndexFunc(list, func(m memberShown) bool { return m.ID == g.ID })
		if i < 0 {
			role := "none"
			if g.Joining {
				role = "joining"
			}
			list = append(list, memberShown{Name: g.Name, ID: g.ID, Role: role, Raft: g.Raft, Client: g.Client})
			i = len(list) - 1
		}
		m := &list[i]
		m.Gossip, m.Zone, m.Build = g.Status, g.Zone, g.Build
		if m.Client == "" {
			m.Client = g.Client
		}
	}
	slices.SortFunc(list, func(a, b memberShown) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return list
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
