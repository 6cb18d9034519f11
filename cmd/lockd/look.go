package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

const mostTold = 1000 // holders, and waiters, of one lock

func staleFlag() cli.Flag {
	return &cli.BoolFlag{Name: "stale", Usage: "what the asked node knows: faster, works without a leader, may be old"}
}

// reading returns how the command line wants to read.
func (c *call) reading() []client.ReadOption {
	if c.flags.Bool("stale") {
		return []client.ReadOption{client.Stale()}
	}
	return nil
}

func (p *program) lsCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Category: groupLook, Usage: "list locks", UsageText: "lockd ls [PREFIX] [flags]", Flags: []cli.Flag{staleFlag()},
		Description: "Lists the locks that somebody holds or waits for.\n\nExamples:\nlockd ls\nlockd ls jobs/ -o json",
		Action:      p.action(ls),
	}
}

// lockLine is a lock in a list.
type lockLine struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Slots   int    `json:"slots,omitempty"`
	Held    int    `json:"held"`
	Waiting int    `json:"waiting"`
	Newest  uint64 `json:"newest_token"`
}

func ls(ctx context.Context, c *call) error {
	var prefix string
	if c.flags.Args().Present() {
		args, err := c.args("PREFIX")
		if err != nil {
			return err
		}
		prefix = args[0]
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		l := c.list("name", "KIND", "HELD", "WAITING", "TOKEN")
		for s, err := range cl.List(ctx, prefix, c.reading()...) {
			if err != nil {
				return err
			}
			err = l.add(lockLine{s.Name, kind(s.Slots), s.Slots, s.Held, s.Waiting, s.Newest},
				s.Name, kindText(s.Slots), strconv.Itoa(s.Held), strconv.Itoa(s.Waiting), strconv.FormatUint(s.Newest, 10))
			if err != nil {
				return err
			}
		}
		return l.end()
	})
}

func kind(slots int) string {
	if slots > 0 {
		return "slots"
	}
	return "lock"
}

func kindText(slots int) string {
	if slots > 0 {
		return fmt.Sprintf("%d slots", slots)
	}
	return "lock"
}

func (p *program) showCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Category: groupLook, Usage: "show who holds a lock and who waits for it", UsageText: "lockd show NAME [flags]",
		Description: "Examples:\nlockd show jobs/nightly\nlockd show jobs/nightly -o json", Flags: []cli.Flag{staleFlag()},
		Action: p.action(func(ctx context.Context, c *call) error {
			args, err := c.args("NAME")
			if err != nil {
				return err
			}
			return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
				info, err := cl.Get(ctx, args[0], append(c.reading(), client.Most(mostTold))...)
				if errors.Is(err, client.ErrNotFound) {
					return &failure{code: exitFailure, err: fmt.Errorf("nobody holds %q or waits for it", args[0])}
				}
				if err != nil {
					return err
				}
				return c.printLock(info)
			})
		}),
	}
}

// lockShown is all there is to tell of a lock.
type lockShown struct {
	lockLine
	Floor    uint64        `json:"floor_token"`
	Previous string        `json:"previous"`
	Index    uint64        `json:"index"`
	Age      int64         `json:"age_ms"`
	Holders  []holderShown `json:"holders"`
	Waiters  []waiterShown `json:"waiters"`
}

type personShown struct {
	Identity string `json:"identity"`
	Host     string `json:"host"`
	PID      int    `json:"pid"`
	Session  string `json:"session,omitempty"`
	Mode     string `json:"mode"`
}

type holderShown struct {
	personShown
	Token uint64   `json:"token"`
	Held  int64    `json:"held_ms"`
	Left  int64    `json:"left_ms,omitempty"`
	Ended string   `json:"ended,omitempty"`
	Lease string   `json:"lease,omitempty"`
	Names []string `json:"names"`
	valueShown
}

type waiterShown struct {
	personShown
	Waited int64    `json:"waited_ms"`
	Left   int64    `json:"left_ms,omitempty"`
	Names  []string `json:"names"`
	valueShown
}

// valueShown is a value as text, or in base64 if it is none.
type valueShown struct {
	Value  string `json:"value,omitempty"`
	Base64 string `json:"value_base64,omitempty"`
}

func showValue(v []byte) valueShown {
	if utf8.Valid(v) {
		return valueShown{Value: string(v)}
	}
	return valueShown{Base64: base64.StdEncoding.EncodeToString(v)}
}

func showPerson(p client.Person, s client.SessionID, m client.Mode) personShown {
	shown := personShown{Identity: p.Identity, Host: p.Host, PID: p.PID, Mode: m.String()}
	if s != (client.SessionID{}) {
		shown.Session = s.String()
	}
	return shown
}

func showLock(i client.LockInfo) lockShown {
	s := lockShown{
		lockLine: lockLine{i.Name, kind(i.Slots), i.Slots, i.Held, i.Waiting, i.Newest},
		Floor:    i.Floor, Previous: i.Last.How.String(), Index: i.Index, Age: milliseconds(i.Age),
		Holders: []holderShown{}, Waiters: []waiterShown{},
	}
	for _, h := range i.Holders {
		shown := holderShown{
			personShown: showPerson(h.Person, h.Session, h.Mode), Token: h.Token, Held: milliseconds(h.Since),
			Left: milliseconds(h.Left), Names: h.Names, valueShown: showValue(h.Value),
		}
		if h.Ended != client.HowUnknown {
			shown.Ended = h.Ended.String()
		}
		if h.Lease != (client.LeaseID{}) {
			shown.Lease = h.Lease.String()
		}
		s.Holders = append(s.Holders, shown)
	}
	for _, w := range i.Waiters {
		s.Waiters = append(s.Waiters, waiterShown{
			personShown: showPerson(w.Person, w.Session, w.Mode), Waited: milliseconds(w.Since), Left: milliseconds(w.Left),
			Names: w.Names, valueShown: showValue(w.Value),
		})
	}
	return s
}

func (c *call) printLock(i client.LockInfo) error {
	if c.json {
		return c.printJSON(showLock(i))
	}
	fmt.Fprintf(c.out, "%s: %s, %d held, %d waiting\nnewest token %d", printable([]byte(i.Name)), kindText(i.Slots), i.Held, i.Waiting, i.Newest)
	if i.Last.How != client.HowUnknown {
		fmt.Fprintf(c.out, "; the last hold that ended: %s", i.Last.How)
	}
	fmt.Fprintln(c.out)
	if len(i.Holders) > 0 {
		l := c.list("holder", "MODE", "TOKEN", "HELD", "ends", "value")
		for _, h := range i.Holders {
			if err := l.add(nil, h.Identity, h.Mode.String(), strconv.FormatUint(h.Token, 10), about(h.Since), ends(h), printable(h.Value)); err != nil {
				return err
			}
		}
		fmt.Fprintln(c.out)
		if err := l.end(); err != nil {
			return err
		}
	}
	if len(i.Waiters) == 0 {
		return nil
	}
	l := c.list("#", "waiter", "MODE", "WAITS", "GIVES UP")
	for n, w := range i.Waiters {
		if err := l.add(nil, strconv.Itoa(n+1), w.Identity, w.Mode.String(), about(w.Since), within(w.Left, "never")); err != nil {
			return err
		}
	}
	fmt.Fprintln(c.out)
	return l.end()
}

// ends tells people with what a hold ends.
func ends(h client.Holder) string {
	switch {
	case h.Ended != client.HowUnknown:
		return fmt.Sprintf("%s; delay for %s", h.Ended, about(h.Left))
	case h.Lease != client.LeaseID{}:
		return "lease, in " + about(h.Left)
	default:
		return "with its session"
	}
}

func within(d time.Duration, never string) string {
	if d == 0 {
		return never
	}
	return "in " + about(d)
}

func (p *program) leaderCommand() *cli.Command {
	return &cli.Command{
		Name: "leader", Category: groupLook, Usage: "show who leads an election", UsageText: "lockd leader NAME [flags]",
		Description: "Prints the value that the leader proclaims, or its identity if there is none.\nExit code 1: nobody leads.\n\nExamples:\ncurl http://$(lockd leader scheduler)/\nlockd leader scheduler -o json",
		Flags:       []cli.Flag{staleFlag()},
		Action:      p.action(leader),
	}
}

func leader(ctx context.Context, c *call) error {
	args, err := c.args("NAME")
	if err != nil {
		return err
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		l, err := cl.Leader(ctx, args[0], c.reading()...)
		if errors.Is(err, client.ErrNoLeader) {
			return &failure{code: exitFailure, err: fmt.Errorf("nobody leads %q", args[0])}
		}
		if err != nil {
			return err
		}
		if c.json {
			return c.printJSON(struct {
				Identity string `json:"identity"`
				Host     string `json:"host"`
				Session  string `json:"session"`
				Token    uint64 `json:"token"`
				Led      int64  `json:"led_ms"`
				valueShown
			}{l.Identity, l.Host, l.Session.String(), l.Token, milliseconds(l.Since), showValue(l.Value)})
		}
		c.detail("%s has led for %s, token %d", l.Identity, about(l.Since), l.Token)
		_, err = fmt.Fprintln(c.out, orElse(printable(l.Value), l.Identity))
		return err
	})
}

func (p *program) checkTokenCommand() *cli.Command {
	return &cli.Command{
		Name: "check-token", Category: groupLook, Usage: "tell whether a fencing token is still good", UsageText: "lockd check-token NAME TOKEN",
		Description: "Prints valid, stale (others hold the lock) or free (nobody does). Exit code 0 if\nit is valid, 1 if it is not.\n\nExamples:\nlockd check-token jobs/nightly $LOCKD_TOKEN && ./write.sh",
		Action:      p.action(checkToken),
	}
}

func checkToken(ctx context.Context, c *call) error {
	args, err := c.args("NAME", "TOKEN")
	if err != nil {
		return err
	}
	token, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return c.usage("TOKEN %q is no number", args[1])
	}
	return c.ask(ctx, func(ctx context.Context, cl *client.Client) error {
		check, err := cl.CheckToken(ctx, args[0], token)
		if err != nil {
			return err
		}
		if c.json {
			err = c.printJSON(struct {
				Name     string `json:"name"`
				Token    uint64 `json:"token"`
				Validity string `json:"validity"`
				Newest   uint64 `json:"newest_token"`
				Floor    uint64 `json:"floor_token"`
			}{args[0], token, check.Validity.String(), check.Newest, check.Floor})
		} else {
			_, err = fmt.Fprintln(c.out, check.Validity)
		}
		if err == nil && check.Validity != client.TokenValid {
			return &failure{code: exitFailure}
		}
		return err
	})
}
