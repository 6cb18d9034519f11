package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "counter:", err)
		os.Exit(1)
	}
}

// run is main with what it depends on as arguments.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say what to run: demo or node")
	}
	flags := flag.NewFlagSet("counter "+args[0], flag.ContinueOnError)
	switch args[0] {
	case "demo":
		once := flags.Bool("once", false, "end after the demonstration instead of waiting for Ctrl-C")
		dir := flags.String("dir", "", "where the nodes keep their data (default: a directory that is removed at the end)")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return demo(ctx, out, *dir, *once)
	case "node":
		return nodeCommand(ctx, flags, args[1:])
	}
	return fmt.Errorf("unknown command %q: say demo or node", args[0])
}

func nodeCommand(ctx context.Context, flags *flag.FlagSet, args []string) error {
	name := flags.String("name", "", "this node's name in the list of members")
	dir := flags.String("dir", "", "where the node keeps its data")
	members := flags.String("members", "", "all nodes: name=raft-address,http-address;…")
	hints := flags.Bool("hints", true, "take a lost connection as a hint that a peer is gone")
	attached := flags.Bool("attached", false, "end when the standard input does, so that no node outlives who started it")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *attached {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
		}()
	}
	if *name == "" || *dir == "" {
		return errors.New("node needs -name and -dir")
	}
	list, err := parseMembers(*members)
	if err != nil {
		return err
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + 2) // a flush of the disk holds one; see package raft
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return runNode(ctx, nodeConfig{*name, *dir, list, *hints, log})
}
