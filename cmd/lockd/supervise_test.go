//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeHold is a lock that a test loses when it likes.
type fakeHold struct {
	ctx  context.Context
	lose context.CancelCauseFunc

	mu    sync.Mutex // guards the fields below
	until time.Time
}

func newHold(t *testing.T, valid time.Duration) *fakeHold {
	ctx, lose := context.WithCancelCause(t.Context())
	return &fakeHold{ctx: ctx, lose: lose, until: time.Now().Add(valid)}
}

func (h *fakeHold) Context() context.Context { return h.ctx }
func (h *fakeHold) Err() error               { return context.Cause(h.ctx) }

func (h *fakeHold) ValidUntil() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.until
}

func (h *fakeHold) confirm(valid time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = time.Now().Add(valid)
}

// fifo is a named pipe that nobody has open.
func fifo(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// pipe is a named pipe that a command writes to as $PIPE. Reading it ends when the last process that has it open is gone.
func pipe(t *testing.T) (name string, lines <-chan string) {
	t.Helper()
	name = fifo(t)
	c := make(chan string, 100)
	go func() {
		defer close(c)
		f, err := os.Open(name) // waits for a writer
		if err != nil {
			return
		}
		defer func() { _ = f.Close() }()
		for s := bufio.NewScanner(f); s.Scan(); {
			c <- s.Text()
		}
	}()
	t.Cleanup(func() { // if nobody ever wrote
		if f, err := os.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_ = f.Close()
		}
	})
	return name, c
}

// next waits for a line.
func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line := <-lines:
		return line
	case <-time.After(30 * time.Second):
		t.Fatal("the command says nothing")
		return ""
	}
}

// allGone waits until no process has the pipe open.
func allGone(t *testing.T, lines <-chan string) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case _, ok := <-lines:
			if !ok {
				return
			}
		case <-limit:
			t.Fatal("a process of the command still lives")
		}
	}
}

// supervised is a shell script under a lock.
type supervised struct {
	*supervisor
	lines <-chan string
	end   chan ended
}

// supervise starts a script, which says "ready" on file descriptor 3, and waits for that.
func supervise(t *testing.T, h hold, stopTime time.Duration, script string) *supervised {
	t.Helper()
	name, lines := pipe(t)
	s := &supervised{lines: lines, end: make(chan ended, 1)}
	s.supervisor = &supervisor{hold: h, signals: &signals{make(chan os.Signal, manySignals)}, stopTime: stopTime, say: func(string, ...any) {}}
	env := append(os.Environ(), "PIPE="+name)
	go func() {
		e, err := s.run("/bin/sh", []string{"sh", "-c", `exec 3>"$PIPE"; ` + script}, env)
		if err != nil {
			t.Error(err)
		}
		s.end <- e
	}()
	if line := next(t, lines); line != "ready" {
		t.Fatalf("the script says %q", line)
	}
	return s
}

func (s *supervised) wait(t *testing.T) ended {
	t.Helper()
	select {
	case e := <-s.end:
		return e
	case <-time.After(30 * time.Second):
		t.Fatal("the command does not end")
		return ended{}
	}
}

var errTest = errors.New("lost for a test")

// forever makes a script wait without ending by itself; the shell takes signals between the short sleeps.
const forever = `echo ready >&3; while :; do sleep 0.05; done`

// TestCommandKeepsItsExitCode when the lock is held for all its life.
func TestCommandKeepsItsExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -KILL $$": 128 + 9, "kill -TERM $$": 128 + 15} {
		s := supervise(t, newHold(t, time.Hour), time.Second, "echo ready >&3; "+script)
		if e := s.wait(t); e.code != want || e.lost != nil {
			t.Errorf("%s: %+v", script, e)
		}
	}
}

// TestLostLockSendsTermAtOnce: a command that obeys has all the time until the validity ends to tidy up.
func TestLostLockSendsTermAtOnce(t *testing.T) {
	h := newHold(t, time.Hour)
	s := supervise(t, h, 10*time.Minute, `trap 'echo tidying >&3; exit 3' TERM; `+forever)
	h.lose(errTest)
	if line := next(t, s.lines); line != "tidying" {
		t.Errorf("the script says %q", line)
	}
	if e := s.wait(t); e.code != 3 || !errors.Is(e.lost, errTest) {
		t.Errorf("%+v", e)
	}
}

// TestLostLockKillsBeforeTheValidityEnds, in spite of a command that heeds no TERM.
func TestLostLockKillsBeforeTheValidityEnds(t *testing.T) {
	h := newHold(t, 1500*time.Millisecond)
	s := supervise(t, h, time.Second, `trap '' TERM; `+forever)
	h.lose(errTest)
	e := s.wait(t)
	if e.code != exitSignal+int(syscall.SIGKILL) || !errors.Is(e.lost, errTest) {
		t.Errorf("%+v", e)
	}
	if lead := h.ValidUntil().Sub(s.killAt) + time.Second; lead <= 0 { // killAt has moved on by a second
		t.Errorf("killed %v before the validity ended", lead)
	}
	allGone(t, s.lines)
}

// TestLockLostLateKillsAtOnce: the validity is over already, as after a suspend of the machine.
func TestLockLostLateKillsAtOnce(t *testing.T) {
	h := newHold(t, time.Hour)
	s := supervise(t, h, 10*time.Minute, `trap '' TERM; `+forever)
	h.confirm(-time.Second)
	h.lose(errTest)
	if e := s.wait(t); e.code != exitSignal+int(syscall.SIGKILL) || !errors.Is(e.lost, errTest) {
		t.Errorf("%+v", e)
	}
}

// TestUnconfirmedLockStopsTheCommand while the lock is still valid, so that it has its stop time.
func TestUnconfirmedLockStopsTheCommand(t *testing.T) {
	h := newHold(t, time.Hour)
	h.confirm(10*time.Minute + 500*time.Millisecond)
	s := supervise(t, h, 10*time.Minute, `trap 'exit 0' TERM; `+forever)
	if e := s.wait(t); e.code != 0 || !errors.Is(e.lost, errUnconfirmed) || h.Err() != nil {
		t.Errorf("%+v; the lock: %v", e, h.Err())
	}
}

// TestConfirmedLockStopsNobody: the end of the validity moves on, and the alarm with it.
func TestConfirmedLockStopsNobody(t *testing.T) {
	h := newHold(t, time.Second+200*time.Millisecond)
	s := supervise(t, h, time.Second, `echo ready >&3; sleep 0.5`)
	h.confirm(time.Hour)
	if e := s.wait(t); e.code != 0 || e.lost != nil {
		t.Errorf("%+v", e)
	}
}

// TestLostLockLeavesNobodyBehind: also what the command started in the background, and what heeds no TERM.
func TestLostLockLeavesNobodyBehind(t *testing.T) {
	h := newHold(t, time.Hour)
	s := supervise(t, h, 10*time.Minute, `(trap '' TERM; while :; do sleep 0.05; done) & trap 'exit 0' TERM; `+forever)
	h.lose(errTest)
	if e := s.wait(t); e.code != 0 || e.lost == nil {
		t.Errorf("%+v", e)
	}
	allGone(t, s.lines)
}

// TestStoppedCommandIsStoppedForGood: a command that was stopped gets to handle its TERM.
func TestStoppedCommandIsStoppedForGood(t *testing.T) {
	h := newHold(t, time.Hour)
	s := supervise(t, h, 10*time.Minute, `trap 'exit 4' TERM; echo ready >&3; kill -STOP $$; `+forever)
	h.lose(errTest)
	if e := s.wait(t); e.code != 4 {
		t.Errorf("%+v", e)
	}
}

// TestSignalsReachTheWholeGroup: the command and what it runs.
func TestSignalsReachTheWholeGroup(t *testing.T) {
	for _, sig := range []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	} {
		const both = `trap 'echo parent >&3; exit 0' %[1]d; sh -c 'trap "echo child >&3; exit 0" %[1]d; echo ready >&3; while :; do sleep 0.05; done'; :`
		s := supervise(t, newHold(t, time.Hour), time.Second, fmt.Sprintf(both, int(sig)))
		s.signals.c <- sig
		got := map[string]bool{next(t, s.lines): true, next(t, s.lines): true}
		if !got["parent"] || !got["child"] {
			t.Errorf("%v: %v", sig, got)
		}
		if e := s.wait(t); e.code != 0 || e.lost != nil {
			t.Errorf("%v: %+v", sig, e)
		}
	}
}

// TestSecondInterruptKills a command that does not heed the first.
func TestSecondInterruptKills(t *testing.T) {
	s := supervise(t, newHold(t, time.Hour), time.Second, `trap 'echo first >&3' INT; `+forever)
	s.signals.c <- os.Interrupt
	if line := next(t, s.lines); line != "first" {
		t.Errorf("the script says %q", line)
	}
	s.signals.c <- os.Interrupt
	if e := s.wait(t); e.code != exitSignal+int(syscall.SIGKILL) || e.lost != nil {
		t.Errorf("%+v", e)
	}
}

// TestIgnoredSignalsStayIgnored, in the program and in the command: as under nohup.
func TestIgnoredSignalsStayIgnored(t *testing.T) {
	if os.Getenv("TEST_IGNORES_HANGUP") == "" {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", `trap '' HUP; exec "$0" -test.run=^TestIgnoredSignalsStayIgnored$`, os.Args[0]},
			&os.ProcAttr{Env: append(os.Environ(), "TEST_IGNORES_HANGUP=1"), Files: []*os.File{nil, w, w}})
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Close()
		said, _ := io.ReadAll(r)
		if state, err := p.Wait(); err != nil || !state.Success() {
			t.Errorf("%v: %s", err, said)
		}
		return
	}
	s := catchSignals(catchable()...)
	defer s.stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if sig := <-s.c; sig != syscall.SIGUSR1 {
		t.Errorf("caught %v", sig)
	}
	c := supervise(t, newHold(t, time.Hour), time.Second, `echo ready >&3; kill -HUP $$; exit 5`)
	if e := c.wait(t); e.code != 5 {
		t.Errorf("%+v", e)
	}
}

func TestEnvironmentIsReplaced(t *testing.T) {
	got := replaceEnvironment(
		[]string{"PATH=/bin", "LOCKD_TOKEN=1", "LOCKD_TOKEN_FILE=x", "TRACEPARENT=old", "LOCKD_LOCK=outer", "EMPTY="},
		[]string{"LOCKD_LOCK=inner", "LOCKD_TOKEN=2"})
	want := []string{"PATH=/bin", "LOCKD_TOKEN_FILE=x", "EMPTY=", "LOCKD_LOCK=inner", "LOCKD_TOKEN=2"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, want %q", got, want)
	}
}
