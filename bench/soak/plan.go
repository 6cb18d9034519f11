package main

import (
	"context"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// What is done to the nodes.
const (
	leaderStopped  = "leader stopped and started"
	leaderPaused   = "leader paused"
	followerKilled = "follower killed"
)

// event is something that was done to a node.
type event struct {
	At   time.Duration // since the beginning
	What string
	Node string
}

// pauseOfLeader is longer than an election takes.
const pauseOfLeader = 3 * time.Second

// disturb does something to the nodes at equal distances in a run of that length: two of three times a new leader, else a follower that
// is killed. It ends when that is done, or with
// the cause of ctx.
func (c *cluster) disturb(ctx context.Context, began time.Time, length time.Duration, note func(event)) error {
	const most, fewest, apart = 12, 3, 20 * time.Second
	events := min(most, max(fewest, int(length/apart)))
	for i := range events {
		at := length * time.Duration(2*i+1) / time.Duration(2*events)
		if err := rig.Sleep(ctx, time.Until(began.Add(at))); err != nil {
			return err
		}
		leader, err := c.leader(ctx)
		if err != nil {
			return err
		}
		e := event{At: time.Since(began), What: leaderStopped, Node: leader.name}
		switch {
		case i%3 == 2:
			n := c.followerToKill(leader)
			e.What, e.Node = followerKilled, n.name
			err = c.restart(ctx, n, syscall.SIGKILL)
		case leader == c.nodes[0]:
			e.What = leaderPaused
			err = leader.pause(ctx)
		default:
			err = c.restart(ctx, leader, syscall.SIGTERM)
		}
		if err != nil {
			return err
		}
		note(e)
	}
	return nil
}

// followerToKill is never the first node, which lives as long as the run.
func (c *cluster) followerToKill(leader *node) *node {
	for _, n := range c.nodes[1:] {
		if n != leader {
			return n
		}
	}
	return nil
}

func (n *node) pause(ctx context.Context) error {
	if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	_ = rig.Sleep(ctx, pauseOfLeader) // it goes on in any case
	return n.cmd.Process.Signal(syscall.SIGCONT)
}
