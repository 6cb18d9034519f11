// Command demo shows lockd at work: three nodes on loopback, two workers that contend for a lock, and what happens when a worker and then
// the leader of the cluster are killed.
//
//	go run ./internal/demo [-once] [-lockd FILE] [-dir DIRECTORY]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		if ctx.Err() != nil {
			return // somebody has seen enough
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// run is main with what it depends on as arguments.
func run(ctx context.Context, args []string, out io.Writer) (err error) {
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	once := flags.Bool("once", false, "end after the demonstration instead of waiting for Ctrl-C")
	program := flags.String("lockd", "", "the program (default: build it from the source)")
	dir := flags.String("dir", "", "where the nodes keep their data (default: a directory that is removed at the end)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *dir == "" {
		if *dir, err = os.MkdirTemp("", "lockd-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(*dir)) }()
	}
	if *program == "" {
		*program = filepath.Join(*dir, "lockd")
		build := exec.CommandContext(ctx, "go", "build", "-o", *program, "github.com/lockd/lockd/cmd/lockd")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("build lockd: %w", err)
		}
	}
	c, err := newCluster(*program, *dir, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	d := &demonstration{cluster: c, out: out}
	defer d.end()
	if err := d.show(ctx); err != nil || *once {
		return err
	}
	d.say("\nThe nodes go on running; Ctrl-C ends them.")
	<-ctx.Done()
	return nil
}
