// Lease hands a hold from one process to another: a job that cannot keep a connection takes a lease, writes its reference to a file,
// and ends; a later process goes on with it.
//
//	go run ./examples/lease -endpoints 127.0.0.1:7400 begin > lease.txt
//	go run ./examples/lease -endpoints 127.0.0.1:7400 finish "$(cat lease.txt)"
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
	if err := run(ctx, strings.Split(*endpoints, ","), flag.Args(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "lease:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, endpoints, args []string, out io.Writer) error {
	c, err := client.New(client.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	switch {
	case len(args) == 1 && args[0] == "begin":
		return begin(ctx, c, out)
	case len(args) == 2 && args[0] == "finish":
		return finish(ctx, c, args[1], out)
	}
	return errors.New("want: begin, or finish REFERENCE")
}

// begin takes the lease and leaves it behind. Nobody else gets the name before ten minutes are over.
func begin(ctx context.Context, c *client.Client, out io.Writer) error {
	lease, err := c.AcquireLease(ctx, "import/2026", 10*time.Minute)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, lease.Ref())
	return err
}

// finish takes the lease over: from here on the reference of the first process is worth nothing, even if it still runs.
func finish(ctx context.Context, c *client.Client, reference string, out io.Writer) error {
	ref, err := client.ParseLeaseRef(strings.TrimSpace(reference))
	if err != nil {
		return err
	}
	lease, err := c.Lease(ref).HandOn(ctx, time.Minute)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "finishing with token %d, above %d\n", lease.Token(), ref.Token)
	return lease.Release(ctx)
}
