//go:build unix

package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/lockd"
)

// The tests TestLock… go through what flock(1), consul lock and etcdctl lock do with a command, point by point.

// TestLockTellsTheCommandItsToken, and replaces what it inherits: in a command under a command the inner one counts.
func TestLockTellsTheCommandItsToken(t *testing.T) {
	endpoint := server(t)
	p := command(t, endpoint, "lock", "jobs/a", "--ttl", "20s", "--", "sh", "-c", `echo "$LOCKD_LOCK|$LOCKD_TOKEN|$LOCKD_SESSION|$LOCKD_ENDPOINTS|$LOCKD_TTL_MS|$TRACEPARENT"`)
	p.Env = append(p.Env, "LOCKD_TOKEN=1", "LOCKD_LOCK=outer", "LOCKD_SESSION=x", "LOCKD_TTL_MS=1", "TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if code := p.start().code(); code != 0 {
		t.Fatal(code, p.err.String())
	}
	want := regexp.MustCompile(`^jobs/a\|(\d{15,16})\|[0-9a-f]{32}\|` + regexp.QuoteMeta(endpoint) + `\|20000\|00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01\n$`)
	m := want.FindStringSubmatch(p.out.String())
	if m == nil {
		t.Fatalf("the command finds %s", p.out.String())
	}
	if token, err := strconv.ParseUint(m[1], 10, 53); err != nil || token < 1<<49 {
		t.Errorf("token %d, %v", token, err)
	}
}

// TestLockUsesNoShell unless it is told to: the words reach the command as they are.
func TestLockUsesNoShell(t *testing.T) {
	endpoint := server(t)
	out, errs, code := runProcess(t, endpoint, "lock", "a", "--", "printf", "%s|", "$HOME", "a b", "*", "--ttl")
	if out != "$HOME|a b|*|--ttl|" || code != 0 {
		t.Errorf("%q, code %d, %s", out, code, errs)
	}
	out, errs, code = runProcess(t, endpoint, "lock", "a", "-c", `echo $((40 + 2)) | cat`)
	if out != "42\n" || code != 0 {
		t.Errorf("-c: %q, code %d, %s", out, code, errs)
	}
}

// TestLockInheritsStdin, as flock does and consul and etcdctl do not.
func TestLockInheritsStdin(t *testing.T) {
	p := command(t, server(t), "lock", "a", "--", "tr", "a-z", "A-Z")
	p.Stdin = strings.NewReader("through the lock\n")
	if code := p.start().code(); code != 0 || p.out.String() != "THROUGH THE LOCK\n" {
		t.Errorf("code %d, %q, %s", code, p.out.String(), p.err.String())
	}
}

// TestLockExitCodes, beside those of flock(1) where both can be asked.
func TestLockExitCodes(t *testing.T) {
	t.Parallel()
	endpoint := server(t)
	c := holder(t, endpoint)
	mustLock(t, c, "taken")
	flock, flockErr := exec.LookPath("flock")
	if flockErr != nil {
		t.Log("flock(1) is not installed: its exit codes are taken from its manual")
	}
	file := writeFile(t, "lock", "")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, test := range []struct {
		lockd, flock string // arguments; FREE and TAKEN stand for locks
		code         int
	}{
		{"FREE -- true", "FREE true", 0},
		{"FREE -- false", "FREE false", 1},
		{"FREE -c exit${IFS}7", "FREE -c exit${IFS}7", 7},
		{"FREE -c exit${IFS}255", "FREE -c exit${IFS}255", 255},
		{"FREE -c kill${IFS}-9${IFS}$$", "FREE -c kill${IFS}-9${IFS}$$", 128 + 9},
		{"FREE -c kill${IFS}$$", "FREE -c kill${IFS}$$", 128 + 15},
		{"TAKEN --try -E 33 -- true", "-n -E 33 TAKEN true", 33},
		{"TAKEN -n -E 0 -- true", "-n -E 0 TAKEN true", 0},
		{"TAKEN -w 0.2s -E 44 -- true", "-w 0.2 -E 44 TAKEN true", 44},
		{"TAKEN --try --shared -E 5 -- true", "-n -s -E 5 TAKEN true", 5},
		{"TAKEN --try -- true", "", exitNotAcquired},
		{"FREE -- /etc", "", exitNotExecutable},
		{"FREE -- no-such-command-here", "", exitNotFound},
		{"FREE extra -- true", "", exitUsage},
	} {
		args := strings.Fields(strings.NewReplacer("FREE", "free", "TAKEN", "taken").Replace(test.lockd))
		if _, errs, code := runProcess(t, endpoint, append([]string{"lock"}, args...)...); code != test.code {
			t.Errorf("lockd lock %s: code %d, want %d; %s", test.lockd, code, test.code, errs)
		}
		if flockErr != nil || test.flock == "" {
			continue
		}
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
			t.Fatal(err)
		}
		args = strings.Fields(strings.NewReplacer("FREE", writeFile(t, "free", ""), "TAKEN", file).Replace(test.flock))
		other := exec.CommandContext(t.Context(), flock, args...)
		_ = other.Run() // ProcessState tells
		if code := other.ProcessState.ExitCode(); code != test.code {
			t.Errorf("flock %s: code %d, and here %d", test.flock, code, test.code)
		}
	}
}

// TestLockTellsWhatIsWrong: what happened, who is in the way, and what to do next.
func TestLockTellsWhatIsWrong(t *testing.T) {
	endpoint := server(t)
	mustLock(t, holder(t, endpoint), "taken")
	_, errs, _ := runProcess(t, endpoint, "lock", "taken", "--try", "--", "true")
	if want := "lockd: \"taken\" not acquired: others hold it\n       see who holds it: lockd show taken\n"; errs != want {
		t.Errorf("%s, want %s", errs, want)
	}
	_, errs, code := runProcess(t, "127.0.0.1:1", "lock", "a", "--timeout", "100ms", "--", "true")
	if code != exitUnavailable || !strings.Contains(errs, "connection refused") || !strings.Contains(errs, "lockd serve --dev") {
		t.Errorf("no node: code %d, %s", code, errs)
	}
	_, errs, code = runProcess(t, endpoint, "lock", "taken", "--slots", "3", "--try", "--", "true")
	if code != exitFailure || !strings.Contains(errs, "another kind") || !strings.Contains(errs, "lockd show") {
		t.Errorf("another kind: code %d, %s", code, errs)
	}
}

// TestLockForwardsSignals to the command, and ends as it does.
func TestLockForwardsSignals(t *testing.T) {
	t.Parallel()
	endpoint := server(t)
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH} {
		p := command(t, endpoint, "lock", "a", "--", "sh", "-c", fmt.Sprintf(opened+`trap 'echo got >&3; exit 42' %d; `+forever, int(sig)))
		lines := p.withPipe()
		p.start()
		next(t, lines)
		p.signal(sig)
		if line := next(t, lines); line != "got" {
			t.Errorf("%v: the command says %q", sig, line)
		}
		if code := p.code(); code != 42 {
			t.Errorf("%v: code %d, %s", sig, code, p.err.String())
		}
	}
}

// TestLockSecondInterruptKillsTheCommand that does not heed the first.
func TestLockSecondInterruptKillsTheCommand(t *testing.T) {
	p := command(t, server(t), "lock", "a", "--", "sh", "-c", opened+`trap 'echo first >&3' INT; `+forever)
	lines := p.withPipe()
	p.start()
	next(t, lines)
	p.signal(os.Interrupt)
	if line := next(t, lines); line != "first" {
		t.Errorf("the command says %q", line)
	}
	p.signal(os.Interrupt)
	if code := p.code(); code != 128+9 {
		t.Errorf("code %d", code)
	}
	allGone(t, lines)
}

// TestLockSignalWhileWaiting ends the wait at once, gives the place in the queue back and starts nothing.
func TestLockSignalWhileWaiting(t *testing.T) {
	endpoint := server(t)
	c := holder(t, endpoint)
	l := mustLock(t, c, "a")
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		p := command(t, endpoint, "lock", "a", "--", "echo", "started").start()
		until(t, "it waits", func() bool { w, _ := waiting(t, c, "a"); return w == 1 })
		p.signal(syscall.SIGUSR1) // not for a program that has no command yet
		p.signal(sig)
		if code := p.code(); code != 128+int(sig) || p.out.String() != "" {
			t.Errorf("%v: code %d, %q", sig, code, p.out.String())
		}
		if w, _ := waiting(t, c, "a"); w != 0 {
			t.Errorf("%v: %d still wait", sig, w)
		}
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLockLostKillsBeforeTheNextHolder: the network of the holder goes silent. Its command heeds no TERM, and is dead before the next one
// in the queue is granted the lock, in spite of nobody telling it anything.
func TestLockLostKillsBeforeTheNextHolder(t *testing.T) {
	t.Parallel()
	wire := newCable(t)
	endpoint := server(t, func(_ int, c *lockd.Config) { c.AdvertiseClient = wire.Addr().String() })
	wire.plug(t, endpoint)
	p := command(t, wire.Addr().String(), "lock", "a", "--ttl", "2s", "--", "sh", "-c",
		opened+`trap 'echo TERM >&3' TERM; (trap '' TERM; while :; do sleep 0.05; done) & echo $$ >&3; while :; do sleep 0.05; done`)
	lines := p.withPipe()
	p.start()
	pid := next(t, lines)
	other := command(t, endpoint, "lock", "a", "--", "sh", "-c", "kill -0 "+pid+" && echo alive || echo dead")
	other.start()
	c := holder(t, endpoint)
	until(t, "the next one waits", func() bool { w, _ := waiting(t, c, "a"); return w == 1 })
	wire.pull()
	if line := next(t, lines); line != "TERM" {
		t.Errorf("the command says %q", line)
	}
	if code := p.code(); code != exitLost || !strings.Contains(p.err.String(), "lost while sh ran") {
		t.Errorf("code %d, %s", code, p.err.String())
	}
	allGone(t, lines)
	if code := other.code(); code != 0 || other.out.String() != "dead\n" {
		t.Errorf("when the next one holds the lock, the command before is %s (code %d, %s)", other.out.String(), code, other.err.String())
	}
}

// TestField14CommandAliveAtTheEndOfTheValidityIsKilled is test 14 of the field: the whole group of the command is killed, and the exit
// code says that the lock was lost, whatever the command made of its TERM.
func TestField14CommandAliveAtTheEndOfTheValidityIsKilled(t *testing.T) {
	t.Parallel()
	wire := newCable(t)
	endpoint := server(t, func(_ int, c *lockd.Config) { c.AdvertiseClient = wire.Addr().String() })
	wire.plug(t, endpoint)
	for _, script := range []string{
		`trap '' TERM; sh -c 'while :; do sleep 0.05; done' & ` + forever, // heeds nothing
		`trap 'exit 0' TERM; ` + forever,                                  // ends, and says that all went well
	} {
		p := command(t, wire.Addr().String(), "lock", "a", "--ttl", "2s", "--", "sh", "-c", opened+script)
		lines := p.withPipe()
		p.start()
		next(t, lines)
		wire.pull()
		if code := p.code(); code != exitLost {
			t.Errorf("code %d, %s", code, p.err.String())
		}
		allGone(t, lines)
		wire.mend()
	}
}

// TestField18LockIsNotFreeBeforeTheCommandHasEnded is test 18 of the field: a command that takes its time after TERM keeps the lock for
// as long.
func TestField18LockIsNotFreeBeforeTheCommandHasEnded(t *testing.T) {
	endpoint := server(t)
	for _, args := range [][]string{{"lock", "a"}, {"elect", "a"}} {
		p := command(t, endpoint, append(args, "--", "sh", "-c", opened+`trap 'echo stopping >&3; read go <"$GO"; echo stopped >&3; exit 0' TERM; `+forever)...)
		lines := p.withPipe()
		gate := fifo(t)
		p.Env = append(p.Env, "GO="+gate)
		p.start()
		next(t, lines)
		p.signal(syscall.SIGTERM)
		next(t, lines)
		if _, _, code := runProcess(t, endpoint, "lock", "a", "--try", "--", "true"); code != exitNotAcquired {
			t.Errorf("%v: while the command stops, another one acquires the lock: code %d", args, code)
		}
		if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
			t.Fatal(err)
		}
		next(t, lines)
		if code := p.code(); code != 0 {
			t.Errorf("%v: code %d, %s", args, code, p.err.String())
		}
		if _, _, code := runProcess(t, endpoint, "lock", "a", "--try", "--", "true"); code != 0 {
			t.Errorf("%v: the command has ended, and the lock is not free: code %d", args, code)
		}
	}
}

// TestLockWaitsForItsTurn, in order, and says with -v who stands before it.
func TestLockWaitsForItsTurn(t *testing.T) {
	endpoint := server(t)
	c := holder(t, endpoint)
	l := mustLock(t, c, "a")
	var all []*process
	name, lines := pipe(t)
	for i := range 3 {
		p := command(t, endpoint, "lock", "a", "-v", "--", "sh", "-c", fmt.Sprintf(`echo %d >"$PIPE"`, i))
		p.Env = append(p.Env, "PIPE="+name)
		all = append(all, p.start())
		until(t, "it says that it waits", func() bool { return strings.Contains(p.err.String(), "ahead in the queue") })
	}
	keep, err := os.OpenFile(name, os.O_RDWR, 0) // so that the pipe does not end with the first of them
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = keep.Close() }()
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, p := range all {
		if line := next(t, lines); line != strconv.Itoa(i) {
			t.Errorf("%s comes as number %d", line, i)
		}
		if code := p.code(); code != 0 {
			t.Errorf("code %d, %s", code, p.err.String())
		}
		if want := fmt.Sprintf("waiting: held by the-test for %s, %d ahead in the queue", "[0-9.]+m?s", i); !regexp.MustCompile(want).MatchString(p.err.String()) {
			t.Errorf("it says %s, not %s", p.err.String(), want)
		}
	}
}

// TestLockModes: readers beside each other, three of three slots, all of several names.
func TestLockModes(t *testing.T) {
	endpoint := server(t)
	c := holder(t, endpoint)
	mustLock(t, c, "shared", client.Shared())
	mustLock(t, c, "slots", client.Slots(2))
	mustLock(t, c, "b")
	for _, test := range []struct {
		args string
		code int
	}{
		{"shared --shared", 0},
		{"shared", exitNotAcquired},
		{"slots --slots 2", 0},
		{"--all a c", 0},
		{"--all a b c", exitNotAcquired},
		{"b --wait 0s", exitNotAcquired},
	} {
		args := append([]string{"lock"}, strings.Fields(test.args)...)
		if !strings.Contains(test.args, "--wait") {
			args = append(args, "--try")
		}
		if _, errs, code := runProcess(t, endpoint, append(args, "--", "true")...); code != test.code {
			t.Errorf("%s: code %d, want %d; %s", test.args, code, test.code, errs)
		}
	}
	out, _, code := runProcess(t, endpoint, "lock", "--all", "x", "y", "-c", `echo "$LOCKD_LOCK"`)
	if code != 0 || out != "x\ny\n" {
		t.Errorf("code %d, %q", code, out)
	}
	mustLock(t, holder(t, endpoint), "slots", client.Slots(2))
	if _, _, code := runProcess(t, endpoint, "lock", "slots", "--slots", "2", "--try", "--", "true"); code != exitNotAcquired {
		t.Errorf("a third of two slots: code %d", code)
	}
}

// TestLockWithoutCommandHolds until a signal, and prints the grant.
func TestLockWithoutCommandHolds(t *testing.T) {
	endpoint := server(t)
	c := holder(t, endpoint)
	p := command(t, endpoint, "lock", "a", "-o", "json")
	p.start()
	until(t, "it holds", func() bool { _, held := waiting(t, c, "a"); return held == 1 })
	p.signal(syscall.SIGTERM)
	if code := p.code(); code != 0 {
		t.Errorf("code %d, %s", code, p.err.String())
	}
	if _, held := waiting(t, c, "a"); held != 0 {
		t.Error("it is still held")
	}
	shape(t, p.out.String(), "behind", "names", "previous", "session", "token", "valid_until")
}

// TestLockIsReleasedWhenTheCommandEnds, not when the session expires.
func TestLockIsReleasedWhenTheCommandEnds(t *testing.T) {
	endpoint := server(t)
	c := holder(t, endpoint)
	if _, errs, code := runProcess(t, endpoint, "lock", "a", "--", "false"); code != 1 {
		t.Fatal(code, errs)
	}
	l := mustLock(t, c, "a")
	for s, err := range c.Sessions(t.Context()) {
		if err != nil || s.ID != l.Session().ID() {
			t.Errorf("there is still a session: %+v, %v", s, err)
		}
	}
}

// TestLockOutlivesASilentServer for as long as it is valid: a command that ends in that time keeps its exit code, and lockd does not hang.
func TestLockOutlivesASilentServer(t *testing.T) {
	t.Parallel()
	wire := newCable(t)
	endpoint := server(t, func(_ int, c *lockd.Config) { c.AdvertiseClient = wire.Addr().String() })
	wire.plug(t, endpoint)
	p := command(t, wire.Addr().String(), "lock", "a", "--ttl", "1m", "--", "sh", "-c", opened+`echo ready >&3; read go <"$GO"; exit 9`)
	lines := p.withPipe()
	gate := fifo(t)
	p.Env = append(p.Env, "GO="+gate)
	p.start()
	next(t, lines)
	wire.pull()
	if err := os.WriteFile(gate, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if code := p.code(); code != 9 || !strings.Contains(p.err.String(), "not released yet") {
		t.Errorf("code %d, %s", code, p.err.String())
	}
}
