package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

const electHelp = `The command lives while this candidate leads. When the leadership is lost, the
command is stopped as "lockd lock" does it, and the candidate campaigns again,
unless --once is given. When the command ends by itself, the candidate resigns
and ends with the command's exit code.

LOCKD_TOKEN is the term: send it with every write. Without a command the
candidate leads until INT or TERM, and prints each term it wins.

Examples:
lockd elect scheduler --value $(hostname):8080 -- ./scheduler
lockd elect scheduler --once -- ./scheduler
lockd leader scheduler`

func (p *program) electCommand() *cli.Command {
	flags := slices.Concat(waitFlags(), holdFlags(), commandFlags())
	return &cli.Command{
		Name: "elect", Category: groupHold, Usage: "run a command while leading an election",
		UsageText:   "lockd elect NAME [flags] -- COMMAND [ARGUMENT...]\nlockd elect NAME [flags]",
		Description: electHelp,
		Flags:       append([]cli.Flag{&cli.BoolFlag{Name: "once", Usage: "do not campaign again after a loss; exit code 76"}}, flags...),
		Action:      p.bare(elect),
	}
}

// elect is the command.
func elect(ctx context.Context, c *call) error {
	d, err := c.demand()
	if err != nil {
		return err
	}
	once := c.flags.Bool("once")
	return c.hold(ctx, d, func(ctx context.Context, cl *client.Client, s *client.Session, caught *signals) error {
		for {
			err := c.lead(ctx, cl, s, d, caught)
			if f, ok := errors.AsType[*failure](err); once || !ok || f.code != exitLost || f.err == nil {
				return err
			}
			c.say("%v; campaigning again", err)
		}
	})
}

// lead campaigns, and leads for one term.
func (c *call) lead(ctx context.Context, cl *client.Client, s *client.Session, d *demand, caught *signals) error {
	ask := func(ctx context.Context) (*client.Lock, error) {
		return d.campaign(ctx, cl, s, []byte(c.flags.String("value")))
	}
	return c.once(ctx, d, caught, ask, func(why error) error { return fmt.Errorf("leadership of %q lost: %w", d.names[0], why) })
}

// campaign asks for the leadership.
func (d *demand) campaign(ctx context.Context, cl *client.Client, s *client.Session, value []byte) (*client.Lock, error) {
	if d.try {
		return d.ask(ctx, cl, s) // an election is a lock, and to try is to take it or leave it
	}
	options := append(slices.Clone(d.options), client.InSession(s))
	if d.wait > 0 {
		options = append(options, client.MaxWait(d.wait))
	}
	l, err := cl.Campaign(ctx, d.names[0], value, options...)
	if err != nil {
		return nil, err
	}
	return l.Lock, nil
}
