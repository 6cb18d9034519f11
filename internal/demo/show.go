package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	client "github.com/lockd/lockd/client/go"
)

const (
	lockName = "demo/job"
	limit    = time.Minute // of the whole demonstration
)

// demonstration is what is shown.
type demonstration struct {
	*cluster
	out     io.Writer
	client  *client.Client
	workers []*worker
}

func (d *demonstration) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// worker is a lockd lock with a command.
type worker struct {
	name    string
	process *exec.Cmd
	tokens  chan uint64 // of the grant
}

// show shows everything, and returns an error if anything is not as promised.
func (d *demonstration) show(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := d.begin(ctx); err != nil {
		return err
	}
	if d.client, err = client.New(client.Config{Endpoints: d.endpoints(), Identity: "demo"}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.client.Close(context.WithoutCancel(ctx))) }()
	token, err := d.contend(ctx)
	if err != nil {
		return err
	}
	if token, err = d.killWorker(ctx, token); err != nil {
		return err
	}
	return d.killLeader(ctx, token)
}

// begin starts the nodes and tells where they are.
func (d *demonstration) begin(ctx context.Context) error {
	began := time.Now()
	for _, n := range d.nodes {
		if err := d.start(n); err != nil {
			return err
		}
	}
	for _, n := range d.nodes {
		if err := d.ready(ctx, n); err != nil {
			return err
		}
	}
	d.say("Three nodes serve after %d ms, with their data in %s.", time.Since(began).Milliseconds(), d.dir)
	for _, n := range d.nodes {
		d.say("  %s  clients %s  nodes %s  http://%s", n.name, n.client, n.raft, n.health)
	}
	d.say("\nTry, in another terminal:\n  export LOCKD_ENDPOINTS=%s", strings.Join(d.endpoints(), ","))
	d.say("  %s status", d.program)
	d.say("  %s lock %s -v -- sh -c 'echo my token: $LOCKD_TOKEN'", d.program, lockName)
	d.say("  %s show %s", d.program, lockName)
	return nil
}

// work starts a worker. If it dies, others get its lock three seconds after the cluster last heard of it.
func (d *demonstration) work(name string) (*worker, error) {
	w := &worker{name: name, tokens: make(chan uint64, 1)}
	w.process = exec.Command(d.program, "lock", lockName, "-e", strings.Join(d.endpoints(), ","), "--ttl", "3s", //nolint:noctx // ended by end
		"--value", name, "--", "sh", "-c", "echo $LOCKD_TOKEN; exec sleep 600")
	out, err := w.process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := start(w.process, syscall.SIGKILL); err != nil {
		return nil, err
	}
	go func() {
		defer close(w.tokens)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if token, err := strconv.ParseUint(lines.Text(), 10, 64); err == nil {
				w.tokens <- token
			}
		}
	}()
	d.workers = append(d.workers, w)
	return w, nil
}

// token waits until a worker holds the lock.
func (w *worker) token(ctx context.Context) (uint64, error) {
	select {
	case token, ok := <-w.tokens:
		if !ok {
			return 0, fmt.Errorf("%s has ended without the lock", w.name)
		}
		return token, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s does not get the lock: %w", w.name, ctx.Err())
	}
}

// contend lets two workers ask for the same lock.
func (d *demonstration) contend(ctx context.Context) (uint64, error) {
	d.say("\nTwo workers run `lockd lock %s -- COMMAND`.", lockName)
	first, err := d.work("worker 1")
	if err != nil {
		return 0, err
	}
	token, err := first.token(ctx)
	if err != nil {
		return 0, err
	}
	d.say("  %s holds the lock with token %d; its command runs.", first.name, token)
	if _, err := d.work("worker 2"); err != nil {
		return 0, err
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		info, err := d.client.Get(ctx, lockName)
		if err != nil {
			return 0, err
		}
		if info.Held == 1 && info.Waiting == 1 {
			d.say("  worker 2 waits in the queue; its command has not started.")
			return token, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("%d hold, %d wait: %w", info.Held, info.Waiting, ctx.Err())
		}
	}
}

// killWorker kills the holder, and sees the lock change hands.
func (d *demonstration) killWorker(ctx context.Context, token uint64) (uint64, error) {
	first, second := d.workers[0], d.workers[1]
	d.say("\nkill -9 of %s, which holds the lock.", first.name)
	killed := time.Now()
	if err := first.process.Process.Kill(); err != nil {
		return 0, err
	}
	next, err := second.token(ctx)
	if err != nil {
		return 0, err
	}
	d.say("  %s holds it %d ms later, with token %d.", second.name, time.Since(killed).Milliseconds(), next)
	if next <= token {
		return 0, fmt.Errorf("token %d after token %d", next, token)
	}
	if err := d.expect(ctx, token, client.TokenStale); err != nil {
		return 0, err
	}
	d.say("  The token has risen: a resource that checks it refuses what %s\n  may still have on its way.", first.name)
	return next, nil
}

// expect asks the cluster what a token is worth.
func (d *demonstration) expect(ctx context.Context, token uint64, want client.Validity) error {
	check, err := d.client.CheckToken(ctx, lockName, token)
	if err != nil {
		return err
	}
	if check.Validity != want {
		return fmt.Errorf("token %d is %v, not %v", token, check.Validity, want)
	}
	return nil
}

// killLeader kills the node that leads, sees the holder keep its lock and the node come back.
func (d *demonstration) killLeader(ctx context.Context, token uint64) error {
	leader, err := d.leader(ctx, nil)
	if err != nil {
		return err
	}
	d.say("\nkill -9 of %s, which leads the cluster.", leader.name)
	killed := time.Now()
	if err := d.kill(leader); err != nil {
		return err
	}
	l, err := d.client.Lock(ctx, "demo/other")
	if err != nil {
		return err
	}
	took := time.Since(killed)
	if err := l.Unlock(ctx); err != nil {
		return err
	}
	next, err := d.leader(ctx, leader)
	if err != nil {
		return err
	}
	d.say("  %s leads; the next lock was granted %d ms after the kill.", next.name, took.Milliseconds())
	if err := d.keeps(ctx, token); err != nil {
		return err
	}
	d.say("\n%s comes back.", leader.name)
	if err := d.start(leader); err != nil {
		return err
	}
	if err := d.ready(ctx, leader); err != nil {
		return err
	}
	if err := d.keeps(ctx, token); err != nil {
		return err
	}
	d.say("  It has caught up. Nothing that was granted is lost.")
	return nil
}

// keeps checks that worker 2 still holds the lock and runs its command.
func (d *demonstration) keeps(ctx context.Context, token uint64) error {
	if err := d.expect(ctx, token, client.TokenValid); err != nil {
		return err
	}
	select {
	case <-d.workers[1].tokens:
		return errors.New("worker 2 has ended")
	default:
	}
	d.say("  worker 2 still holds it, token %d, and its command still runs.", token)
	return nil
}

// leader waits for a leader other than the one that was killed.
func (d *demonstration) leader(ctx context.Context, killed *node) (*node, error) {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		nodes, err := d.client.Nodes(ctx)
		if err != nil {
			return nil, err
		}
		for _, told := range nodes {
			for _, n := range d.nodes {
				if told.Leader && told.Name == n.name && n != killed {
					return n, nil
				}
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("no leader: %w", ctx.Err())
		}
	}
}

// end ends the workers: a TERM goes through lockd lock to the command.
func (d *demonstration) end() {
	for _, w := range d.workers {
		_ = w.process.Process.Signal(syscall.SIGTERM) // it may have been killed
		for range w.tokens {                          // until its output ends
		}
		_ = w.process.Wait()
	}
}
