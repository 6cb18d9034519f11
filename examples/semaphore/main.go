// Semaphore lets no more than three processes at a time use a license, a database, a slow printer.
//
//	go run ./examples/semaphore -endpoints 127.0.0.1:7400
package main

import (
	"context"
	"errors"
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
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*endpoints, ","), os.Stdout, render); err != nil {
		fmt.Fprintln(os.Stderr, "semaphore:", err)
		os.Exit(1)
	}
}

// run uses one of three slots, and gives up when none becomes free within half a minute.
func run(ctx context.Context, endpoints []string, out io.Writer, use func(context.Context) error) error {
	c, err := client.New(client.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()

	slot, err := c.Lock(ctx, "licenses/render", client.Slots(3), client.MaxWait(30*time.Second))
	if errors.Is(err, client.ErrNotAcquired) {
		return errors.New("all three licenses have been in use for half a minute")
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "got a license, %d wait for one\n", slot.Behind())
	return errors.Join(use(slot.Context()), slot.Unlock(context.WithoutCancel(ctx)))
}

// render stands for your work.
func render(ctx context.Context) error {
	fmt.Println("rendering")
	return context.Cause(ctx)
}
