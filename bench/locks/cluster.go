package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// node is one server.
type node struct {
	name               string
	dir                string
	client, peer, http string // addresses
	process            *rig.Process
}

// cluster is a running service.
type cluster struct {
	system  system
	program string
	dir     string // removed by close
	nodes   []*node
}

// build compiles the servers into dir, or finds them, and returns the programs by the names of their systems.
func build(ctx context.Context, picked []system, dir string) (map[string]string, error) {
	var programs []rig.Program
	found := map[string]string{}
	for _, s := range picked {
		if s.installed == "" {
			programs = append(programs, rig.Program{Name: s.name, Package: s.program, Module: s.module})
			continue
		}
		path, err := exec.LookPath(s.installed)
		if err != nil {
			return nil, fmt.Errorf("%s has to be installed first: %w", s.name, err)
		}
		found[s.name] = path
	}
	built, err := rig.Build(ctx, dir, programs...)
	maps.Copy(found, built)
	return found, err
}

func nodeName(i int) string { return fmt.Sprint("n", i+1) }

// startCluster starts a fresh cluster and returns when it has a leader that all nodes know.
func startCluster(ctx context.Context, s system, program, parent string, size int) (_ *cluster, err error) {
	dir, err := os.MkdirTemp(parent, "lockd-bench-")
	if err != nil {
		return nil, err
	}
	c := &cluster{system: s, program: program, dir: dir, nodes: make([]*node, size)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	if err := rig.RefuseMemory(dir); err != nil {
		return nil, err
	}
	addresses, err := rig.FreeAddresses(ctx, 3*size)
	if err != nil {
		return nil, err
	}
	for i := range c.nodes {
		name := nodeName(i)
		a := addresses[3*i:]
		c.nodes[i] = &node{name: name, dir: filepath.Join(dir, name), client: a[0], peer: a[1], http: a[2]}
		if err := os.Mkdir(c.nodes[i].dir, 0o700); err != nil {
			return nil, err
		}
	}
	return c, c.start(ctx)
}

// start starts the nodes that do not run, and returns when all serve.
func (c *cluster) start(ctx context.Context) error {
	for i, n := range c.nodes {
		if n.process != nil {
			continue
		}
		p, err := rig.Launch(exec.CommandContext(ctx, c.program, c.system.args(c.nodes, i)...))
		if err != nil {
			return fmt.Errorf("start %s: %w", n.name, err)
		}
		n.process = p
	}
	_, err := c.leader(ctx)
	return err
}

// leader waits until every node serves and exactly one of them leads.
func (c *cluster) leader(ctx context.Context) (*node, error) {
	const patience, pause = time.Minute, 20 * time.Millisecond
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("no leader that all nodes know"))
	defer cancel()
	for {
		leader, err := c.look(ctx)
		if leader != nil {
			return leader, nil
		}
		if dead := c.alive(); dead != nil {
			return nil, dead
		}
		if e := rig.Sleep(ctx, pause); e != nil {
			return nil, fmt.Errorf("wait for %s: %w; last: %w", c.system.name, e, err)
		}
	}
}

// look returns the leader if all nodes serve.
func (c *cluster) look(ctx context.Context) (leader *node, err error) {
	const patience = time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, n := range c.nodes {
		leads, err := c.system.leads(ctx, n, len(c.nodes))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.name, err)
		}
		if leads && leader != nil {
			return nil, fmt.Errorf("%s and %s lead", leader.name, n.name)
		}
		if leads {
			leader = n
		}
	}
	if leader == nil {
		return nil, errors.New("nobody leads")
	}
	return leader, nil
}

// alive fails when a node has ended that nobody killed.
func (c *cluster) alive() error {
	for _, n := range c.nodes {
		if n.process == nil {
			continue
		}
		if err := n.process.Alive(); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	return nil
}

func (c *cluster) pids() (pids []int) {
	for _, n := range c.nodes {
		pids = append(pids, n.process.PID())
	}
	return pids
}

// addresses are those for clients, and those where the nodes serve profiles.
func (c *cluster) addresses() (client, pprof []string) {
	for _, n := range c.nodes {
		client = append(client, n.client)
		if c.system.pprof != nil {
			pprof = append(pprof, c.system.pprof(n))
		}
	}
	return client, pprof
}

// kill ends nodes by SIGKILL, all at once.
func kill(victims ...*node) error {
	var errs []error
	for _, n := range victims {
		errs = append(errs, n.process.Signal(syscall.SIGKILL))
	}
	for _, n := range victims {
		<-n.process.Done()
		n.process = nil
	}
	return errors.Join(errs...)
}

// close ends the nodes and removes their data.
func (c *cluster) close() error {
	var errs []error
	for _, n := range c.nodes {
		if n != nil && n.process != nil {
			errs = append(errs, n.process.Kill())
		}
	}
	errs = append(errs, os.RemoveAll(c.dir))
	syscall.Sync() // what one system has left to write must not slow the next
	return errors.Join(errs...)
}
