package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/lockd/lockd/bench/internal/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := compare(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		stop()
		os.Exit(1)
	}
}

// compare makes a comparison and prints it. It fails if lockd does not keep what it promises; a goal that is missed is only marked.
func compare(ctx context.Context, args []string) error {
	p, err := parse(args)
	if err != nil {
		return err
	}
	host := rig.ThisHost(compared...)
	cells, err := p.run(ctx, os.Stderr)
	if len(cells) > 0 {
		r := report{host: host, kills: p.kills, cells: cells}
		r.print(os.Stdout)
		err = errors.Join(err, r.verdict())
	}
	return err
}

func parse(args []string) (p plan, err error) {
	flags := flag.NewFlagSet("failover", flag.ContinueOnError)
	names := flags.String("systems", "", "systems to compare, with commas; default all")
	picked := flags.String("faults", "", "kinds of loss, with commas: kill, stop, cut; default all")
	flags.IntVar(&p.kills, "kills", 50, "how often the leader is lost, of each kind and for each system")
	flags.StringVar(&p.dir, "dir", "", "where data lies while it is needed; default the directory for temporary files")
	flags.StringVar(&p.logs, "log", "", "directory for what the nodes log; default: it is thrown away")
	flags.Uint64Var(&p.seed, "seed", 1, "of the network")
	if err := flags.Parse(args); err != nil {
		return p, err
	}
	if p.kills < 1 {
		return p, errors.New("the leader must be lost at least once")
	}
	if p.systems, err = pick(*names, systems, func(s system) string { return s.name }); err != nil {
		return p, err
	}
	p.faults, err = pick(*picked, faults, func(f fault) string { return f.name })
	return p, err
}
