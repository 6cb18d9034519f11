package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// childEnv marks a process of clients: its order comes on the standard input, its reports leave on the standard output.
const childEnv = "LOCKD_SOAK_CLIENTS"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := soak
	if os.Getenv(childEnv) != "" {
		do = func(ctx context.Context, _ []string) error { return serve(ctx, os.Stdin, os.Stdout) }
	}
	if err := do(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		stop()
		os.Exit(1)
	}
}

// options of a run.
type options struct {
	time, every    time.Duration
	program        string
	dir, out, svg  string
	rate           float64
	clients, queue int
	leases, idle   int
	ttl            time.Duration
}

func parse(args []string) (o options, err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.DurationVar(&o.time, "time", 30*time.Minute, "how long")
	flags.DurationVar(&o.every, "every", 5*time.Second, "time between two samples")
	flags.StringVar(&o.program, "lockd", "", "the program; default: it is built")
	flags.StringVar(&o.dir, "dir", "", "where data lies while it is needed; default the directory for temporary files")
	flags.StringVar(&o.out, "out", "", "directory for all samples, as CSV and JSON, and the logs of the nodes; default none")
	flags.StringVar(&o.svg, "svg", "", "write the picture to this file")
	flags.Float64Var(&o.rate, "rate", 200, "pairs of acquire and release a second")
	flags.IntVar(&o.clients, "clients", 50, "clients that make them")
	flags.IntVar(&o.queue, "queue", 16, "clients that stand in one queue")
	flags.IntVar(&o.leases, "leases", 50, "clients that renew a lease")
	flags.IntVar(&o.idle, "idle", 2000, "sessions that only live")
	flags.DurationVar(&o.ttl, "ttl", 15*time.Second, "of all sessions")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.time < 6*o.every || o.every < time.Second || o.rate <= 0 || o.clients < processes || o.queue < 0 || o.leases < 0 || o.idle < 0 {
		return o, fmt.Errorf("a run has at least six samples, a second apart, and %d clients", processes)
	}
	return o, nil
}

// soak makes a run and judges it.
func soak(ctx context.Context, args []string) (err error) {
	o, err := parse(args)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "lockd-soak-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := rig.RefuseMemory(dir); err != nil {
		return err
	}
	if o.program == "" {
		o.program = filepath.Join(dir, "lockd")
		if err := build(ctx, o.program); err != nil {
			return err
		}
	}
	r := &run{o: o, host: rig.ThisHost()}
	err = r.do(ctx, dir)
	if err == nil || len(r.samples) > 0 {
		err = errors.Join(err, r.keep(dir))
	}
	if err != nil {
		return err
	}
	wrong := judge(r.samples, r.events, o.rate)
	r.print(os.Stdout, wrong)
	return errors.Join(r.draw(), r.record(ctx, len(wrong)), verdict(wrong))
}

// build builds lockd, in its own module.
func build(ctx context.Context, program string) error {
	const module = "github.com/lockd/lockd"
	dir, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("find %s: %w", module, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, module+"/cmd/lockd")
	cmd.Dir = strings.TrimSpace(string(dir))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build lockd: %w: %s", err, out)
	}
	return nil
}

func verdict(wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d things are not as they must be: %q", len(wrong), wrong)
}
