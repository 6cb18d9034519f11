package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// node is one lockd serve.
type node struct {
	name                 string
	client, raft, health string    // addresses
	process              *exec.Cmd // nil: it does not run
}

// cluster is three of them on loopback.
type cluster struct {
	program, dir string
	nodes        []*node
}

// newCluster picks free ports for size nodes.
func newCluster(program, dir string, size int) (*cluster, error) {
	addresses, err := freeAddresses(3 * size)
	if err != nil {
		return nil, err
	}
	c := &cluster{program: program, dir: dir}
	for i := range size {
		a := addresses[3*i:]
		c.nodes = append(c.nodes, &node{name: fmt.Sprintf("n%d", i+1), client: a[0], raft: a[1], health: a[2]})
	}
	return c, nil
}

// freeAddresses finds ports below those that the system gives to outgoing connections, so that nobody takes one while its node is
// down.
func freeAddresses(n int) ([]string, error) {
	const from, span, tries = 20000, 10000, 100
	var addresses []string
	for range tries {
		address := fmt.Sprintf("127.0.0.1:%d", from+rand.IntN(span))
		l, err := net.Listen("tcp", address) //nolint:noctx // ends at once
		if err != nil || slices.Contains(addresses, address) {
			continue
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		if addresses = append(addresses, address); len(addresses) == n {
			return addresses, nil
		}
	}
	return nil, errors.New("no free ports on 127.0.0.1")
}

func (c *cluster) endpoints() []string {
	var all []string
	for _, n := range c.nodes {
		all = append(all, n.client)
	}
	return all
}

// start runs a node; its log goes to a file beside its data.
func (c *cluster) start(n *node) error {
	log, err := os.OpenFile(filepath.Join(c.dir, n.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	var members []string
	for _, m := range c.nodes {
		members = append(members, m.name+"="+m.raft)
	}
	cmd := exec.Command(c.program, "serve", "--name", n.name, "--data-dir", filepath.Join(c.dir, n.name), //nolint:noctx // ended by kill or stop
		"--listen-client", n.client, "--listen-raft", n.raft, "--listen-http", n.health, "--initial-cluster", strings.Join(members, ","))
	cmd.Stderr = log
	if err := errors.Join(start(cmd, syscall.SIGTERM), log.Close()); err != nil {
		return err
	}
	n.process = cmd
	return nil
}

// start starts a process that does not outlive this one.
func start(cmd *exec.Cmd, atEnd syscall.Signal) error {
	cmd.SysProcAttr = attached(atEnd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: for the kernel the parent of a process is the thread that started it
		started <- cmd.Start()
		select {}
	}()
	return <-started
}

// kill ends a node as kill -9 does.
func (c *cluster) kill(n *node) error {
	cmd := n.process
	n.process = nil
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	_ = cmd.Wait() // it was killed
	return nil
}

// stop ends all nodes politely.
func (c *cluster) stop() error {
	var errs []error
	for _, n := range c.nodes {
		if n.process != nil {
			errs = append(errs, n.process.Process.Signal(syscall.SIGTERM))
		}
	}
	for _, n := range c.nodes {
		if n.process == nil {
			continue
		}
		if err := n.process.Wait(); err != nil {
			errs = append(errs, fmt.Errorf("node %s: %w\n%s", n.name, err, c.log(n)))
		}
	}
	return errors.Join(errs...)
}

// log returns the end of what a node has logged.
func (c *cluster) log(n *node) string {
	const most = 2000
	text, err := os.ReadFile(filepath.Join(c.dir, n.name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-most):])
}

// ready waits until a node serves.
func (c *cluster) ready(ctx context.Context, n *node) error {
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.health+"/ready", nil)
		if err != nil {
			return err
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			_ = answer.Body.Close() // the status says it
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("node %s does not serve: %w\n%s", n.name, ctx.Err(), c.log(n))
		}
	}
}
