package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

const (
	nodes    = 3
	patience = time.Minute // for a node to start, to stop, and for a leader
)

// child is a process that was started here and ends with this one.
type child struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended
}

func launch(cmd *exec.Cmd) (*child, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // who ended it knows how
		close(c.ended)
	}()
	return c, nil
}

// end sends a signal and waits for the end; SIGKILL follows when that does not come.
func (c *child) end(s syscall.Signal) error {
	_ = c.cmd.Process.Signal(s) // it may have ended
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.ended:
		return nil
	case <-timer.C:
		_ = c.cmd.Process.Kill()
		<-c.ended
		return fmt.Errorf("process %d has not ended within %v after %v", c.cmd.Process.Pid, patience, s)
	}
}

// node is one server, through all its lives.
type node struct {
	name, dir          string
	client, peer, http string // addresses
	log                *os.File
	*child             // nil while it is down
}

// cluster is the nodes.
type cluster struct {
	program string
	nodes   [nodes]*node
}

// newCluster starts a fresh cluster whose data lie in dir.
func newCluster(ctx context.Context, program, dir string) (*cluster, error) {
	c := &cluster{program: program}
	addresses, err := rig.FreeAddresses(ctx, 3*nodes)
	if err != nil {
		return nil, err
	}
	for i := range c.nodes {
		n := &node{name: fmt.Sprint("n", i+1), client: addresses[3*i], peer: addresses[3*i+1], http: addresses[3*i+2]}
		n.dir = filepath.Join(dir, n.name)
		if n.log, err = os.Create(filepath.Join(dir, n.name+".log")); err != nil {
			return nil, err
		}
		c.nodes[i] = n
	}
	for _, n := range c.nodes {
		if err := c.start(ctx, n); err != nil {
			return c, err
		}
	}
	_, err = c.leader(ctx)
	return c, err
}

func (c *cluster) start(ctx context.Context, n *node) (err error) {
	var list []string
	for _, m := range c.nodes {
		list = append(list, m.name+"="+m.peer)
	}
	cmd := exec.CommandContext(ctx, c.program, "serve", "--name="+n.name, "--data-dir="+n.dir,
		"--listen-client="+n.client, "--listen-raft="+n.peer, "--listen-http="+n.http,
		"--initial-cluster="+strings.Join(list, ","), "--pprof", "--log-level=warn")
	cmd.Stderr = n.log
	n.child, err = launch(cmd)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	return nil
}

// restart ends a node by a signal and starts it again, and returns when it is ready.
func (c *cluster) restart(ctx context.Context, n *node, by syscall.Signal) error {
	if err := n.end(by); err != nil {
		return err
	}
	if err := c.start(ctx, n); err != nil {
		return err
	}
	return poll(ctx, func() error { return get(ctx, n.http, "/ready", func(io.Reader) error { return nil }) })
}

// leader waits until all nodes know the same leader, and returns it.
func (c *cluster) leader(ctx context.Context) (leader *node, err error) {
	err = poll(ctx, func() error {
		leader = nil
		for _, n := range c.nodes {
			var s struct{ Role, Leader string }
			if err := get(ctx, n.http, "/status", func(r io.Reader) error { return json.NewDecoder(r).Decode(&s) }); err != nil {
				return err
			}
			switch {
			case s.Leader == "":
				return fmt.Errorf("%s knows no leader", n.name)
			case s.Role == "leader":
				leader = n
			}
		}
		if leader == nil {
			return errors.New("nobody leads")
		}
		return nil
	})
	return leader, err
}

// poll tries something until it works.
func poll(ctx context.Context, try func() error) error {
	const pause = 50 * time.Millisecond
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if rig.Sleep(ctx, pause) != nil {
			return fmt.Errorf("still after %v: %w", patience, err)
		}
	}
}

// get reads a page of a node's HTTP port.
func get(ctx context.Context, address, path string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s: %s", address, path, answer.Status)
	}
	return read(answer.Body)
}

func (c *cluster) endpoints() (list []string) {
	for _, n := range c.nodes {
		list = append(list, n.client)
	}
	return list
}

// close ends the nodes that run.
func (c *cluster) close() {
	for _, n := range c.nodes {
		if n.child != nil {
			_ = n.cmd.Process.Kill()
			<-n.ended
		}
		_ = n.log.Close()
	}
}
