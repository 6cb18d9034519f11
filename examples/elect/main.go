// Elect keeps one active worker among replicas: start it several times, and kill the one that leads.
//
//	go run ./examples/elect -endpoints 127.0.0.1:7400 -name worker-a
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/lockd/lockd/client/go"
)

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:7400", "client addresses of the cluster, separated by commas")
	name := flag.String("name", "worker", "name of this replica")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*endpoints, ","), *name, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "elect:", err)
		os.Exit(1)
	}
}

// run campaigns until ctx ends. While it leads it works; when it no longer may, it stops at once and campaigns again.
func run(ctx context.Context, endpoints []string, name string, out io.Writer) error {
	c, err := client.New(client.Config{Endpoints: endpoints, Identity: name, TTL: 5 * time.Second})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()

	err = c.RunElection(ctx, "scheduler", client.Callbacks{
		Lead: func(ctx context.Context, l *client.Leadership) error {
			fmt.Fprintf(out, "%s leads, term %d\n", name, l.Token())
			if err := l.Proclaim(ctx, []byte(name+".example.org:8080")); err != nil {
				return err
			}
			work(ctx, l.Token())
			return context.Cause(ctx)
		},
		Lost: func(cause error) { fmt.Fprintf(out, "%s leads no more: %v\n", name, cause) },
	})
	if ctx.Err() != nil {
		return nil // asked to stop; the leadership was given back
	}
	return err
}

// work stands for your scheduler. It returns when ctx ends: from then on another replica may lead.
func work(ctx context.Context, term uint64) {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			fmt.Println("scheduling, each write with term", term)
		case <-ctx.Done():
			return
		}
	}
}
