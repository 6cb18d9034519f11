package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
	"github.com/lockd/lockd/internal/netlab"
)

// size is that of every cluster.
const size = 3

// node is one server, through all its lives.
type node struct {
	name    string
	host    int // of the lab
	address string
	dir     string
	log     *os.File     // nil: nobody wants to know
	process *rig.Process // the present one, or the last
}

// at returns the address of a port.
func (n *node) at(port int) string { return net.JoinHostPort(n.address, strconv.Itoa(port)) }

// cluster is a running service.
type cluster struct {
	system  system
	program string
	dir     string
	lab     *netlab.Lab
	clients int // host of the clients
	nodes   []*node
}

// startCluster starts a service on the hosts from the first one on. If logs names a directory, the nodes log there.
func startCluster(ctx context.Context, s system, program, parent, logs string, lab *netlab.Lab, first, clients int) (_ *cluster, err error) {
	dir, err := os.MkdirTemp(parent, "lockd-failover-")
	if err != nil {
		return nil, err
	}
	c := &cluster{system: s, program: program, dir: dir, lab: lab, clients: clients}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if err := errors.Join(rig.RefuseMemory(dir), s.prepare(dir)); err != nil {
		return nil, err
	}
	for i := range size {
		name := fmt.Sprint("n", i+1)
		n := &node{name: name, host: first + i, address: lab.Addr(first + i).String(), dir: filepath.Join(dir, name)}
		c.nodes = append(c.nodes, n)
		if logs == "" {
			continue
		}
		file := filepath.Join(logs, fmt.Sprintf("%s-%d-%s.log", s.program.Name, n.host, name))
		if n.log, err = os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
			return nil, err
		}
	}
	for _, n := range c.nodes {
		if err := c.run(ctx, n); err != nil {
			return nil, err
		}
	}
	_, _, err = c.settled(ctx)
	return c, err
}

// run starts a node that is down.
func (c *cluster) run(ctx context.Context, n *node) error {
	i := n.host - c.nodes[0].host
	cmd := c.lab.Command(ctx, n.host, c.program, c.system.args(c, i)...)
	if n.log != nil {
		cmd.Stderr = n.log
	}
	p, err := rig.Launch(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.process = p
	return nil
}

func (c *cluster) dial() dial { return c.lab.Dial(c.clients) }

// endpoints are those for clients.
func (c *cluster) endpoints() (list []string) {
	port := lockdClient
	if c.system.program.Name == etcd.program.Name {
		port = etcdClient
	}
	for _, n := range c.nodes {
		list = append(list, n.at(port))
	}
	return list
}

// settled waits until all nodes follow one leader and have applied what it had committed by then. It returns the leader and its term.
func (c *cluster) settled(ctx context.Context) (leader *node, term uint64, err error) {
	const patience, pause = time.Minute, 10 * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("the nodes do not agree"))
	defer cancel()
	for {
		leader, term, err := c.look(ctx)
		if err == nil {
			return leader, term, nil
		}
		for _, n := range c.nodes {
			if dead := n.process.Alive(); dead != nil {
				return nil, 0, fmt.Errorf("%s: %s: %w", c.system.name, n.name, dead)
			}
		}
		if e := rig.Sleep(ctx, pause); e != nil {
			return nil, 0, fmt.Errorf("wait for %s: %w; last: %w", c.system.name, e, err)
		}
	}
}

// look returns the leader and its term if all nodes follow it, and have applied what it has committed.
func (c *cluster) look(ctx context.Context) (leader *node, term uint64, err error) {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	views := make([]view, len(c.nodes))
	var commit uint64
	for range 2 { // what is committed is known after the first time
		for i, n := range c.nodes {
			if views[i], err = c.system.look(ctx, c.dial(), n); err != nil {
				return nil, 0, fmt.Errorf("%s: %w", n.name, err)
			}
		}
		if commit > 0 {
			break
		}
		for _, v := range views {
			commit = max(commit, v.commit)
		}
	}
	for i, v := range views {
		switch {
		case v.leader == 0 || v.leader != views[0].leader || v.term != views[0].term:
			return nil, 0, fmt.Errorf("%s follows %x in term %d, %s %x in term %d", c.nodes[0].name, views[0].leader, views[0].term,
				c.nodes[i].name, v.leader, v.term)
		case v.applied < commit:
			return nil, 0, fmt.Errorf("%s has applied %d of %d", c.nodes[i].name, v.applied, commit)
		case v.leader == v.node:
			leader = c.nodes[i]
		}
	}
	if leader == nil {
		return nil, 0, errors.New("the leader is none of them")
	}
	return leader, views[0].term, nil
}

// close ends the nodes and removes their data.
func (c *cluster) close() error {
	var errs []error
	for _, n := range c.nodes {
		if n.process != nil {
			errs = append(errs, n.process.Kill())
		}
		if n.log != nil {
			errs = append(errs, n.log.Close())
		}
	}
	errs = append(errs, os.RemoveAll(c.dir))
	syscall.Sync() // what it has left to write must not slow what comes next
	return errors.Join(errs...)
}
