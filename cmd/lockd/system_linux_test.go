package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLockParentKilledKillsTheCommand: a command does not outlive the lockd that kept its lock, however that died.
func TestLockParentKilledKillsTheCommand(t *testing.T) {
	p := command(t, server(t), "lock", "a", "--", "sh", "-c", opened+`trap '' TERM HUP INT; `+forever)
	lines := p.withPipe()
	p.start()
	next(t, lines)
	p.signal(syscall.SIGKILL)
	allGone(t, lines)
}

// terminal is a pseudo terminal: what a user types goes to the master, and the shell's jobs run on the slave.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile("/dev/pts/"+strconv.Itoa(number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = slave.Close() })
	return master, slave
}

// onTerminal runs a script of a shell with job control on a terminal, and returns what appears there, line by line.
func onTerminal(t *testing.T, endpoint, script string) (p *process, master *os.File, said <-chan string) {
	t.Helper()
	master, slave := terminal(t)
	p = &process{t: t, ended: make(chan struct{})}
	p.Cmd = exec.CommandContext(t.Context(), "/bin/sh", "-c", script, os.Args[0])
	p.Env = append(os.Environ(), asProgram+"=1", "LOCKD_ENDPOINTS="+endpoint, "TERM=dumb")
	p.Stdin, p.Stdout, p.Stderr = slave, slave, slave
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	p.start()
	if err := slave.Close(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(master); s.Scan(); {
			lines <- strings.TrimRight(s.Text(), "\r")
		}
	}()
	return p, master, lines
}

// expect reads what appears on a terminal up to a line that holds a text, and returns that line.
func expect(t *testing.T, said <-chan string, text string) string {
	t.Helper()
	var all []string
	limit := time.After(patience)
	for {
		select {
		case line, ok := <-said:
			if !ok {
				t.Fatalf("%q does not appear on the terminal, but %q", text, all)
			}
			if strings.Contains(line, text) {
				return line
			}
			all = append(all, line)
		case <-limit:
			t.Fatalf("%q does not appear on the terminal, only %q", text, all)
		}
	}
}

// TestLockCommandHasTheTerminal: it is in the foreground and can read what the user types, Ctrl-C goes to it, and afterwards the shell
// that ran lockd can read again.
func TestLockCommandHasTheTerminal(t *testing.T) {
	p, master, said := onTerminal(t, server(t), `"$0" lock a -- sh -c '
		echo asking; read line; echo "read <$line>"
		trap "echo interrupted; exit 3" INT; echo waiting; while :; do sleep 0.05; done'
		echo "code $?"; read line; echo "shell read <$line>"`)
	expect(t, said, "asking")
	fmt.Fprintln(master, "typed")
	expect(t, said, "read <typed>")
	expect(t, said, "waiting")
	fmt.Fprint(master, "\x03")
	expect(t, said, "interrupted")
	expect(t, said, "code 3")
	fmt.Fprintln(master, "more")
	expect(t, said, "shell read <more>")
	if code := p.code(); code != 0 {
		t.Errorf("code %d", code)
	}
}

// TestLockCommandIsSuspendedWithLockd: Ctrl-Z stops both, so that the shell goes on, and fg continues both.
func TestLockCommandIsSuspendedWithLockd(t *testing.T) {
	_, master, said := onTerminal(t, server(t), `set -m
		"$0" lock a --ttl 5m -- sh -c 'echo running; read line; echo "read <$line>"; exit 4'
		echo "suspended $?"; fg >/dev/null; echo "code $?"`)
	expect(t, said, "running")
	fmt.Fprint(master, "\x1a")
	if line := expect(t, said, "suspended "); !strings.HasSuffix(line, "suspended 147") { // 128 + SIGSTOP
		t.Errorf("the shell says %q", line)
	}
	fmt.Fprintln(master, "typed")
	expect(t, said, "read <typed>")
	expect(t, said, "code 4")
}

// TestLockLostWhileSuspended: the lock was not renewed; the command is killed before it runs another instruction.
func TestLockLostWhileSuspended(t *testing.T) {
	t.Parallel()
	endpoint := server(t)
	_, master, said := onTerminal(t, endpoint, `set -m
		"$0" lock a --ttl 1s -- sh -c 'echo running; read line; echo "code of a command that must not run"; exit 4'
		echo "suspended $?"; "$0" lock a -- echo next holder; fg >/dev/null; echo "code $?"`)
	expect(t, said, "running")
	fmt.Fprint(master, "\x1a")
	expect(t, said, "suspended 147")
	expect(t, said, "next holder")
	fmt.Fprintln(master, "typed")
	if line := expect(t, said, "code"); line != "code 76" { // and not what the command would have said
		t.Errorf("the shell says %q", line)
	}
}
