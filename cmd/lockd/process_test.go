//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// patience is how long a test waits for what is to happen.
const patience = 30 * time.Second

// server runs one node, at the address it returns.
func server(t *testing.T, with ...func(i int, c *lockd.Config)) string {
	t.Helper()
	return testcluster.Start(t, 1, append(with, func(_ int, c *lockd.Config) {
		c.DataDir, c.Memory = "", true
	})...).Addresses(0).Client
}

// process is the program, run by a test.
type process struct {
	*exec.Cmd
	t        *testing.T
	out, err said
	ended    chan struct{}
}

// said is what a process has said so far.
type said struct {
	mu   sync.Mutex // guards text
	text bytes.Buffer
}

// Write implements io.Writer.
func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// String returns it.
func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// command prepares the program with arguments; its nodes are at the endpoint.
func command(t *testing.T, endpoint string, args ...string) *process {
	t.Helper()
	p := &process{t: t, ended: make(chan struct{})}
	p.Cmd = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], args...)
	p.Env = append(os.Environ(), asProgram+"=1", "LOCKD_ENDPOINTS="+endpoint)
	p.Stdout, p.Stderr = &p.out, &p.err
	return p
}

// start starts it; it ends with the test.
func (p *process) start() *process {
	p.t.Helper()
	if err := p.Start(); err != nil {
		p.t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState tells
	}()
	p.t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
	})
	return p
}

// code waits for the end and returns the exit code, as a shell would tell it.
func (p *process) code() int {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%v does not end; it says %s", p.Args[1:], p.err.String())
	}
	if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return exitSignal + int(status.Signal())
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.Process.Signal(s); err != nil {
		p.t.Error(err)
	}
}

// runProcess runs the program to its end.
func runProcess(t *testing.T, endpoint string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	p := command(t, endpoint, args...).start()
	code = p.code()
	return p.out.String(), p.err.String(), code
}

// withPipe gives the commands of a process a pipe to tell the test what they do: $PIPE, opened by their first line.
func (p *process) withPipe() <-chan string {
	name, lines := pipe(p.t)
	p.Env = append(p.Env, "PIPE="+name)
	return lines
}

const opened = `exec 3>"$PIPE"; `

// until waits for a condition that the cluster will meet.
func until(t *testing.T, what string, met func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !met() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s: not so after %v", what, patience)
		}
	}
}

// holder is a client in the test that others contend with.
func holder(t *testing.T, endpoint string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Endpoints: []string{endpoint}, Identity: "the-test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			t.Log(err) // a test may have taken the server away
		}
	})
	return c
}

func mustLock(t *testing.T, c *client.Client, name string, options ...client.Option) *client.Lock {
	t.Helper()
	l, err := c.TryLock(t.Context(), name, options...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// waiting returns how many wait for a lock, and how many hold it.
func waiting(t *testing.T, c *client.Client, name string) (waiting, held int) {
	t.Helper()
	info, err := c.Get(t.Context(), name)
	if errors.Is(err, client.ErrNotFound) {
		return 0, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Waiting, info.Held
}

// cable is what a test can pull out: it stands between a client and a node, and carries bytes until it is cut. After that it takes
// whatever comes and answers nothing, as a network that drops everything does.
type cable struct {
	net.Listener
	to  string
	cut atomic.Bool
}

// newCable returns a cable to a node that is not there yet.
func newCable(t *testing.T) *cable {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return &cable{Listener: l}
}

// plug connects it until the test ends.
func (c *cable) plug(t *testing.T, to string) {
	c.to = to
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := c.Accept()
			if err != nil {
				return
			}
			all.Go(func() { c.carry(t, conn) })
		}
	})
	t.Cleanup(func() {
		_ = c.Close()
		all.Wait()
	})
}

// pull makes it carry nothing, in either direction, until it is mended; what was sent meanwhile is lost.
func (c *cable) pull() { c.cut.Store(true) }
func (c *cable) mend() { c.cut.Store(false) }

func (c *cable) carry(t *testing.T, near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := new(net.Dialer).DialContext(t.Context(), "tcp", c.to)
	if err != nil {
		return
	}
	defer func() { _ = far.Close() }()
	var both sync.WaitGroup
	defer both.Wait()
	broken := make(chan struct{}, 2)
	pass := func(to io.Writer, from io.Reader) {
		b := make([]byte, 4096)
		for {
			n, err := from.Read(b)
			if err != nil {
				break
			}
			if c.cut.Load() {
				continue // taken, and lost
			}
			if _, err := to.Write(b[:n]); err != nil {
				break
			}
		}
		broken <- struct{}{}
	}
	both.Go(func() { pass(far, near) })
	both.Go(func() { pass(near, far) })
	select {
	case <-broken:
	case <-t.Context().Done():
	}
	_ = near.Close()
	_ = far.Close()
}

// shape fails unless a text is a JSON object, or a list of them, with exactly these keys.
func shape(t *testing.T, text string, keys ...string) {
	t.Helper()
	var objects []map[string]any
	if strings.HasPrefix(text, "[") {
		if err := json.Unmarshal([]byte(text), &objects); err != nil {
			t.Errorf("%v in %s", err, text)
		}
	} else {
		var object map[string]any
		if err := json.Unmarshal([]byte(text), &object); err != nil {
			t.Errorf("%v in %s", err, text)
		}
		objects = append(objects, object)
	}
	if len(objects) == 0 {
		t.Errorf("an empty list, want objects with %v", keys)
	}
	for _, o := range objects {
		if got := slices.Sorted(maps.Keys(o)); !slices.Equal(got, slices.Sorted(slices.Values(keys))) {
			t.Errorf("keys %v, want %v, in %s", got, keys, text)
		}
	}
}
