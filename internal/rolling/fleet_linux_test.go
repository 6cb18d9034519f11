package rolling

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"testing"
	"time"

	"github.com/lockd/lockd/lockd"
)

// patience is how long one step of an operator may take: what takes longer is stuck.
const patience = time.Minute

// program is the lockd of this source, built once.
var program string

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "lockd-rolling-")
	if err == nil {
		defer func() { _ = os.RemoveAll(dir) }()
		program = filepath.Join(dir, "lockd")
		err = build(context.Background(), ".", program)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build builds the program of the module that a directory is in.
func build(ctx context.Context, dir, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/lockd/lockd/cmd/lockd")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build lockd in %s: %w\n%s", dir, err, out)
	}
	return nil
}

// fleet is the machines of one cluster, those that were taken away too. Its methods are for the test's goroutine.
type fleet struct {
	t        testing.TB
	dir      string
	key      string // file with the gossip key; empty: nobody gossips
	machines []*machine
}

// machine is one node: its address, its directory, and the process while it runs.
type machine struct {
	name, host, dir, log string
	program              string
	flags                []string

	cmd   *exec.Cmd // nil while it is down
	ended chan struct{}
	end   error // set before ended is closed
}

func (m *machine) address(port string) string { return net.JoinHostPort(m.host, port) }
func (m *machine) client() string             { return m.address("7400") }
func (m *machine) http() string               { return m.address("7403") }

// newFleet prepares n machines that found a cluster by finding each other, or by a list if there is no gossip.
func newFleet(t testing.TB, n int, gossip bool) *fleet {
	t.Helper()
	runtime.LockOSThread() // the processes die with the thread that started them
	f := &fleet{t: t, dir: t.TempDir()}
	t.Cleanup(func() {
		for _, m := range f.machines {
			if m.cmd != nil {
				f.kill(m)
			}
			if t.Failed() {
				t.Logf("%s at %s wrote last:\n%s", m.name, m.host, tail(m.log))
			}
		}
		runtime.UnlockOSThread()
	})
	if gossip {
		f.key = filepath.Join(f.dir, "gossip.key")
		key := f.must(f.run("keyring", "generate"))
		if err := os.WriteFile(f.key, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var list, seeds []string
	for i := range n {
		m := f.add(fmt.Sprintf("n%d", i+1))
		list = append(list, m.name+"="+m.address("7401"))
		seeds = append(seeds, m.address("7402"))
	}
	flags := []string{"--initial-cluster", strings.Join(list, ",")}
	if gossip {
		flags = []string{"--join", strings.Join(seeds, ","), "--bootstrap-expect", fmt.Sprint(n), "--leave-on-terminate=false"}
	}
	for _, m := range f.machines {
		m.flags = append(m.flags, flags...)
	}
	return f
}

// found starts all machines and returns when all serve.
func (f *fleet) found() {
	f.t.Helper()
	for _, m := range f.machines {
		f.start(m)
	}
	for _, m := range f.machines {
		f.awaitWell(m)
	}
}

// add makes a machine, which is down.
func (f *fleet) add(name string, flags ...string) *machine {
	f.t.Helper()
	m := &machine{
		name: name, host: f.loopback(), dir: filepath.Join(f.dir, name), log: filepath.Join(f.dir, name+".log"), program: program,
	}
	m.flags = []string{
		"--name", m.name, "--data-dir", m.dir, "--min-free", "32MiB", "--listen-client", m.client(), "--listen-raft", m.address("7401"),
		"--listen-http", m.http(),
	}
	if f.key != "" {
		m.flags = append(m.flags, "--listen-gossip", m.address("7402"), "--gossip-key-file", f.key)
	}
	m.flags = append(m.flags, flags...)
	f.machines = append(f.machines, m)
	return m
}

// loopback returns an address that is this test's own, as long as all tests draw theirs this way: it holds a port there.
func (f *fleet) loopback() string {
	f.t.Helper()
	const draws = 100
	var err error
	for range draws {
		host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(f.t.Context(), "tcp", net.JoinHostPort(host, "7399")); err == nil {
			f.t.Cleanup(func() { _ = l.Close() })
			return host
		}
	}
	f.t.Fatal(err)
	return ""
}

// start starts the node of a machine.
func (f *fleet) start(m *machine) {
	f.t.Helper()
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		f.t.Fatal(err)
	}
	m.cmd = exec.CommandContext(context.WithoutCancel(f.t.Context()), m.program, append([]string{"serve"}, m.flags...)...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := errors.Join(m.cmd.Start(), log.Close()); err != nil {
		f.t.Fatal(err)
	}
	ended := make(chan struct{})
	m.ended = ended
	go func(cmd *exec.Cmd) {
		m.end = cmd.Wait()
		close(ended)
	}(m.cmd)
}

// terminate stops a node gracefully, and requires that it ends well.
func (f *fleet) terminate(m *machine) {
	f.t.Helper()
	f.signal(m, syscall.SIGTERM)
	if err := f.awaitEnd(m); err != nil {
		f.t.Errorf("%s ends with %v after SIGTERM", m.name, err)
	}
}

func (f *fleet) kill(m *machine) {
	f.t.Helper()
	f.signal(m, syscall.SIGKILL)
	_ = f.awaitEnd(m)
}

func (f *fleet) signal(m *machine, s syscall.Signal) {
	f.t.Helper()
	if err := m.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		f.t.Fatal(err)
	}
}

func (f *fleet) awaitEnd(m *machine) error {
	f.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case <-m.ended:
		m.cmd = nil
		return m.end
	case <-limit.C:
		f.t.Fatalf("%s does not end", m.name)
		return nil
	}
}

// run runs lockd as an operator does, and returns what it says.
func (f *fleet) run(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var out, bad bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &bad
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("lockd %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(bad.String()))
	}
	return out.String(), nil
}

func (f *fleet) must(out string, err error) string {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	return out
}

// await repeats a question until it finds nothing amiss.
func (f *fleet) await(what string, ask func() error) {
	f.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-limit.C:
			f.t.Fatalf("%s: not after %v: %v", what, patience, err)
		}
	}
}

// awaitWell waits as docs/OPERATIONS.md says: until the node says that it is ready, and the cluster that all its nodes are well.
func (f *fleet) awaitWell(m *machine) {
	f.t.Helper()
	f.awaitReady(m)
	f.await("lockd cluster health by "+m.name, func() error {
		_, err := f.run("cluster", "health", "--http", m.http())
		return err
	})
}

func (f *fleet) awaitReady(m *machine) {
	f.t.Helper()
	f.await(m.name+" is ready", func() error {
		select {
		case <-m.ended:
			f.t.Fatalf("%s has ended: %v\n%s", m.name, m.end, tail(m.log))
		default:
		}
		return f.get(m, "/ready", nil)
	})
}

// get asks a node's HTTP port.
func (f *fleet) get(m *machine, path string, into any) error {
	ctx, cancel := context.WithTimeout(f.t.Context(), 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.http()+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	b, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", response.Status, bytes.TrimSpace(b))
	}
	if err != nil || into == nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// awaitVoters waits until exactly these machines vote, as each of them knows.
func (f *fleet) awaitVoters(voters ...*machine) {
	f.t.Helper()
	var want []string
	for _, m := range voters {
		want = append(want, m.name)
	}
	slices.Sort(want)
	for _, m := range voters {
		f.await(fmt.Sprintf("%s knows that %v vote", m.name, want), func() error {
			var s lockd.NodeStatus
			if err := f.get(m, "/status", &s); err != nil {
				return err
			}
			var got []string
			for _, n := range s.Nodes {
				if n.Voter {
					got = append(got, n.Name)
				} else {
					got = append(got, n.Name+" (learner)")
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				return fmt.Errorf("it knows %v", got)
			}
			return nil
		})
	}
}

// leader returns who leads.
func (f *fleet) leader(of []*machine) *machine {
	f.t.Helper()
	var found *machine
	f.await("a leader", func() error {
		var s lockd.NodeStatus
		if err := f.get(of[0], "/status", &s); err != nil {
			return err
		}
		i := slices.IndexFunc(of, func(m *machine) bool { return m.name == s.Leader })
		if i < 0 {
			return fmt.Errorf("%q leads", s.Leader)
		}
		found = of[i]
		return nil
	})
	return found
}

func clientsOf(machines []*machine) (list []string) {
	for _, m := range machines {
		list = append(list, m.client())
	}
	return list
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 4000
	return string(b[max(0, len(b)-most):])
}
