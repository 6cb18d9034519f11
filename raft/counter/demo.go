package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	demoClients = 16
	demoOps     = 200 // of each client, before and again after the leader is killed
)

// demo runs three nodes and shows that a counter survives the death of their leader.
func demo(ctx context.Context, out io.Writer, dir string, once bool) (err error) {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	if dir == "" {
		if dir, err = os.MkdirTemp("", "counter-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	c, err := newCluster(program, dir, 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	for i := range c.members {
		if err := c.start(i); err != nil {
			return err
		}
	}
	d := &demonstration{cluster: c, out: out}
	if err := d.show(ctx); err != nil || once {
		return err
	}
	d.say("\nThe nodes go on running; Ctrl-C ends them.")
	<-ctx.Done()
	return nil
}

// demonstration is what the demo tells while it goes on.
type demonstration struct {
	*cluster
	out    io.Writer
	nextOp [demoClients]uint64
}

func (d *demonstration) say(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, format+"\n", args...)
}

func (d *demonstration) show(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d.say("Three nodes of a replicated counter start, with their data in %s.", d.dir)
	leader, a, err := d.leader(ctx)
	if err != nil {
		return err
	}
	for i, m := range d.members {
		d.say("  %s   raft %-16s http://%s%s", m.name, m.raft, m.http, map[bool]string{true: "   leads term " + fmt.Sprint(a.Term)}[i == leader])
	}
	d.say("\nTry, in another terminal:")
	d.say("  curl http://%s/status", d.members[0].http)
	d.say("  curl -X POST 'http://%s/add?client=99&seq=1'", d.members[leader].http)
	d.say("  curl http://%s/value", d.members[1].http)
	if err := d.count(ctx, leader); err != nil {
		return err
	}
	d.say("\nkill -9 of %s, which leads.", d.members[leader].name)
	killed := time.Now()
	if err := d.kill(leader); err != nil {
		return err
	}
	next, a, err := d.leader(ctx)
	if err != nil {
		return err
	}
	d.say("%s leads term %d after %d ms.", d.members[next].name, a.Term, time.Since(killed).Milliseconds())
	if err := d.count(ctx, next); err != nil {
		return err
	}
	d.say("\n%s comes back.", d.members[leader].name)
	if err := d.start(leader); err != nil {
		return err
	}
	return d.compare(ctx)
}

// count raises the counter from many clients at once, and reads it from a node that does not lead.
func (d *demonstration) count(ctx context.Context, leader int) error {
	began := time.Now()
	errs := make([]error, demoClients)
	var wg sync.WaitGroup
	for client := range demoClients {
		wg.Go(func() {
			for range demoOps {
				path := fmt.Sprintf("/add?client=%d&seq=%d", client, d.nextOp[client])
				d.nextOp[client]++
				if _, err := d.call(ctx, leader, http.MethodPost, path); err != nil {
					errs[client] = fmt.Errorf("client %d: %w", client, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	took := time.Since(began)
	other := (leader + 1) % len(d.members)
	if d.running[other] == nil {
		other = (leader + 2) % len(d.members)
	}
	a, err := d.call(ctx, other, http.MethodGet, "/value")
	if err != nil {
		return err
	}
	d.say("\n%d clients counted %d times in %d ms; %s, which does not lead, reads %d.",
		demoClients, demoClients*demoOps, took.Milliseconds(), d.members[other].name, a.Value)
	return nil
}

// compare checks that nothing is lost and that all nodes hold the same.
func (d *demonstration) compare(ctx context.Context) error {
	answers, err := d.settled(ctx)
	if err != nil {
		return err
	}
	var want uint64
	for _, n := range d.nextOp {
		want += n
	}
	for i, a := range answers {
		d.say("  %s   value %d, entry %d, digest of the log %s", d.members[i].name, a.Value, a.Applied, a.Digest)
		if a.Digest != answers[0].Digest || a.Value < want || a.Twice > 0 {
			return fmt.Errorf("node %s has %d (%d twice), want at least %d, digest %s", d.members[i].name, a.Value, a.Twice, want, answers[0].Digest)
		}
	}
	d.say("Nothing acknowledged was lost, nothing was counted twice, and the three logs are the same.")
	return nil
}
