package main

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/lockd/lockd/internal/netlab"
)

// fault is a way to lose a leader. Both functions return when it has happened.
type fault struct {
	name, about string
	goal        float64 // ms, of the median of lockd; 0: none
	strike      func(c *cluster, n *node) error
	mend        func(ctx context.Context, c *cluster, n *node) error
}

var faults = []fault{
	{name: "kill", about: "kill -9", goal: 250, strike: kill, mend: restart},
	{name: "stop", about: "SIGSTOP", goal: 600, strike: stop, mend: func(_ context.Context, _ *cluster, n *node) error {
		return n.process.Signal(syscall.SIGCONT)
	}},
	{name: "cut", about: "network cut", goal: 600, strike: cut, mend: heal},
}

func kill(_ *cluster, n *node) error { return n.process.Kill() }

func restart(ctx context.Context, c *cluster, n *node) error { return c.run(ctx, n) }

// stop returns when every thread stands still: on a busy machine one may go on for some milliseconds, and answer clients.
func stop(_ *cluster, n *node) error {
	const patience, pause = time.Second, 100 * time.Microsecond
	if err := n.process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(patience); ; time.Sleep(pause) {
		stopped, err := n.process.Stopped()
		if err != nil || stopped {
			return err
		}
		if time.Now().After(end) {
			return errors.New("it does not stop")
		}
	}
}

func cut(c *cluster, n *node) error {
	c.around(n, netlab.Link{Cut: true})
	return nil
}

// heal fails if the cut has hit nothing.
func heal(_ context.Context, c *cluster, n *node) error {
	c.around(n, netlab.Link{})
	for _, other := range c.nodes {
		if other != n && c.lab.Between(n.host, other.host).Cut+c.lab.Between(other.host, n.host).Cut == 0 {
			return errors.New("the cut has hit nothing between " + n.name + " and " + other.name)
		}
	}
	return nil
}

// around changes the links of a node with the other nodes and with the clients, in both directions.
func (c *cluster) around(n *node, k netlab.Link) {
	hosts := []int{c.clients}
	for _, other := range c.nodes {
		hosts = append(hosts, other.host)
	}
	for _, host := range hosts {
		if host != n.host {
			c.lab.Set(n.host, host, k)
			c.lab.Set(host, n.host, k)
		}
	}
}
