// Fencing shows why a lock alone is not enough, and what is: a holder is stopped, its lock goes to somebody else, it wakes up and
// writes. The store refuses the write, because it has seen a newer token.
//
//	go run ./examples/fencing -endpoints 127.0.0.1:7400
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
	"sync"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/client/go/guard"
)

func main() {
	endpoints := flag.String("endpoints", "127.0.0.1:7400", "client addresses of the cluster, separated by commas")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, strings.Split(*endpoints, ","), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "fencing:", err)
		os.Exit(1)
	}
}

// Store is a resource that checks tokens: it remembers the highest floor it has seen and refuses what is below.
type Store struct {
	gate guard.Gate

	mu   sync.Mutex // guards data
	data map[string]string
}

// Put stores a value, unless the token is stale.
func (s *Store) Put(key, value string, floor, token uint64) error {
	if err := s.gate.Admit(key, floor, token); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data == nil {
		s.data = make(map[string]string)
	}
	s.data[key] = value
	return nil
}

// run plays both holders. The first one is told apart from a dead one by nobody: its session is closed behind its back here, as it
// would have expired during a long pause.
func run(ctx context.Context, endpoints []string, out io.Writer) error {
	c, err := client.New(client.Config{Endpoints: endpoints})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	store := &Store{}

	session, err := c.NewSession(ctx, client.SessionConfig{Identity: "first"})
	if err != nil {
		return err
	}
	first, err := c.Lock(ctx, "ledger", client.InSession(session))
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "first holder: token %d, write: %v\n", first.Token(), store.Put("ledger", "first", first.Floor(), first.Token()))

	if err := session.Close(ctx); err != nil { // the pause
		return err
	}
	second, err := c.Lock(ctx, "ledger")
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "second holder: token %d, write: %v\n", second.Token(), store.Put("ledger", "second", second.Floor(), second.Token()))

	late := store.Put("ledger", "too late", first.Floor(), first.Token())
	fmt.Fprintf(out, "first holder again: %v\n", late)
	if !errors.Is(late, guard.ErrStale) {
		return errors.New("the store took the write of a holder that was overtaken")
	}
	check, err := c.CheckToken(ctx, "ledger", first.Token())
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "the cluster says: %v, the newest token is %d\n", check.Validity, check.Newest)
	return second.Unlock(ctx)
}
