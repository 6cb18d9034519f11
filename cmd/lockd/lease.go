package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

const leaseHelp = `A lease is a hold that ends at a time and needs no program that stays: whoever
knows its reference can renew it, release it or take it over.

Examples:
ref=$(lockd lease acquire backups/db --ttl 2h)
lockd lease renew $ref --ttl 2h
lockd lease release $ref`

func (p *program) leaseCommand() *cli.Command {
	ttl := func() cli.Flag {
		return &cli.DurationFlag{Name: "ttl", Value: time.Hour, Usage: "it lasts this `TIME` from now, from 1s to 720h"}
	}
	return &cli.Command{
		Name: "lease", Category: groupHold, Usage: "hold a lock for a time, without a program that stays",
		UsageText: "lockd lease COMMAND", Description: leaseHelp,
		Subcommands: []*cli.Command{
			{
				Name: "acquire", Usage: "acquire a lease and print its reference", UsageText: "lockd lease acquire NAME [flags]",
				Flags: slices.Concat([]cli.Flag{
					ttl(),
					&cli.BoolFlag{Name: "shared", Usage: "hold it beside others who share it (a reader)"},
					&cli.IntFlag{Name: "slots", Usage: "hold one of `N` slots; all who use the lock name the same N"},
					&cli.DurationFlag{Name: "lock-delay", Usage: "nobody gets it for this `TIME` after it expired"},
					&cli.StringFlag{Name: "value", Usage: "`TEXT` for all who look at the lock"},
				}, waitFlags()),
				Description: "Examples:\nlockd lease acquire backups/db --ttl 2h --try\nlockd lease acquire gpu --slots 4 -o json",
				Action:      p.bare(acquireLease),
			},
			{
				Name: "renew", Usage: "make a lease last longer", UsageText: "lockd lease renew REFERENCE [--ttl TIME]",
				Flags: []cli.Flag{ttl()}, Description: "Examples:\nlockd lease renew $ref --ttl 2h",
				Action: p.action(renewLease),
			},
			{
				Name: "release", Usage: "end a lease", UsageText: "lockd lease release REFERENCE",
				Description: "Examples:\nlockd lease release $ref", Action: p.action(releaseLease),
			},
			{
				Name: "take", Usage: "take a lease over: a new token and a new reference", UsageText: "lockd lease take REFERENCE [--ttl TIME]",
				Flags: []cli.Flag{ttl()}, Action: p.action(takeLease),
				Description: "The old reference is worth nothing afterwards, and the old token is stale: so a\njob goes on somewhere else, and what is left of it here can do no harm.\n\nExamples:\nref=$(lockd lease take $ref --ttl 2h)",
			},
			{
				Name: "show", Usage: "show the lock that a lease holds", UsageText: "lockd lease show REFERENCE",
				Description: "Examples:\nlockd lease show $ref", Action: p.action(showLease),
			},
		},
	}
}

// leased is what is told of a lease.
type leased struct {
	Reference  string `json:"reference"`
	Name       string `json:"name"`
	Lease      string `json:"lease"`
	Token      uint64 `json:"token"`
	TTL        int64  `json:"ttl_ms"`
	ValidUntil string `json:"valid_until"`
	Previous   string `json:"previous,omitempty"`
}

// printLease prints the reference alone for a shell, and the rest for people.
func (c *call) printLease(l *client.Lease, ttl time.Duration) error {
	ref, previous := l.Ref(), ""
	if p := l.Previous(); p.How != client.HowUnknown {
		previous = p.How.String()
	}
	if c.json {
		return c.printJSON(leased{ref.String(), ref.Name, ref.ID.String(), ref.Token, milliseconds(ttl), moment(l.ValidUntil()), previous})
	}
	c.say("lease of %q until %s, token %d%s", ref.Name, l.ValidUntil().Local().Format(time.DateTime), ref.Token, after(l.Previous()))
	_, err := fmt.Fprintln(c.out, ref)
	return err
}

func acquireLease(ctx context.Context, c *call) error {
	d, err := c.leaseDemand()
	if err != nil {
		return err
	}
	ttl := c.flags.Duration("ttl")
	return c.hold(ctx, d, func(ctx context.Context, cl *client.Client, s *client.Session, caught *signals) error {
		waiting, release := caught.ending(ctx)
		asking, cancel := d.patience(waiting)
		defer cancel()
		options := append(slices.Clone(d.options), client.InSession(s))
		if d.wait > 0 {
			options = append(options, client.MaxWait(d.wait))
		}
		acquire := cl.AcquireLease
		if d.try {
			acquire = cl.TryLease
		}
		l, err := acquire(asking, d.names[0], ttl, options...)
		release()
		switch signalled := stoppedBy(waiting); {
		case err == nil:
			return c.printLease(l, ttl) // also after a signal: the lease is there, and only its reference ends it
		case signalled != nil:
			return signalled
		case errors.Is(err, client.ErrNotAcquired) || errors.Is(context.Cause(asking), client.ErrNotAcquired):
			return d.notAcquired()
		}
		return err
	})
}

// leaseDemand reads the command line of acquire.
func (c *call) leaseDemand() (*demand, error) {
	names, err := c.args("NAME")
	if err != nil {
		return nil, err
	}
	f := c.flags
	d := &demand{
		names: names, try: f.Bool("try"), wait: f.Duration("wait"), conflict: f.Int("conflict-exit-code"),
		ttl: client.DefaultTTL, options: c.options(),
	}
	if f.IsSet("wait") && d.wait <= 0 {
		d.try = true
	}
	return d, c.check(d)
}

// lease returns the lease that the command line refers to.
func (c *call) lease() (client.LeaseRef, error) {
	args, err := c.args("REFERENCE")
	if err != nil {
		return client.LeaseRef{}, err
	}
	ref, err := client.ParseLeaseRef(args[0])
	if err != nil {
		return ref, c.usage("%v", err)
	}
	return ref, nil
}

func renewLease(ctx context.Context, c *call) error {
	ref, err := c.lease()
	if err != nil {
		return err
	}
	ttl := c.flags.Duration("ttl")
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		l := cl.Lease(ref)
		if err := l.Renew(ctx, ttl); err != nil {
			return err
		}
		return c.printLease(l, ttl)
	})
}

func releaseLease(ctx context.Context, c *call) error {
	ref, err := c.lease()
	if err != nil {
		return err
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		if err := cl.Lease(ref).Release(ctx); err != nil {
			return err
		}
		c.say("lease of %q released", ref.Name)
		return nil
	})
}

func takeLease(ctx context.Context, c *call) error {
	ref, err := c.lease()
	if err != nil {
		return err
	}
	ttl := c.flags.Duration("ttl")
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		l, err := cl.Lease(ref).HandOn(ctx, ttl)
		if err != nil {
			return err
		}
		return c.printLease(l, ttl)
	})
}

func showLease(ctx context.Context, c *call) error {
	ref, err := c.lease()
	if err != nil {
		return err
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		info, err := cl.Get(ctx, ref.Name, client.Most(mostTold))
		if err != nil {
			return err
		}
		i := slices.IndexFunc(info.Holders, func(h client.Holder) bool { return h.Lease == ref.ID && h.Token == ref.Token })
		if i < 0 {
			return fmt.Errorf("lease of %q: %w", ref.Name, client.ErrNotHeld)
		}
		info.Holders = info.Holders[i : i+1]
		return c.printLock(info)
	})
}
