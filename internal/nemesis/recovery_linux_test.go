package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/lockd/lockd/client/go"
)

const (
	startLimit    = 30 * time.Second // until a node that was started serves
	convergeLimit = 15 * time.Second // until all nodes have applied what was committed
	workLimit     = 20 * time.Second // for what the clients do to come to an end; then they have finalLimit and closeLimit
	emptyLimit    = 15 * time.Second // until nothing is held or waited for: dead sessions and forgotten leases have ended by then
)

// recover demands that the cluster, healed, comes back to life, and then ends it.
func (a *arena) recover() error {
	err := a.straighten()
	for i := range clusterSize {
		if !a.cluster.Running(i) {
			err = errors.Join(err, fmt.Errorf("node %d has ended by itself", i+1))
		}
	}
	if err != nil {
		return err
	}
	a.event("healed")
	if err := a.await("all nodes serve", startLimit, a.allServe); err != nil {
		return err
	}
	if err := a.converge(); err != nil {
		return err
	}
	a.event("converged")
	if err := a.finishWorkers(); err != nil {
		return err
	}
	a.event("workers have finished")
	if err := a.nothingLeft(); err != nil {
		return err
	}
	a.event("nothing is left")
	for i := range clusterSize {
		if end := a.cluster.Stop(i); end != nil {
			err = errors.Join(err, fmt.Errorf("node %d did not stop well: %w", i+1, end))
		}
	}
	return err
}

func (a *arena) allServe() bool {
	for i := range clusterSize {
		if !a.serves(i) {
			return false
		}
	}
	return true
}

// converge waits until every node has applied what one of them knew to be committed, and knows the same leader.
func (a *arena) converge() error {
	goal := uint64(0)
	for _, s := range a.statuses() {
		goal = max(goal, s.Commit)
	}
	if goal == 0 {
		return errors.New("no node tells how it is")
	}
	last := ""
	err := a.await("all nodes have applied the same and follow one leader", convergeLimit, func() bool {
		all := a.statuses()
		good := true
		last = ""
		for _, s := range all {
			good = good && s.Applied >= goal && s.Leader != "" && s.Leader == all[0].Leader
			last += fmt.Sprintf("\n%s: %s in term %d, leader %q, applied %d of %d, want %d", s.Node, s.Role, s.Term, s.Leader, s.Applied, s.Commit, goal)
		}
		return good
	})
	if err != nil {
		return fmt.Errorf("%w%s", err, last)
	}
	return nil
}

// finishWorkers lets every client be granted one more lock and close its session.
func (a *arena) finishWorkers() error {
	var errs []error
	for _, w := range a.workers {
		if _, err := io.WriteString(w.stdin, "finish\n"); err != nil {
			errs = append(errs, fmt.Errorf("worker %s: %w", w.config.Name, err))
		}
	}
	limit := time.NewTimer(workLimit + finalLimit + closeLimit)
	defer limit.Stop()
	expired := make(chan time.Time)
	go func() {
		<-limit.C
		close(expired)
	}()
	for _, w := range a.workers {
		errs = append(errs, w.finish(expired))
	}
	return errors.Join(errs...)
}

// nothingLeft waits until the cluster has no lock, no waiter and no session.
func (a *arena) nothingLeft() error {
	c, err := client.New(client.Config{Endpoints: a.cluster.Endpoints(), Dial: a.lab.Dial(resource)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.t.Context(), 2*emptyLimit)
	defer cancel()
	defer func() { _ = c.Close(ctx) }()
	var left []string
	err = a.await("every queue is empty and every session has ended", emptyLimit, func() bool {
		left = nil
		for l, bad := range c.List(ctx, "") {
			if bad != nil {
				left = append(left, bad.Error())
				break
			}
			left = append(left, fmt.Sprintf("%+v", l))
		}
		for s, bad := range c.Sessions(ctx) {
			if bad != nil {
				left = append(left, bad.Error())
				break
			}
			left = append(left, fmt.Sprintf("session of %s", s.Identity))
		}
		return len(left) == 0
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, strings.Join(left, "\n"))
	}
	return nil
}
