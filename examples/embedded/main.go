// Embedded runs a lockd node inside a program of its own, and takes a lock from it.
//
//	go run ./examples/embedded
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/lockd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, lockd.Config{Memory: true}, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "embedded:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, config lockd.Config, out io.Writer) error {
	ready := make(chan lockd.Addresses, 1)
	config.Ready = func(a lockd.Addresses) { ready <- a }
	server, err := lockd.New(config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	select {
	case a := <-ready:
		err = use(ctx, a.Client, out)
	case err = <-ended:
		cancel()
		return err
	}
	cancel() // a graceful stop
	if e := <-ended; err == nil {
		err = e
	}
	return err
}

func use(ctx context.Context, address string, out io.Writer) error {
	c, err := client.New(client.Config{Endpoints: []string{address}})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return c.WithLock(ctx, "one", func(_ context.Context, l *client.Lock) error {
		_, err := fmt.Fprintf(out, "holding %s with token %d\n", l.Name(), l.Token())
		return err
	})
}
