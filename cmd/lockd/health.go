package main

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/lockd/lockd/lockd"
)

func healthCommand(p *program) *cli.Command {
	return &cli.Command{
		Name: "health", Usage: "show how many nodes may fail, and how each one is", UsageText: "lockd cluster health [flags]",
		Description: `As the leader sees it; any node asks it. Exit code 1: a node is not well.

Examples:
lockd cluster health
lockd cluster health --http n1:7403 -o json`,
		Flags: []cli.Flag{httpFlag()}, Action: p.action(showHealth),
	}
}

func showHealth(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	var h lockd.ClusterHealth
	if err := c.http(ctx, http.MethodGet, "/cluster/health", nil, &h); err != nil {
		return err
	}
	well := h.Margin >= 0
	for _, s := range h.Servers {
		well = well && s.Fit
	}
	if err := c.printHealth(h); err != nil || well {
		return err
	}
	return &failure{code: exitFailure, err: errors.New("not every node is well"), hint: "see their logs; one that is lost for good: lockd cluster remove NODE"}
}

func (c *call) printHealth(h lockd.ClusterHealth) error {
	if c.json {
		return c.printJSON(h)
	}
	l := c.list("node", "ROLE", "STATE", "CONTACT", "BEHIND", "GOSSIP")
	for _, s := range h.Servers {
		contact := "-"
		if s.Contact >= 0 && s.Role != "leader" {
			contact = about(time.Duration(s.Contact) * time.Millisecond)
		}
		if err := l.add(s, s.Name, s.Role, stateOf(s), contact, strconv.FormatUint(s.Behind, 10), orDash(s.Gossip)); err != nil {
			return err
		}
	}
	if err := l.end(); err != nil {
		return err
	}
	c.say("%s", quorumOf(&h))
	if h.Why != "" {
		c.say("autopilot: %s: %s", h.Action, h.Why)
	}
	return nil
}

// stateOf says how a node is, and since when.
func stateOf(s lockd.ServerHealth) string {
	switch {
	case s.Fit:
		return "well, " + about(time.Duration(s.Healthy)*time.Millisecond)
	case s.Silent > 0:
		return "silent, " + about(time.Duration(s.Silent)*time.Millisecond)
	}
	return "unwell"
}

func marginOf(margin int) string {
	if margin < 0 {
		return "nothing can be decided"
	}
	return plural(margin, "more may fail", "more may fail")
}
