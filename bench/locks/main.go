package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	do := compare
	if os.Getenv(childEnv) != "" {
		do = func(ctx context.Context, _ []string) error { return serveOrder(ctx, os.Stdin, os.Stdout) }
	}
	if err := do(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "locks:", err)
		stop()
		os.Exit(1)
	}
}

var errFailed = errors.New("not every trial could be made")

// compare makes a comparison and prints it.
func compare(ctx context.Context, args []string) error {
	p, files, err := parse(args)
	if err != nil {
		return err
	}
	if files.growth != "" {
		return grow(ctx, p, files.growth)
	}
	r := report{Host: rig.ThisHost(compared...), Rounds: p.rounds, Scale: p.scale}
	if r.Measurements, err = p.run(ctx, os.Stderr); err != nil {
		return err
	}
	r.print(os.Stdout, p.systems)
	if files.json != "" {
		b, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(files.json, append(b, '\n'), 0o644); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(r.Measurements, func(m measurement) bool { return m.Figures == nil }) {
		return errFailed
	}
	return nil
}

var (
	full  = scale{Warmup: time.Second, Window: 5 * time.Second, Settle: 3 * time.Second, Idle: 10 * time.Second, Sessions: 10_000, Locks: 100_000, Kills: 3, Holders: 16}
	short = scale{Warmup: 500 * time.Millisecond, Window: 2 * time.Second, Settle: time.Second, Idle: 4 * time.Second, Sessions: 500, Locks: 10_000, Kills: 1, Holders: 8}
)

const (
	million  = 1_000_000
	fewTrial = 5 * time.Minute
	bigTrial = time.Hour
)

// files are what is written besides tables; empty names are not.
type files struct{ json, growth string }

func parse(args []string) (p plan, out files, err error) {
	flags := flag.NewFlagSet("locks", flag.ContinueOnError)
	names := flags.String("systems", "", "systems to compare, with commas, redlock among them; default lockd,etcd")
	picked := flags.String("trials", "", "trials to make, with commas; default all")
	quick := flags.Bool("quick", false, "one small round, about a minute")
	big := flags.Bool("big", false, "a million held locks")
	flags.IntVar(&p.rounds, "rounds", 5, "how often every trial is made")
	window := flags.Duration("window", 0, "length of the measured windows of load")
	sessions := flags.Int("sessions", 0, "sessions that only live")
	locks := flags.Int("locks", 0, "locks that are held")
	flags.DurationVar(&p.patience, "patience", 0, "how long to wait for an idle machine before each trial")
	flags.StringVar(&p.dir, "dir", "", "where data lies while it is needed; default the directory for temporary files")
	flags.StringVar(&out.json, "json", "", "write everything measured to this file")
	flags.StringVar(&out.growth, "growth", "", "measure instead how cost grows, in a quarter of an hour, and draw it into this file")
	flags.StringVar(&p.profile.Dir, "profile", "", "write profiles of our own nodes and their clients to this directory")
	flags.StringVar(&p.profile.Kind, "profilekind", "cpu", "cpu, allocs, block, mutex or goroutine")
	if err := flags.Parse(args); err != nil {
		return p, out, err
	}
	if out.growth != "" {
		p.asGrowth(*quick)
		p.systems, err = pick(*names)
		return p, out, err
	}
	p.scale, p.limit = full, fewTrial
	if *quick {
		p.scale, p.rounds = short, 1
	}
	if *big {
		p.scale.Locks, p.limit = million, bigTrial
	}
	p.scale.Window = or(*window, p.scale.Window)
	p.scale.Sessions = or(*sessions, p.scale.Sessions)
	p.scale.Locks = or(*locks, p.scale.Locks)
	if p.rounds < 1 || p.scale.Window < time.Second || p.scale.Sessions < 1 || p.scale.Locks < 1 {
		return p, out, errors.New("there must be a round, a session, a lock, and a second of load")
	}
	if err := p.profile.prepare(); err != nil {
		return p, out, err
	}
	if p.trials, err = pickTrials(*picked); err != nil {
		return p, out, err
	}
	p.systems, err = pick(*names)
	return p, out, err
}

// or is what was asked for, or else what is usual.
func or[T comparable](asked, usual T) T {
	var zero T
	if asked != zero {
		return asked
	}
	return usual
}

// pickTrials returns the trials of a list of names.
func pickTrials(names string) ([]trial, error) {
	if names == "" {
		return trials, nil
	}
	var picked []trial
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(trials, func(t trial) bool { return t.name == name })
		if i < 0 {
			var known []string
			for _, t := range trials {
				known = append(known, t.name)
			}
			return nil, fmt.Errorf("no trial %q; there are %s", name, strings.Join(known, ", "))
		}
		picked = append(picked, trials[i])
	}
	return picked, nil
}
