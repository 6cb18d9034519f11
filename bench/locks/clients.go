package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// childEnv marks a process of clients: its order comes on the standard input, its findings leave on the standard output,
// and the end of the input asks it to end.
const childEnv = "LOCKD_BENCH_CLIENTS"

// order says what a process of clients does.
type order struct {
	System    string
	Work      string // the name of one of works
	Endpoints []string
	Pprof     []string // addresses where the same nodes serve profiles
	Servers   []int    // their processes
	Clients   int      // sessions, each with a connection of its own
	Locks     int      // in all, for works that hold some
	Value     int      // bytes shown with each lock
	TTL       time.Duration
	Warmup    time.Duration
	Window    time.Duration // measured
	Profile   profile
}

// findings are what it found; each work sets the fields that it is about.
type findings struct {
	Window   time.Duration // as measured
	CPU      time.Duration // of the servers, in the window
	Own      time.Duration // CPU time of the clients, in the window
	Others   time.Duration // CPU time of all that is not measured here, in the window
	P50, P99 time.Duration // of a pair
	Grants   []uint64      // of each client, in the window
	Tries    []try
	Lost     int     // sessions
	Held     int     // locks
	Growth   []int64 // of each server's resident memory, bytes
}

// try is one attempt to get a lock, by the wall clock: its other end is in another process.
type try struct {
	Began, Granted time.Time
	Error          string // lost
}

// work is what a process of clients does. It calls ready once, when its clients are at work, and goes on until it is
// done, or until stop is closed if nothing else ends it.
type work func(ctx context.Context, o order, ready func(findings) error, stop <-chan struct{}) (findings, error)

var works = map[string]work{
	"pairs": pairs,
	"queue": queue,
	"idle":  idle,
	"hold":  hold,
	"keep":  keep,
	"await": await,
	"ask":   ask,
	"probe": probe,
}

// clients is a running process of clients.
type clients struct {
	process *rig.Process
	in      io.Closer
	out     *json.Decoder
}

// employ starts a process of clients and returns when they are at work.
func employ(ctx context.Context, o order) (_ *clients, first findings, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, first, err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, first, err
	}
	outRead, outWrite := io.Pipe()
	cmd.Stdout = outWrite
	p, err := rig.Launch(cmd)
	if err != nil {
		return nil, first, err
	}
	go func() {
		<-p.Done()
		_ = outWrite.Close() // never fails
	}()
	c := &clients{p, in, json.NewDecoder(outRead)}
	if err := json.NewEncoder(in).Encode(o); err != nil {
		return nil, first, errors.Join(err, c.dismiss())
	}
	if first, err = c.next(); err != nil {
		return nil, first, errors.Join(err, c.dismiss())
	}
	return c, first, nil
}

// next returns what they found next.
func (c *clients) next() (f findings, err error) {
	if err := c.out.Decode(&f); err != nil {
		<-c.process.Done()
		return f, fmt.Errorf("clients: %w", errors.Join(err, c.process.Alive()))
	}
	return f, nil
}

// finish asks them to end and returns their last findings.
func (c *clients) finish() (findings, error) {
	err := c.in.Close()
	f, e := c.next()
	return f, errors.Join(err, e)
}

// dismiss ends them at once.
func (c *clients) dismiss() error { return c.process.Kill() }

// run makes one work from its beginning to its end.
func run(ctx context.Context, o order) (findings, error) {
	c, _, err := employ(ctx, o)
	if err != nil {
		return findings{}, err
	}
	f, err := c.next()
	return f, errors.Join(err, c.dismiss())
}

// serveOrder is the other side.
func serveOrder(ctx context.Context, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	input := json.NewDecoder(in)
	var o order
	if err := input.Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	stop := make(chan struct{})
	go func() {
		defer close(stop)
		_, _ = io.Copy(io.Discard, in) // either way there is no more to come
	}()
	do, ok := works[o.Work]
	if !ok {
		return fmt.Errorf("no work %q", o.Work)
	}
	output := json.NewEncoder(out)
	f, err := do(ctx, o, func(f findings) error { return output.Encode(f) }, stop)
	if err != nil {
		return fmt.Errorf("%s: %w", o.Work, err)
	}
	return output.Encode(f)
}
