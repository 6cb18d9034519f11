//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd"
)

// record is a line of a node's log.
type record map[string]any

// serving starts lockd serve and returns it with its log.
func serving(t *testing.T, args ...string) (*process, <-chan record) {
	t.Helper()
	p := command(t, "", append([]string{
		"serve", "--log-format", "json", "--listen-client", "127.0.0.1:0", "--listen-raft", "127.0.0.1:0", "--listen-http", "127.0.0.1:0",
	}, args...)...)
	r, w := io.Pipe()
	p.Stderr = w
	records := make(chan record, 1000)
	go func() {
		defer close(records)
		for lines := bufio.NewScanner(r); lines.Scan(); {
			var one record
			if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
				one = record{"msg": "not JSON: " + lines.Text()}
			}
			records <- one
		}
	}()
	t.Cleanup(func() { _ = w.Close() })
	return p, records
}

// logged waits for a message in a log.
func logged(t *testing.T, records <-chan record, message string) record {
	t.Helper()
	var all []any
	limit := time.After(patience)
	for {
		select {
		case r, ok := <-records:
			if !ok {
				t.Fatalf("the log ends without %q: %v", message, all)
			}
			if r["msg"] == message {
				return r
			}
			all = append(all, r["msg"])
		case <-limit:
			t.Fatalf("%q is not logged, only %v", message, all)
		}
	}
}

// TestServe: a node starts, tells where it serves and the service manager that it does, takes settings in again, and stops gracefully.
func TestServe(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = manager.Close() }()
	told := func() string {
		b := make([]byte, 100)
		n, err := manager.Read(b)
		if err != nil {
			t.Error(err)
		}
		return string(b[:n])
	}
	file := writeFile(t, "lockd.yaml", "log_level: info\nheartbeat: 50ms\n")
	p, log := serving(t, "--data-dir", filepath.Join(t.TempDir(), "data"), "--config", file)
	p.Env = append(p.Env, "NOTIFY_SOCKET="+socket)
	p.start()
	where := logged(t, log, "serving")
	if got := told(); got != "READY=1" {
		t.Errorf("the service manager is told %q", got)
	}
	client, ok := where["client"].(string)
	if !ok {
		t.Fatalf("the log says %v", where)
	}
	if _, errs, code := runProcess(t, client, "lock", "a", "--", "true"); code != 0 {
		t.Errorf("code %d, %s", code, errs)
	}

	rewriteFile := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p.signal(syscall.SIGHUP)
	}
	rewriteFile("log_level: debug\nheartbeat: 40ms\n")
	r := logged(t, log, "settings read again")
	if got := []any{r["changed"], r["after_restart"]}; !equalJSON(got, `[["log_level"],["heartbeat"]]`) {
		t.Errorf("%v", r)
	}
	rewriteFile("log_lvel: debug\n")
	r = logged(t, log, "the settings stay as they were")
	if text, ok := r["error"].(string); !ok || !strings.Contains(text, ":1: unknown key") {
		t.Errorf("%v", r)
	}

	p.signal(syscall.SIGTERM)
	if got := told(); got != "STOPPING=1" {
		t.Errorf("the service manager is told %q", got)
	}
	if code := p.code(); code != 0 {
		t.Errorf("code %d", code)
	}
}

func equalJSON(v any, want string) bool {
	b, err := json.Marshal(v)
	return err == nil && string(b) == want
}

// TestServeDev: one flag, a node in memory, and nothing left behind.
func TestServeDev(t *testing.T) {
	p, log := serving(t, "--dev")
	p.Dir = t.TempDir()
	p.start()
	client, ok := logged(t, log, "serving")["client"].(string)
	if !ok {
		t.Fatal("no address")
	}
	out, errs, code := runProcess(t, client, "status")
	if code != 0 || !strings.Contains(out, "leader") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	p.signal(os.Interrupt)
	if code := p.code(); code != 0 {
		t.Errorf("code %d", code)
	}
	if left, err := os.ReadDir(p.Dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestServeRefusesASecondDaemon on the same directory, and says which.
func TestServeRefusesASecondDaemon(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first, log := serving(t, "--data-dir", dir)
	first.start()
	logged(t, log, "serving")
	second := command(t, "", "serve", "--data-dir", dir, "--listen-client", "127.0.0.1:0", "--listen-raft", "127.0.0.1:0", "--listen-http", "off").start()
	if code := second.code(); code != exitFailure || !strings.Contains(second.err.String(), dir) {
		t.Errorf("code %d, %s", code, second.err.String())
	}
}

// TestServeSecondSignal stops at once; the first one only asks.
func TestServeSecondSignal(t *testing.T) {
	d := &daemon{call: &call{program: &program{err: io.Discard}}, log: slog.New(slog.DiscardHandler)}
	caught, stopped := make(chan os.Signal), make(chan struct{})
	asked, crashed := make(chan struct{}), make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.obey(t.Context(), caught, func() { close(asked) }, func() error { close(crashed); return nil }, stopped)
	}()
	caught <- syscall.SIGTERM
	<-asked
	select {
	case <-crashed:
		t.Fatal("the first signal stops at once")
	default:
	}
	caught <- syscall.SIGINT
	<-crashed
	close(stopped)
	<-done
}

// TestSettingsReachTheNode: what is written as a setting arrives in the Config under its name.
func TestSettingsReachTheNode(t *testing.T) {
	l := &loaded{settings: *defaultSettings(), from: map[string]string{}}
	l.InitialCluster = []string{"lockd-1=a:1", "b=b:1"}
	c, err := l.config()
	if err != nil {
		t.Fatal(err)
	}
	if len(c.InitialCluster) != 2 || c.InitialCluster[1] != (lockd.Member{Name: "b", Raft: "b:1"}) {
		t.Errorf("%+v", c.InitialCluster)
	}
	if c.DataDir != defaultDataDir || c.MinFree != lockd.DefaultMinFree || c.Limits.QueueBytes != 4<<20 || c.Limits.IdleTimeout != 30*time.Minute {
		t.Errorf("%+v", c)
	}
	l.Dev = true
	if c, _ := l.config(); !c.Memory || c.DataDir != "" {
		t.Errorf("--dev: %+v", c)
	}
}
