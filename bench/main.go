package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := compare
	if os.Getenv(childEnv) != "" {
		run = func(ctx context.Context, _ []string) error { return child(ctx, os.Stdin, os.Stdout) }
	}
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// compare runs a comparison and prints it.
func compare(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	var p plan
	names := flags.String("systems", "", "systems to compare, with commas; default all")
	proposers := flags.String("proposers", "1,64,1024", "numbers of proposers, with commas")
	flags.IntVar(&p.rounds, "rounds", 3, "how often every cell is measured")
	flags.DurationVar(&p.warmup, "warmup", time.Second, "load before the measured window")
	seconds := flags.Float64("seconds", 3, "length of the measured window")
	flags.DurationVar(&p.patience, "patience", 0, "how long to wait for an idle machine before each measurement")
	flags.StringVar(&p.dir, "dir", "", "where data lies while it is needed; default the directory for temporary files")
	jsonFile := flags.String("json", "", "write everything measured to this file")
	flags.StringVar(&p.profileDir, "profile", "", "write profiles of our own system to this directory")
	flags.StringVar(&p.profileKind, "profilekind", "cpu", "cpu, block, mutex, allocs or trace")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if p.systems, err = pick(*names); err != nil {
		return err
	}
	if p.proposers, err = numbers(*proposers); err != nil {
		return err
	}
	p.window = time.Duration(*seconds * float64(time.Second))
	if p.profileDir != "" {
		if err := os.MkdirAll(p.profileDir, 0o755); err != nil {
			return err
		}
	}
	host := rig.ThisHost(compared...)
	all, err := p.run(ctx, os.Stderr)
	if err != nil {
		return err
	}
	r := report{Host: host, Rounds: p.rounds, Window: p.window, Measurements: all}
	r.print(os.Stdout)
	if *jsonFile == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(*jsonFile, append(b, '\n'), 0o644)
}

func numbers(list string) (ns []int, err error) {
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > 1<<16 {
			return nil, fmt.Errorf("%q is no number of proposers", s)
		}
		ns = append(ns, n)
	}
	return ns, nil
}
