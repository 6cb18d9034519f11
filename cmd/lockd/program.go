package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// program is one run of lockd, with what it reads and writes.
type program struct {
	in       *os.File
	out, err io.Writer
	given    []string // names of the flags on the command line
}

// call is one command at work.
type call struct {
	*program
	flags          *cli.Context
	given          []string // names of the flags on the command line; others may be set by the environment
	json           bool
	quiet, verbose bool
	unheard        bool // the cluster did not answer when something was given back: it will not be waited for once more
}

// Groups of commands in the help.
const (
	groupHold    = "Holding"
	groupLook    = "Looking"
	groupOperate = "Operating"
	groupOther   = "Other"
)

// run runs the command that the arguments name, and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	app := p.app()
	if len(args) > 0 && args[0] == "--version" {
		args = append([]string{"version"}, args[1:]...)
	}
	w, err := read(app, args)
	switch {
	case w.help:
		printHelp(p.out, app, w.path())
		return 0
	case err != nil:
		return p.complain(err)
	case len(w.last().commands) > 0: // no command, or a group of commands without the one that is meant
		if len(args) > 0 {
			return p.complain(w.usage("a command is missing"))
		}
		printHelp(p.out, app, nil)
		return 0
	}
	p.given = w.given()
	return p.complain(app.RunContext(ctx, w.ordered()))
}

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:      "lockd",
		Usage:     "named locks, leases and leader elections that survive their nodes",
		UsageText: "lockd [flags] COMMAND [flags] [ARGUMENT...]",
		Description: `Data go to standard output, everything else to standard error.
Exit codes: 0 done, 1 failed, 2 wrong usage, 69 no node answered, 75 not
acquired, 76 lock lost while the command ran, 77 not allowed, 126 and 127
command not executable and not found, 128+n ended by signal n. Under "lock" and
"elect": else that of the command.

Examples:
lockd serve --dev                          # one node, in memory
lockd lock jobs/nightly -- ./nightly.sh    # run it when nobody else does
lockd show jobs/nightly                    # who holds it, who waits`,
		Flags: globalFlags(),
		Commands: []*cli.Command{
			p.lockCommand(), p.electCommand(), p.leaseCommand(),
			p.lsCommand(), p.showCommand(), p.leaderCommand(), p.checkTokenCommand(), p.sessionCommand(), p.statusCommand(),
			p.serveCommand(), p.doctorCommand(), p.clusterCommand(), p.keyringCommand(), p.snapshotCommand(), p.benchCommand(),
			p.completionCommand(), p.completeCommand(), p.versionCommand(),
		},
		HideHelp: true, HideVersion: true,
		Reader: p.in, Writer: p.out, ErrWriter: p.err,
		ExitErrHandler: func(*cli.Context, error) {}, // run returns the code
	}
	app.OnUsageError = usageOf
	var finish func(commands []*cli.Command)
	finish = func(commands []*cli.Command) {
		for _, c := range commands {
			c.HideHelp, c.OnUsageError = true, usageOf
			finish(c.Subcommands)
		}
	}
	finish(app.Commands)
	return app
}

// usageOf takes what package cli finds wrong with a flag's value, instead of letting it print the whole help.
func usageOf(flags *cli.Context, err error, _ bool) error {
	return &usageError{text: strings.Replace(err.Error(), " for flag -", " for --", 1), path: pathOf(flags)}
}

// pathOf returns the names of the commands that lead to the one at work.
func pathOf(flags *cli.Context) []string {
	var path []string
	for _, up := range flags.Lineage() {
		if up.Command != nil && up.Command.Name != "" && up.Command.Name != "lockd" {
			path = append(path, up.Command.Name)
		}
	}
	slices.Reverse(path)
	return path
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{
			Name: "endpoints", Aliases: []string{"e"}, EnvVars: []string{"LOCKD_ENDPOINTS"},
			Usage: "client ports of some nodes, `HOST:PORT`,...", Value: cli.NewStringSlice("127.0.0.1:7400"),
		},
		&cli.DurationFlag{
			Name: "timeout", EnvVars: []string{"LOCKD_TIMEOUT"}, Value: defaultTimeout,
			Usage: "longest `TIME` to wait for the cluster; not the wait for a lock",
		},
		&cli.StringFlag{
			Name: "output", Aliases: []string{"o"}, EnvVars: []string{"LOCKD_OUTPUT"}, Value: "table",
			Usage: "`FORMAT` of the data: table or json",
		},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say nothing but errors on standard error"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Usage: "say more: queues, connections"},
		&cli.BoolFlag{Name: "tls", EnvVars: []string{"LOCKD_TLS"}, Usage: "speak TLS; --cacert and --cert do so too", Category: tlsCategory},
		&cli.StringFlag{Name: "cacert", EnvVars: []string{"LOCKD_CACERT"}, Usage: "`FILE` of the authorities to trust, PEM", Category: tlsCategory},
		&cli.StringFlag{Name: "cert", EnvVars: []string{"LOCKD_CERT"}, Usage: "`FILE` of the client's certificate, PEM", Category: tlsCategory},
		&cli.StringFlag{Name: "key", EnvVars: []string{"LOCKD_KEY"}, Usage: "`FILE` of its key, PEM", Category: tlsCategory},
		&cli.StringFlag{Name: "server-name", EnvVars: []string{"LOCKD_SERVER_NAME"}, Usage: "`NAME` in the nodes' certificates, if not the host's", Category: tlsCategory},
		&cli.StringFlag{Name: "credential-file", EnvVars: []string{"LOCKD_CREDENTIAL_FILE"}, Usage: "`FILE` that proves who you are", Category: tlsCategory},
	}
}

const tlsCategory = "Security"

// action makes the action of a command: signals end its context, and the run with their code.
func (p *program) action(do func(context.Context, *call) error) cli.ActionFunc {
	return p.bare(func(ctx context.Context, c *call) error {
		ctx, stop := untilSignal(ctx)
		defer stop()
		err := do(ctx, c)
		if s := stoppedBy(ctx); err != nil && s != nil {
			return s
		}
		return err
	})
}

// bare is action for a command that takes care of signals itself.
func (p *program) bare(do func(context.Context, *call) error) cli.ActionFunc {
	return func(flags *cli.Context) error {
		c := &call{program: p, flags: flags, given: p.given, quiet: flags.Bool("quiet"), verbose: flags.Bool("verbose")}
		switch format := flags.String("output"); format {
		case "json":
			c.json = true
		case "table":
		default:
			return c.usage("unknown output %q: say table or json", format)
		}
		return do(flags.Context, c)
	}
}

// usage makes an error about the arguments of the command at work.
func (c *call) usage(format string, args ...any) error {
	return &usageError{text: fmt.Sprintf(format, args...), path: pathOf(c.flags)}
}

// args returns exactly the arguments that the names stand for.
func (c *call) args(names ...string) ([]string, error) {
	given := c.flags.Args().Slice()
	if len(given) < len(names) {
		return nil, c.usage("%s is missing", names[len(given)])
	}
	if len(given) > len(names) {
		return nil, c.usage("unexpected argument %q", given[len(names)])
	}
	return given, nil
}

// say tells people what goes on.
func (c *call) say(format string, args ...any) {
	if !c.quiet {
		fmt.Fprintf(c.err, "lockd: "+format+"\n", args...)
	}
}

// detail tells people who asked for it what goes on.
func (c *call) detail(format string, args ...any) {
	if c.verbose {
		fmt.Fprintf(c.err, "lockd: "+format+"\n", args...)
	}
}

const (
	defaultTimeout = 5 * time.Second
	closeTimeout   = 3 * time.Second // for giving back what is held, at the end
)
