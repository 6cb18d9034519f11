// Mutex runs a piece of work under a lock, so that of all the processes that try only one does it at a time.
//
//	go run ./examples/mutex -endpoints 127.0.0.1:7400
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/lockd/lockd/client/go"
)

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:7400", "client addresses of the cluster, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*endpoints, ","), os.Stdout, settle); err != nil {
		fmt.Fprintln(os.Stderr, "mutex:", err)
		os.Exit(1)
	}
}

// run does the work once, under the lock. It waits for its turn as long as ctx lasts.
func run(ctx context.Context, endpoints []string, out io.Writer, work func(ctx context.Context, token uint64) error) error {
	c, err := client.New(client.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()

	return c.WithLock(ctx, "orders/settle", func(ctx context.Context, l *client.Lock) error {
		fmt.Fprintf(out, "holding %s with token %d\n", l.Name(), l.Token())
		if how := l.Previous().How; how == client.HowExpired {
			fmt.Fprintln(out, "the last holder died: what it left may be half done")
		}
		return work(ctx, l.Token()) // ctx ends, with its cause, the moment the lock may be lost
	})
}

// settle stands for your work. It stops when ctx ends, and gives the token to whatever it writes to.
func settle(ctx context.Context, token uint64) error {
	fmt.Println("settling orders, each write with token", token)
	return context.Cause(ctx)
}
