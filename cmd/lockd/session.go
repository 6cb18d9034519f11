package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

func (p *program) sessionCommand() *cli.Command {
	return &cli.Command{
		Name: "session", Category: groupLook, Usage: "list the sessions of the clients, or show one", UsageText: "lockd session COMMAND",
		Description: "A session is what keeps a client's locks: it expires when the cluster has not\nheard of the client for its TTL.\n\nExamples:\nlockd session list\nlockd session show $LOCKD_SESSION",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list the living sessions, oldest first", UsageText: "lockd session list [flags]",
				Flags: []cli.Flag{staleFlag()}, Description: "Examples:\nlockd session list -o json", Action: p.action(listSessions),
			},
			{
				Name: "show", Usage: "show one session", UsageText: "lockd session show ID [flags]",
				Flags: []cli.Flag{staleFlag()}, Description: "Examples:\nlockd session show 6f1c0a52e0b84d3e9a7a4c1d2b3e4f50", Action: p.action(showSession),
			},
		},
	}
}

// sessionShown is what is told of a session.
type sessionShown struct {
	ID       string `json:"id"`
	Identity string `json:"identity"`
	Host     string `json:"host"`
	PID      int    `json:"pid"`
	TTL      int64  `json:"ttl_ms"`
	Grace    int64  `json:"grace_ms,omitempty"`
	Index    uint64 `json:"index"`
}

func shownSession(s client.SessionInfo) sessionShown {
	return sessionShown{s.ID.String(), s.Identity, s.Host, s.PID, milliseconds(s.TTL), milliseconds(s.Grace), s.Index}
}

func listSessions(ctx context.Context, c *call) error {
	if _, err := c.args(); err != nil {
		return err
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		l := c.list("ID", "client", "TTL", "OPENED AT")
		for s, err := range cl.Sessions(ctx, c.reading()...) {
			if err != nil {
				return err
			}
			if err := l.add(shownSession(s), s.ID.String(), s.Identity, about(s.TTL), strconv.FormatUint(s.Index, 10)); err != nil {
				return err
			}
		}
		return l.end()
	})
}

func showSession(ctx context.Context, c *call) error {
	args, err := c.args("ID")
	if err != nil {
		return err
	}
	raw, err := hex.DecodeString(args[0])
	if err != nil || len(raw) != len(client.SessionID{}) {
		return c.usage("ID %q is not 32 hexadecimal digits", args[0])
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		s, err := cl.SessionInfo(ctx, client.SessionID(raw), c.reading()...)
		if errors.Is(err, client.ErrNotFound) {
			return &failure{code: exitFailure, err: fmt.Errorf("session %s does not live (any more)", args[0])}
		}
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(shownSession(s))
		}
		fmt.Fprintf(c.out, "session  %s\nclient   %s\nhost     %s\npid      %d\nttl      %s\nopened   at index %d\n",
			s.ID, s.Identity, s.Host, s.PID, about(s.TTL), s.Index)
		if s.Grace > 0 {
			fmt.Fprintf(c.out, "grace    %s after a disconnect\n", about(s.Grace))
		}
		return nil
	})
}
