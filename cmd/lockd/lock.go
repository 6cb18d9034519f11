package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

const lockHelp = `The command runs while the lock is held, and is dead before anybody else can
hold it: it gets TERM when the lock is lost, or when the cluster has not
confirmed it for so long that its validity is about to end, and KILL before it
ends. Signals are handed on to its process group; a second interrupt kills it.
It finds the fencing token in LOCKD_TOKEN, to be sent with every write, and
LOCKD_LOCK, LOCKD_SESSION, LOCKD_ENDPOINTS, LOCKD_TTL_MS, TRACEPARENT beside it.

Without a command the lock is held until INT or TERM, and the grant is printed.

Exit code: that of the command; 75 not acquired, 76 lost while it ran.

Examples:
lockd lock jobs/nightly -- ./nightly.sh --full
lockd lock jobs/nightly --try -E 0 -- ./nightly.sh      # or not at all
lockd lock gpu --slots 4 --wait 10m -- ./train.sh       # one of four
lockd lock config --shared -c 'cat config | ./check'
lockd lock --all accounts/1 accounts/2 -- ./transfer.sh`

func (p *program) lockCommand() *cli.Command {
	return &cli.Command{
		Name: "lock", Category: groupHold, Usage: "run a command while holding a lock, or just hold it",
		UsageText:   "lockd lock NAME [flags] -- COMMAND [ARGUMENT...]\nlockd lock NAME [flags] -c STRING\nlockd lock NAME [flags]",
		Description: lockHelp,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "shared", Usage: "hold it beside others who share it (a reader)"},
			&cli.IntFlag{Name: "slots", Usage: "hold one of `N` slots; all who use the lock name the same N"},
			&cli.BoolFlag{Name: "all", Usage: "hold all of several names, or none; one token for all"},
		}, slices.Concat(waitFlags(), holdFlags(), commandFlags())...),
		Action: p.bare(lock),
	}
}

// waitFlags say how long to wait for a lock.
func waitFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "try", Aliases: []string{"n"}, Usage: "do not wait"},
		&cli.DurationFlag{Name: "wait", Aliases: []string{"w"}, Usage: "wait for at most this `TIME`", DefaultText: "for ever"},
		&cli.IntFlag{Name: "conflict-exit-code", Aliases: []string{"E"}, Value: exitNotAcquired, Usage: "exit `CODE` when it is not acquired"},
	}
}

// holdFlags say what a hold in a session is like.
func holdFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "ttl", Value: client.DefaultTTL, Usage: "others get it this `TIME` after the cluster last heard of us"},
		&cli.DurationFlag{Name: "grace", Usage: "others get it this `TIME` after the connection broke", DefaultText: "the ttl"},
		&cli.DurationFlag{Name: "lock-delay", Usage: "nobody gets it for this `TIME` after it expired"},
		&cli.StringFlag{Name: "value", Usage: "`TEXT` for all who look at the lock"},
	}
}

// commandFlags say how a command is run.
func commandFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "command", Aliases: []string{"c"}, Usage: "run `STRING` with /bin/sh -c"},
		&cli.DurationFlag{Name: "stop-time", Usage: "`TIME` between TERM and the end of the validity", DefaultText: "5s, at most a third of ttl or grace"},
	}
}

// demand is what a command line asks for.
type demand struct {
	names    []string
	path     string   // of the program to run
	argv     []string // empty: no command
	options  []client.Option
	try, all bool
	wait     time.Duration // 0: for ever
	conflict int
	ttl      time.Duration
	grace    time.Duration
	stopTime time.Duration
}

// silence is how long the lock outlives the last sign of life.
func (d *demand) silence() time.Duration {
	if d.grace > 0 {
		return min(d.ttl, d.grace)
	}
	return d.ttl
}

// demand reads the command line. A command that cannot run is found out now, and not when everybody else waits.
func (c *call) demand() (*demand, error) {
	f := c.flags
	d := &demand{
		try: f.Bool("try"), all: f.Bool("all"), wait: f.Duration("wait"), conflict: f.Int("conflict-exit-code"),
		ttl: f.Duration("ttl"), grace: f.Duration("grace"), stopTime: f.Duration("stop-time"),
	}
	d.names, d.argv = splitCommand(f.Args().Slice())
	if f.IsSet("command") {
		if len(d.argv) > 0 {
			return nil, c.usage("-c STRING and -- COMMAND exclude each other")
		}
		d.argv = []string{"/bin/sh", "-c", f.String("command")}
	}
	if f.IsSet("wait") && d.wait <= 0 {
		d.try = true
	}
	if d.stopTime == 0 {
		d.stopTime = min(5*time.Second, d.silence()/3)
	}
	if err := c.check(d); err != nil {
		return nil, err
	}
	d.options = c.options()
	var err error
	if len(d.argv) > 0 {
		d.path, err = findProgram(d.argv[0])
	}
	return d, err
}

func (c *call) check(d *demand) error {
	switch f := c.flags; {
	case len(d.names) == 0:
		return c.usage("NAME is missing: it stands before --")
	case len(d.names) > 1 && !d.all:
		return c.usage("unexpected argument %q: a command stands behind --, several names need --all", d.names[1])
	case len(d.argv) == 0 && slices.Contains(f.Args().Slice(), "--"):
		return c.usage("COMMAND is missing behind --")
	case f.Bool("shared") && f.IsSet("slots"):
		return c.usage("--shared and --slots exclude each other")
	case f.IsSet("slots") && f.Int("slots") < 1:
		return c.usage("--slots %d: say at least 1", f.Int("slots"))
	case f.Bool("try") && f.IsSet("wait"):
		return c.usage("--try and --wait exclude each other")
	case d.conflict < 0 || d.conflict > 255:
		return c.usage("--conflict-exit-code %d is not between 0 and 255", d.conflict)
	case d.stopTime < 0 || d.stopTime > d.silence()/2:
		return c.usage("--stop-time %v is more than half of --ttl, or --grace, %v", d.stopTime, d.silence())
	}
	return nil
}

// splitCommand divides arguments at the first "--".
func splitCommand(args []string) (names, argv []string) {
	i := slices.Index(args, "--")
	if i < 0 {
		return args, nil
	}
	return args[:i], args[i+1:]
}

// options returns how the lock is asked for.
func (c *call) options() []client.Option {
	var options []client.Option
	f := c.flags
	if f.Bool("shared") {
		options = append(options, client.Shared())
	}
	if n := f.Int("slots"); n > 0 {
		options = append(options, client.Slots(n))
	}
	if d := f.Duration("lock-delay"); d != 0 {
		options = append(options, client.LockDelay(d))
	}
	if f.IsSet("value") {
		options = append(options, client.Value([]byte(f.String("value"))))
	}
	return append(options, client.OnQueued(c.queued))
}

// queued tells who stands before a request.
func (c *call) queued(q client.Queued) {
	holders := "held"
	if len(q.Holders) > 0 {
		h := q.Holders[0]
		holders = fmt.Sprintf("held by %s for %s", h.Identity, about(h.Since))
		if more := len(q.Holders) - 1; more > 0 {
			holders += fmt.Sprintf(" and %d more", more)
		}
	}
	c.detail("waiting: %s, %d ahead in the queue", holders, q.Ahead)
}

// lock is the command.
func lock(ctx context.Context, c *call) error {
	d, err := c.demand()
	if err != nil {
		return err
	}
	return c.hold(ctx, d, func(ctx context.Context, cl *client.Client, s *client.Session, caught *signals) error {
		ask := func(ctx context.Context) (*client.Lock, error) { return d.ask(ctx, cl, s) }
		return c.once(ctx, d, caught, ask, func(why error) error {
			return fmt.Errorf("%s lost while %s ran: %w", quoted(d.names), d.argv[0], why)
		})
	})
}

// once acquires, runs the command or just holds, and releases. What a loss means to people is for lost to say.
func (c *call) once(ctx context.Context, d *demand, caught *signals, ask func(context.Context) (*client.Lock, error), lost func(error) error) error {
	l, err := c.acquire(ctx, caught, d, ask)
	if err != nil {
		return err
	}
	defer c.unlock(ctx, l)
	if len(d.argv) == 0 {
		return c.keep(ctx, caught, l)
	}
	e, err := c.supervise(d, l, caught)
	switch {
	case err != nil:
		return err
	case e.lost != nil:
		return &failure{code: exitLost, err: lost(e.lost)}
	}
	return &failure{code: e.code}
}

// hold runs f with an open session and the signals that come from now on.
func (c *call) hold(ctx context.Context, d *demand, f func(context.Context, *client.Client, *client.Session, *signals) error) error {
	caught := catchSignals(catchable()...)
	defer caught.stop()
	t, ctx, err := c.telemetry(ctx)
	if err != nil {
		return err
	}
	defer t.stop(ctx)
	cl, err := c.connect(func(config *client.Config) {
		config.TTL, config.Grace = d.ttl, d.grace
		config.TracerProvider, config.MeterProvider = t.TracerProvider, t.MeterProvider
	})
	if err != nil {
		return err
	}
	s, err := c.openSession(ctx, caught, cl)
	if err == nil {
		err = f(ctx, cl, s, caught)
	}
	return errors.Join(err, c.disconnect(ctx, cl))
}

// openSession waits for no longer than the time limit, so that a cluster that is not there is told from a lock that is not free.
func (c *call) openSession(ctx context.Context, caught *signals, cl *client.Client) (*client.Session, error) {
	waiting, release := caught.ending(ctx)
	opening, cancel := context.WithTimeout(waiting, c.timeout())
	s, err := cl.NewSession(opening, client.SessionConfig{})
	cancel()
	release()
	if signalled := stoppedBy(waiting); signalled != nil {
		return nil, signalled
	}
	return s, err
}

// acquire asks for the lock until it has it, the command line's patience or a signal ends the wait.
func (c *call) acquire(
	ctx context.Context, caught *signals, d *demand, ask func(context.Context) (*client.Lock, error),
) (*client.Lock, error) {
	waiting, release := caught.ending(ctx)
	asking, cancel := d.patience(waiting)
	l, err := ask(asking)
	gaveUp := errors.Is(context.Cause(asking), client.ErrNotAcquired)
	cancel()
	release()
	signalled := stoppedBy(waiting)
	switch {
	case signalled != nil && err == nil: // it came together with the grant: nothing is started any more
		c.unlock(ctx, l)
		return nil, signalled
	case signalled != nil:
		return nil, signalled
	case err == nil:
		c.detail("%s acquired, token %d%s", quoted(d.names), l.Token(), after(l.Previous()))
		return l, nil
	case gaveUp || errors.Is(err, client.ErrNotAcquired):
		return nil, d.notAcquired()
	}
	return nil, err
}

// ask asks for what the command line says.
func (d *demand) ask(ctx context.Context, cl *client.Client, s *client.Session) (*client.Lock, error) {
	options := append(slices.Clone(d.options), client.InSession(s))
	if d.wait > 0 {
		options = append(options, client.MaxWait(d.wait))
	}
	switch {
	case d.try && d.all:
		return cl.TryLockAll(ctx, d.names, options...)
	case d.try:
		return cl.TryLock(ctx, d.names[0], options...)
	case d.all:
		return cl.LockAll(ctx, d.names, options...)
	default:
		return cl.Lock(ctx, d.names[0], options...)
	}
}

// patience bounds a wait by this program's clock too: that of the cluster stands still while it has no leader.
func (d *demand) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.wait <= 0 {
		return context.WithCancel(ctx)
	}
	const answer = time.Second // for that of the cluster
	return context.WithTimeoutCause(ctx, d.wait+answer, client.ErrNotAcquired)
}

func (d *demand) notAcquired() error {
	how := "others hold it"
	if d.wait > 0 {
		how = fmt.Sprintf("others held it for %v", d.wait)
	}
	return &failure{
		code: d.conflict, err: fmt.Errorf("%s not acquired: %s", quoted(d.names), how),
		hint: "see who holds it: lockd show " + d.names[0],
	}
}

// keep holds a lock until a signal comes.
func (c *call) keep(ctx context.Context, caught *signals, l *client.Lock) error {
	if err := c.printGrant(l); err != nil {
		return err
	}
	waiting, release := caught.ending(ctx)
	defer release()
	select {
	case <-waiting.Done():
		return nil // as it was meant to end
	case <-l.Context().Done():
		return &failure{code: exitLost, err: fmt.Errorf("%s: %w", quoted(l.Names()), context.Cause(l.Context()))}
	}
}

// unlock releases a lock that this program is done with. If the cluster does not answer, the end of the session does it.
func (c *call) unlock(ctx context.Context, l *client.Lock) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	err := l.Unlock(ctx)
	c.unheard = ctx.Err() != nil
	if err != nil && !errors.Is(err, client.ErrLockLost) {
		c.say("%s is not released yet (%v); it will be when its session expires", quoted(l.Names()), err)
	}
}

// grant is what is told of a lock that was acquired.
type grant struct {
	Names      []string `json:"names"`
	Token      uint64   `json:"token"`
	Session    string   `json:"session"`
	ValidUntil string   `json:"valid_until"`
	Behind     int      `json:"behind"`
	Previous   string   `json:"previous"`
}

func (c *call) printGrant(l *client.Lock) error {
	g := grant{l.Names(), l.Token(), l.Session().ID().String(), moment(l.ValidUntil()), l.Behind(), l.Previous().How.String()}
	if c.json {
		return c.printJSON(g)
	}
	_, err := fmt.Fprintf(c.out, "token    %d\nsession  %s\nname     %s\n", g.Token, g.Session, strings.Join(g.Names, "\n         "))
	c.say("held until INT or TERM")
	return err
}

// after tells what a new holder may find left behind.
func after(p client.Previous) string {
	if p.How == client.HowExpired || p.How == client.HowBroken {
		return fmt.Sprintf("; the hold before, token %d, %s: look for what it left half done", p.Token, p.How)
	}
	return ""
}

func quoted(names []string) string {
	all := make([]string, len(names))
	for i, n := range names {
		all[i] = fmt.Sprintf("%q", n)
	}
	return strings.Join(all, ", ")
}

// environment returns this program's environment with what a command finds out about its lock.
func (c *call) environment(ctx context.Context, d *demand, l *client.Lock) []string {
	own := []string{
		"LOCKD_LOCK=" + strings.Join(d.names, "\n"), // no name holds a line feed
		fmt.Sprintf("LOCKD_TOKEN=%d", l.Token()),
		"LOCKD_SESSION=" + l.Session().ID().String(),
		"LOCKD_ENDPOINTS=" + strings.Join(c.endpoints(), ","),
		fmt.Sprintf("LOCKD_TTL_MS=%d", d.ttl.Milliseconds()),
	}
	if parent := traceParent(ctx); parent != "" {
		own = append(own, traceParentVariable+"="+parent)
	}
	return replaceEnvironment(os.Environ(), own)
}

// replaceEnvironment returns inherited variables without those of the same names as the own ones, and with those.
func replaceEnvironment(inherited, own []string) []string {
	env := slices.DeleteFunc(slices.Clone(inherited), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == traceParentVariable || slices.ContainsFunc(own, func(o string) bool { return strings.HasPrefix(o, name+"=") })
	})
	return append(env, own...)
}

// supervise runs the command under the lock.
func (c *call) supervise(d *demand, l *client.Lock, caught *signals) (ended, error) {
	s := &supervisor{hold: l, signals: caught, stopTime: d.stopTime, say: c.say}
	return s.run(d.path, d.argv, c.environment(l.Context(), d, l))
}
