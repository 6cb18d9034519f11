package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// cluster is a set of node processes on loopback.
type cluster struct {
	program string // this program's own file
	args    []string
	dir     string
	members []member
	running []*exec.Cmd // nil: not running
	http    http.Client
}

// newCluster picks free ports for size nodes. Arguments are added to those of every node.
func newCluster(program, dir string, size int, args ...string) (*cluster, error) {
	addresses, err := freeAddresses(2 * size)
	if err != nil {
		return nil, err
	}
	c := &cluster{program: program, dir: dir, args: args, running: make([]*exec.Cmd, size)}
	c.http = http.Client{
		Timeout:   2 * requestTimeout,
		Transport: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	for i := range size {
		c.members = append(c.members, member{fmt.Sprintf("n%d", i+1), addresses[2*i], addresses[2*i+1]})
	}
	return c, nil
}

// freeAddresses finds ports below those that the system gives to outgoing connections, so that nobody takes one while
// its node is down.
func freeAddresses(n int) ([]string, error) {
	const from, span, tries = 20000, 10000, 100
	var addresses []string
	for range tries {
		address := fmt.Sprintf("127.0.0.1:%d", from+rand.IntN(span))
		if slices.Contains(addresses, address) {
			continue
		}
		l, err := net.Listen("tcp", address) //nolint:noctx // ends at once
		if err != nil {
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

func (c *cluster) membersFlag() string {
	items := make([]string, len(c.members))
	for i, m := range c.members {
		items[i] = fmt.Sprintf("%s=%s,%s", m.name, m.raft, m.http)
	}
	return strings.Join(items, ";")
}

// start runs node i; its log goes to a file beside its data.
func (c *cluster) start(i int) error {
	m := c.members[i]
	dir := filepath.Join(c.dir, m.name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, m.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	args := append([]string{"node", "-attached", "-name", m.name, "-dir", dir, "-members", c.membersFlag()}, c.args...)
	cmd := exec.Command(c.program, args...) //nolint:noctx // it is ended by kill or stop
	cmd.Stderr = log
	_, err = cmd.StdinPipe() // Wait closes it, and so does the end of this process
	if err = errors.Join(err, cmd.Start(), log.Close()); err == nil {
		c.running[i] = cmd
	}
	return err
}

// kill ends node i as kill -9 does, and returns when the process is gone.
func (c *cluster) kill(i int) error { return c.end(i, os.Kill) }

func (c *cluster) end(i int, s os.Signal) error {
	cmd := c.running[i]
	if cmd == nil {
		return nil
	}
	c.running[i] = nil
	if err := cmd.Process.Signal(s); err != nil {
		return err
	}
	if err := cmd.Wait(); s != os.Kill && err != nil {
		return fmt.Errorf("node %s: %w (see %s)", c.members[i].name, err, filepath.Join(c.dir, c.members[i].name+".log"))
	}
	return nil
}

// stop ends all nodes politely.
func (c *cluster) stop() error {
	var errs []error
	for i := range c.running {
		errs = append(errs, c.end(i, os.Interrupt))
	}
	return errors.Join(errs...)
}

// call asks node i. An answer with an error is returned with an error of the same text.
func (c *cluster) call(ctx context.Context, i int, method, path string) (answer, error) {
	var a answer
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.members[i].http+path, nil)
	if err != nil {
		return a, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	err = json.NewDecoder(resp.Body).Decode(&a)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, err
}

// leader waits until the nodes that run agree on a leader, and returns its number and term.
func (c *cluster) leader(ctx context.Context) (int, answer, error) {
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for {
		for i, cmd := range c.running {
			if cmd == nil {
				continue
			}
			if a, err := c.call(ctx, i, http.MethodGet, "/status"); err == nil && a.Role == "leader" {
				return i, a, nil
			}
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return 0, answer{}, fmt.Errorf("no leader: %w", ctx.Err())
		}
	}
}

// settled waits until all nodes have applied the same log, and returns what they say.
func (c *cluster) settled(ctx context.Context) ([]answer, error) {
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		answers, same := make([]answer, len(c.members)), true
		for i := range c.members {
			a, err := c.call(ctx, i, http.MethodGet, "/status")
			answers[i] = a
			same = same && err == nil && a.Applied == a.Commit && a.Applied == answers[0].Applied
		}
		if same {
			return answers, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return answers, fmt.Errorf("the nodes do not come to the same log: %w", ctx.Err())
		}
	}
}
