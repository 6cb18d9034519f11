package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

// statusTimeout is how long one node may take to tell how it is; the others are told without it.
const statusTimeout = 2 * time.Second

func (p *program) statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Category: groupOperate, Usage: "show how every node is", UsageText: "lockd status [flags]",
		Description: "Asks every node of the cluster for itself. Exit code 69: none answered, or they\nhave no leader.\n\nExamples:\nlockd status -e n1,n2,n3\nlockd status -o json",
		Action:      p.action(status),
	}
}

// nodeShown is what is told of a node.
type nodeShown struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Role     string `json:"role"` // leader, follower, learner or unreachable
	Term     uint64 `json:"term"`
	Commit   uint64 `json:"commit"`
	Applied  uint64 `json:"applied"`
	Locks    uint64 `json:"locks"`
	Sessions uint64 `json:"sessions"`
	Agent    string `json:"agent,omitempty"`
	Error    string `json:"error,omitempty"`
}

func status(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		nodes, err := cl.Nodes(ctx)
		if err != nil {
			return err
		}
		return c.printStatus(askAll(ctx, cl, nodes))
	})
}

func (c *call) printStatus(nodes []nodeShown) error {
	l := c.list("node", "address", "ROLE", "TERM", "APPLIED", "LOCKS", "SESSIONS")
	for _, n := range nodes {
		cells := []string{n.Name, n.Address, n.Role, "-", "-", "-", "-"}
		if n.Error == "" {
			for i, v := range []uint64{n.Term, n.Applied, n.Locks, n.Sessions} {
				cells[i+3] = strconv.FormatUint(v, 10)
			}
		}
		if err := l.add(n, cells...); err != nil {
			return err
		}
	}
	if err := l.end(); err != nil {
		return err
	}
	return c.judge(nodes)
}

// askAll asks all nodes at once.
func askAll(ctx context.Context, cl *client.Client, nodes []client.Node) []nodeShown {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	shown := make([]nodeShown, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() {
			s, err := cl.Status(ctx, n.Address)
			shown[i] = showNode(n, s, err)
		})
	}
	all.Wait()
	slices.SortFunc(shown, func(a, b nodeShown) int { return strings.Compare(a.Name, b.Name) })
	return shown
}

func showNode(n client.Node, s client.Status, err error) nodeShown {
	shown := nodeShown{Name: n.Name, Address: n.Address, Role: "follower"}
	switch {
	case err != nil:
		shown.Role, shown.Error = "unreachable", err.Error()
		return shown
	case s.Leader == n.ID:
		shown.Role = "leader"
	case !n.Voter:
		shown.Role = "learner"
	}
	shown.Term, shown.Commit, shown.Applied = s.Term, s.Commit, s.Applied
	shown.Locks, shown.Sessions, shown.Agent = s.Locks, s.Sessions, s.Agent
	return shown
}

// judge says what to do when the cluster is not well.
func (c *call) judge(nodes []nodeShown) error {
	var down []string
	leads := false
	for _, n := range nodes {
		leads = leads || n.Role == "leader"
		if n.Role == "unreachable" {
			down = append(down, n.Name)
		}
	}
	switch {
	case !leads:
		return &failure{
			code: exitUnavailable, err: errors.New("the nodes have no leader"),
			hint: "more than half of them must run and reach each other's Raft ports; see their logs",
		}
	case len(down) > 0:
		spare := (len(nodes)-1)/2 - len(down)
		c.say("%s cannot be reached; %s", strings.Join(down, ", "), plural(spare, "more node may fail", "more nodes may fail"))
	}
	return nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
