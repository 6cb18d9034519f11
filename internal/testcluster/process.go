//go:build unix

package testcluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd"
)

// nodeEnv holds the configuration of a node, for a test binary that is to be one.
const nodeEnv = "LOCKD_TEST_NODE"

// minFree lets nodes live on the small disks of tests.
const minFree = 32 << 20

// processConfig is what a node's process is told.
type processConfig struct {
	Name, Dir, Client, Raft, HTTP string
	Members                       []lockd.Member
}

// Main runs the tests, or the node that this process was started as. A package that starts processes calls it from TestMain. The
// functions change the configuration of a node, in its process.
func Main(m *testing.M, with ...func(*lockd.Config) error) {
	text, ok := os.LookupEnv(nodeEnv)
	if !ok {
		os.Exit(m.Run())
	}
	if err := runNode(text, with); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runNode says "ready" on stdout when the node serves, and ends with SIGTERM or when stdin is closed: a test that dies takes its nodes along.
func runNode(text string, with []func(*lockd.Config) error) error {
	var p processConfig
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	runtime.GOMAXPROCS(runtime.NumCPU() + 2) // a flush to the disk holds a processor
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	config := lockd.Config{
		Name: p.Name, DataDir: p.Dir, MinFree: minFree, InitialCluster: p.Members, ListenClient: p.Client, ListenRaft: p.Raft, ListenHTTP: p.HTTP,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		Ready:  func(lockd.Addresses) { fmt.Println("ready") },
	}
	for _, f := range with {
		if err := f(&config); err != nil {
			return err
		}
	}
	server, err := lockd.New(config)
	if err != nil {
		return err
	}
	return server.Run(ctx)
}

// Processes is a cluster of processes, each of them this test binary. Its methods are for one goroutine.
type Processes struct {
	t     testing.TB
	nodes []*process
}

type process struct {
	config processConfig
	place  Place
	cmd    *exec.Cmd // nil while it is down
	stdin  io.Closer
	ready  chan struct{} // closed by the child's word, or by its end
	err    error         // of a child that ended before it was ready; set before ready is closed
	ended  chan struct{}
	end    error // how the child ended; set before ended is closed
	log    *os.File
}

// Place is where a node of Processes lives. The zero Place is on loopback, with the data in the test's directory.
type Place struct {
	Dir  string // the data goes into a directory of it
	Host string // address of the host, whose ports 7400, 7401 and 7403 are free; empty: one of loopback that nobody else has
	Log  string // file that the node logs to, through all its lives
	// Command prepares to run a program at the place, as exec.CommandContext does, which is the default. It may give it more environment,
	// beginning with os.Environ, and files.
	Command func(ctx context.Context, name string, args ...string) *exec.Cmd
}

func (p Place) filled(t testing.TB) Place {
	t.Helper()
	if p.Dir == "" {
		p.Dir = t.TempDir()
	}
	if p.Log == "" {
		p.Log = filepath.Join(t.TempDir(), "log")
	}
	if p.Host == "" {
		p.Host = loopback(t)
	}
	if p.Command == nil {
		p.Command = exec.CommandContext
	}
	return p
}

func (p Place) address(port string) string { return net.JoinHostPort(p.Host, port) }

// StartProcesses runs n nodes on loopback and returns when all of them serve. Node i keeps its data in dirs[i], or in the test's directory if
// there are none. The package's TestMain must call Main.
func StartProcesses(t testing.TB, n int, dirs ...string) *Processes {
	t.Helper()
	places := make([]Place, n)
	for i, dir := range dirs {
		places[i].Dir = dir
	}
	return StartAt(t, places)
}

// StartAt runs a node at each place and returns when all of them serve. The package's TestMain must call Main.
func StartAt(t testing.TB, places []Place) *Processes {
	t.Helper()
	c := &Processes{t: t}
	var members []lockd.Member
	for i, place := range places {
		place = place.filled(t)
		p := &process{place: place, config: processConfig{
			Name: fmt.Sprintf("n%d", i+1), Dir: filepath.Join(place.Dir, "data"),
			Client: place.address("7400"), Raft: place.address("7401"), HTTP: place.address("7403"),
		}}
		var err error
		if p.log, err = os.OpenFile(place.Log, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600); err != nil {
			t.Fatal(err)
		}
		members = append(members, lockd.Member{Name: p.config.Name, Raft: p.config.Raft})
		c.nodes = append(c.nodes, p)
	}
	t.Cleanup(c.close)
	for i, p := range c.nodes {
		p.config.Members = members
		c.Run(i)
	}
	c.WaitReady()
	return c
}

// loopback returns an address that is the test's own: it holds a port there that no node listens on. A port that was only free a moment ago
// may be another's when a node starts, and again when it is started anew. All of 127.0.0.0/8 is there on Linux, without setting anything up.
func loopback(t testing.TB) string {
	t.Helper()
	const tries = 100
	var err error
	for range tries {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(t.Context(), "tcp", net.JoinHostPort(host, "7399")); err == nil {
			t.Cleanup(func() { _ = l.Close() })
			return host
		}
	}
	t.Fatal(err)
	return ""
}

// Run starts node i, which is down.
func (c *Processes) Run(i int) {
	c.t.Helper()
	p := c.nodes[i]
	text, err := json.Marshal(p.config)
	if err != nil {
		c.t.Fatal(err)
	}
	p.cmd = p.place.Command(context.WithoutCancel(c.t.Context()), os.Args[0])
	p.cmd.Env = append(p.cmd.Environ(), nodeEnv+"="+string(text))
	p.cmd.Stderr = p.log
	out, err := p.cmd.StdoutPipe()
	if err == nil {
		p.stdin, err = p.cmd.StdinPipe()
	}
	if err == nil {
		err = p.cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	p.ready, p.ended, p.err = make(chan struct{}), make(chan struct{}), nil
	go p.watch(p.cmd, out, p.ready, p.ended)
}

// watch waits for the child's word and for its end.
func (p *process) watch(cmd *exec.Cmd, out io.Reader, ready, ended chan struct{}) {
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "ready" {
		p.err = errors.New("it ended before it was ready")
	}
	close(ready)
	_, _ = io.Copy(io.Discard, out)
	p.end = cmd.Wait()
	close(ended)
}

// WaitReady returns when all nodes that run serve.
func (c *Processes) WaitReady() {
	c.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for i, p := range c.nodes {
		if p.cmd == nil {
			continue
		}
		select {
		case <-p.ready:
			if p.err != nil {
				c.t.Fatalf("node %s: %v\n%s", p.config.Name, p.err, c.Log(i))
			}
		case <-limit.C:
			c.t.Fatalf("node %s does not serve after %v\n%s", p.config.Name, patience, c.Log(i))
		}
	}
}

// Kill ends nodes with SIGKILL, all at once, and returns when they are gone.
func (c *Processes) Kill(nodes ...int) {
	c.t.Helper()
	for _, i := range nodes {
		c.Signal(i, syscall.SIGKILL)
	}
	for _, i := range nodes {
		<-c.nodes[i].ended
		c.nodes[i].cmd = nil
	}
}

// Stop ends node i gracefully, and returns how its process ended. One that does not end is killed.
func (c *Processes) Stop(i int) error {
	c.t.Helper()
	p := c.nodes[i]
	c.Signal(i, syscall.SIGTERM)
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-p.ended:
		p.cmd = nil
		return p.end
	case <-limit.C:
		c.Kill(i)
		return fmt.Errorf("it did not end within %v after SIGTERM", patience)
	}
}

// Running reports whether node i runs. One that has ended by itself does not.
func (c *Processes) Running(i int) bool {
	p := c.nodes[i]
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Ready returns a channel that is closed when node i, which runs, serves or has ended.
func (c *Processes) Ready(i int) <-chan struct{} { return c.nodes[i].ready }

// Ended returns a channel that is closed when node i, which runs, has ended, by itself or not. Stop then returns how.
func (c *Processes) Ended(i int) <-chan struct{} { return c.nodes[i].ended }

// PID returns the process id of node i, which runs.
func (c *Processes) PID(i int) int { return c.nodes[i].cmd.Process.Pid }

// Signal sends a signal to node i, if it has not ended by itself: SIGSTOP and SIGCONT stop it and let it go on.
func (c *Processes) Signal(i int, s syscall.Signal) {
	c.t.Helper()
	if err := c.nodes[i].cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatal(err)
	}
}

// Addresses returns where node i listens.
func (c *Processes) Addresses(i int) lockd.Addresses {
	p := c.nodes[i].config
	return lockd.Addresses{Client: p.Client, Raft: p.Raft, HTTP: p.HTTP}
}

// Endpoints returns the client addresses of all nodes.
func (c *Processes) Endpoints() []string {
	var list []string
	for i := range c.nodes {
		list = append(list, c.Addresses(i).Client)
	}
	return list
}

// Log returns the last lines that node i wrote.
func (c *Processes) Log(i int) string {
	b, err := os.ReadFile(c.nodes[i].log.Name())
	if err != nil {
		return err.Error()
	}
	const most = 4000
	return string(b[max(0, len(b)-most):])
}

func (c *Processes) close() {
	for i, p := range c.nodes {
		if p.cmd != nil {
			c.Signal(i, syscall.SIGCONT)
			c.Kill(i)
		}
		_ = p.log.Close()
	}
}
