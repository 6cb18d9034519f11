package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"sync"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// processes of clients, which share the work.
const processes = 2

// run is one run.
type run struct {
	o       options
	host    rig.Host
	cluster *cluster
	began   time.Time

	mu      sync.Mutex // guards the fields below
	now     sample     // what the clients have told since the last sample
	lost    [processes]int
	samples []sample
	events  []event
}

// do starts everything, takes samples until the time is over and ends everything.
func (r *run) do(ctx context.Context, dir string) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.cluster, err = newCluster(ctx, r.o.program, dir)
	if r.cluster != nil {
		defer r.cluster.close()
	}
	if err != nil {
		return err
	}
	r.now.Pairs = histogram{}
	var reading sync.WaitGroup
	defer reading.Wait()
	for i := range processes {
		stop, err := r.employ(ctx, i, func(f func()) { reading.Go(f) }, cancel)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := r.warm(ctx); err != nil {
		return err
	}
	r.began = time.Now()
	var disturbing sync.WaitGroup
	defer disturbing.Wait()
	life, end := context.WithCancel(ctx)
	defer end()
	disturbing.Go(func() {
		if err := r.cluster.disturb(life, r.began, r.o.time, r.note); err != nil && life.Err() == nil { // the run is not over
			cancel(fmt.Errorf("disturb the nodes: %w", err))
		}
	})
	for n := 1; time.Since(r.began) < r.o.time; n++ {
		if err := rig.Sleep(ctx, time.Until(r.began.Add(time.Duration(n)*r.o.every))); err != nil {
			return err
		}
		r.sample(ctx, n)
	}
	return nil
}

// employ starts a process of clients and takes in what it tells. The function that it returns ends the process.
func (r *run) employ(ctx context.Context, i int, background func(func()), fail context.CancelCauseFunc) (stop func(), err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	share := func(n int) int { return n*(i+1)/processes - n*i/processes }
	o := order{
		Name: fmt.Sprint("p", i, "-"), Endpoints: r.cluster.endpoints(), TTL: r.o.ttl, Every: r.o.every / 5, Rate: r.o.rate / processes,
		Clients: share(r.o.clients), Queue: share(r.o.queue), Leases: share(r.o.leases), Idle: share(r.o.idle),
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env, cmd.Stderr = append(os.Environ(), childEnv+"=1"), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite := io.Pipe()
	cmd.Stdout = outWrite
	p, err := launch(cmd)
	if err != nil {
		return nil, err
	}
	background(func() {
		<-p.ended
		_ = outWrite.Close() // never fails
	})
	stopping := make(chan struct{})
	background(func() {
		for from := json.NewDecoder(outRead); ; {
			t := tick{Pairs: histogram{}}
			if err := from.Decode(&t); err != nil {
				_ = outRead.Close() // so that the process does not wait for a reader
				select {
				case <-stopping:
				default:
					fail(fmt.Errorf("process %d of clients has ended: %w", i, err))
				}
				return
			}
			r.take(i, t)
		}
	})
	if err := json.NewEncoder(in).Encode(o); err != nil {
		return nil, errors.Join(err, p.cmd.Process.Kill())
	}
	return func() {
		close(stopping)
		_ = in.Close() // asks it to end
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-p.ended:
		case <-timer.C:
			_ = p.cmd.Process.Kill()
			<-p.ended
		}
	}, nil
}

// warm waits until both processes of clients are at work, and forgets what they told so far.
func (r *run) warm(ctx context.Context) error {
	err := poll(ctx, func() error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if float64(r.now.Pairs.count()) < 2*r.o.rate {
			return errors.New("the clients are not at work")
		}
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = sample{Pairs: histogram{}}
	return err
}

func (r *run) take(i int, t tick) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now.Pairs.merge(t.Pairs)
	r.now.Queue += t.Queue
	r.now.Leases += t.Leases
	r.now.Errors = append(r.now.Errors, t.Errors...)
	r.lost[i] = t.Lost
}

func (r *run) note(e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	fmt.Fprintf(os.Stderr, "%8v  %s: %s\n", e.At.Round(time.Second), e.Node, e.What)
}

// sample takes the sample of that number. Of a node that cannot be looked at, as it is down, there is nothing in it.
func (r *run) sample(ctx context.Context, n int) {
	const collectEvery = 30 * time.Second
	collect := n%max(1, int(min(collectEvery, r.o.time/12)/r.o.every)) == 0
	var used [nodes]usage
	for i, node := range r.cluster.nodes {
		u, err := node.look(ctx, collect)
		if err != nil {
			none := math.NaN()
			u = usage{none, none, none, none, none, none, none}
		}
		used[i] = u
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.now
	s.At, s.Nodes = time.Since(r.began).Round(time.Millisecond), used
	for _, lost := range r.lost {
		s.Lost += lost
	}
	r.now = sample{Pairs: histogram{}}
	r.samples = append(r.samples, s)
	const show = 12
	if n%show == 0 {
		fmt.Fprintf(os.Stderr, "%8v  %d pairs, p50 %.2f ms, p99 %.1f ms, worst %.0f ms; memory %.0f, %.0f, %.0f MiB; %d errors, %d sessions lost\n",
			s.At.Round(time.Second), s.Pairs.count(), s.Pairs.quantile(0.5), s.Pairs.quantile(0.99), s.Pairs.quantile(1),
			used[0].RSS, used[1].RSS, used[2].RSS, len(s.Errors), s.Lost)
	}
}
