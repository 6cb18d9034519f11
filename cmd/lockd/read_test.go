//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	client "github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// TestLeaseFromTheShell: acquired by one process, renewed, shown, taken over and released by others, by its reference alone.
func TestLeaseFromTheShell(t *testing.T) {
	endpoint := server(t)
	lease := func(code int, args ...string) (out, errs string) {
		t.Helper()
		out, errs, got := runProcess(t, endpoint, append([]string{"lease"}, args...)...)
		if got != code {
			t.Fatalf("%v: code %d, want %d; %s", args, got, code, errs)
		}
		return strings.TrimSuffix(out, "\n"), errs
	}
	ref, errs := lease(0, "acquire", "backups/db", "--ttl", "2h", "--value", "step 1")
	if parsed, err := client.ParseLeaseRef(ref); err != nil || parsed.Name != "backups/db" || !strings.Contains(errs, "lease of \"backups/db\" until ") {
		t.Fatalf("%q, %v, %s", ref, err, errs)
	}
	lease(exitNotAcquired, "acquire", "backups/db", "--try")
	lease(9, "acquire", "backups/db", "--wait", "100ms", "-E", "9")
	lease(0, "renew", ref, "--ttl", "3h")
	out, _ := lease(0, "show", ref)
	if !strings.Contains(out, "step 1") || !strings.Contains(out, "lease, in 3h") && !strings.Contains(out, "lease, in 2h59m") {
		t.Error(out)
	}
	taken, _ := lease(0, "take", ref, "--ttl", "1h", "-o", "json")
	shape(t, taken, "lease", "name", "reference", "token", "ttl_ms", "valid_until", "previous")
	lease(exitFailure, "renew", ref)
	_, errs = lease(exitFailure, "release", ref)
	if !strings.Contains(errs, "no such hold (any more)") || !strings.Contains(errs, "lockd show") {
		t.Error(errs)
	}
	out, _ = lease(0, "acquire", "other", "-o", "json", "-q")
	shape(t, out, "lease", "name", "reference", "token", "ttl_ms", "valid_until")
}

// runsManyCommands leaves a test out of the short form.
func runsManyCommands(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: it runs dozens of commands one after the other, each of which takes the race detector half a second to begin")
	}
}

// TestReaders: what they say of a lock with a holder and a waiter, in both forms.
func TestReaders(t *testing.T) {
	runsManyCommands(t)
	endpoint := server(t)
	c := holder(t, endpoint)
	l := mustLock(t, c, "jobs/a", client.Value([]byte("v")))
	waiter := command(t, endpoint, "lock", "jobs/a", "--", "true").start()
	until(t, "it waits", func() bool { w, _ := waiting(t, c, "jobs/a"); return w == 1 })
	token := strconv.FormatUint(l.Token(), 10)
	for _, test := range []struct {
		args, says string // says is part of the table
		code       int
		keys       string
	}{
		{"ls", "jobs/a  lock  1     1        " + token, 0, "held kind name newest_token waiting"},
		{"ls jobs/", "jobs/a", 0, "held kind name newest_token waiting"},
		{"ls --stale", "jobs/a", 0, "held kind name newest_token waiting"},
		{"ls nothing/", "", 0, ""},
		{"show jobs/a", "the-test  exclusive  " + token, 0, "age_ms floor_token held holders index kind name newest_token previous waiters waiting"},
		{"check-token jobs/a " + token, "valid\n", 0, "floor_token name newest_token token validity"},
		{"check-token jobs/a 5", "stale\n", 1, "floor_token name newest_token token validity"},
		{"check-token free 5", "free\n", 1, "floor_token name newest_token token validity"},
		{"session list", "the-test", 0, "host id identity index pid ttl_ms"},
		{"session show " + l.Session().ID().String(), "the-test", 0, "host id identity index pid ttl_ms"},
		{"status", "leader", 0, "address agent applied commit locks name role sessions term"},
		{"version", "lockd ", 0, "go platform version"},
	} {
		out, errs, code := runProcess(t, endpoint, strings.Fields(test.args)...)
		if code != test.code || errs != "" || !strings.Contains(out, test.says) || test.says == "" && out != "" {
			t.Errorf("%s: code %d, %s%s", test.args, code, out, errs)
		}
		fits(t, out)
		out, _, code = runProcess(t, endpoint, append(strings.Fields(test.args), "-o", "json")...)
		if code != test.code {
			t.Errorf("%s: code %d", test.args, code)
		}
		if test.keys == "" {
			if out != "[]\n" {
				t.Errorf("%s: %s", test.args, out)
			}
			continue
		}
		shape(t, out, strings.Fields(test.keys)...)
	}
	for args, says := range map[string]string{
		"show nothing": "lockd: nobody holds \"nothing\" or waits for it\n",
		"session show 00000000000000000000000000000001": "lockd: session 00000000000000000000000000000001 does not live (any more)\n",
	} {
		if _, errs, code := runProcess(t, endpoint, strings.Fields(args)...); code != exitFailure || errs != says {
			t.Errorf("%s: code %d, %s", args, code, errs)
		}
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	if code := waiter.code(); code != 0 {
		t.Errorf("the waiter: %d, %s", code, waiter.err.String())
	}
}

// TestStatusOfThreeNodes with one of them down.
func TestStatusOfThreeNodes(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 3)
	endpoints := strings.Join(c.Endpoints(), ",")
	out, errs, code := runProcess(t, endpoints, "status")
	if code != 0 || errs != "" || strings.Count(out, "follower") != 2 || strings.Count(out, "leader") != 1 {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	c.Crash(2)
	out, errs, code = runProcess(t, endpoints, "status")
	if code != 0 || errs != "lockd: n3 cannot be reached; 0 more nodes may fail\n" || !strings.Contains(out, "unreachable") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
}

// TestSnapshotGoesRound: saved from a node that runs, looked into, and restored into another that goes on with higher tokens.
func TestSnapshotGoesRound(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 1)
	endpoint, http := c.Addresses(0).Client, c.Addresses(0).HTTP
	ref, errs, code := runProcess(t, endpoint, "lease", "acquire", "kept", "--ttl", "5h", "-q")
	if code != 0 {
		t.Fatal(errs)
	}
	before, err := client.ParseLeaseRef(strings.TrimSpace(ref))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "state.snap")
	if _, errs, code = runProcess(t, endpoint, "snapshot", "save", file, "--http", http); code != 0 || !strings.Contains(errs, "saved") {
		t.Fatal(code, errs)
	}
	out, errs, code := runProcess(t, "", "snapshot", "inspect", file, "-o", "json")
	if code != 0 {
		t.Fatal(errs)
	}
	shape(t, out, "bytes", "cluster_time_ms", "file", "incarnation", "index", "locks", "newest_token", "records", "saved_at", "sessions", "term", "voters")
	out, errs, code = runProcess(t, "", "snapshot", "inspect", file)
	if code != 0 || !strings.Contains(out, "locks         1\n") {
		t.Error(code, out, errs)
	}
	fits(t, strings.ReplaceAll(out, dir, "")) // the directory of a test has a long name

	data := filepath.Join(dir, "restored")
	if _, errs, code = runProcess(t, "", "snapshot", "restore", file, "--data-dir", data, "--name", "n1", "--no-wait"); code != 0 {
		t.Fatal(errs)
	}
	if _, errs, code := runProcess(t, "", "snapshot", "restore", file, "--data-dir", data, "--name", "n1"); code != exitFailure {
		t.Errorf("a restore into a directory that is in use: code %d, %s", code, errs)
	}
	restored := testcluster.Start(t, 1, func(_ int, c *lockd.Config) { c.DataDir = data })
	endpoint = restored.Addresses(0).Client
	if _, errs, code := runProcess(t, endpoint, "lease", "renew", strings.TrimSpace(ref)); code != 0 {
		t.Errorf("the lease is lost: %s", errs)
	}
	if l := mustLock(t, holder(t, endpoint), "new"); l.Token() <= before.Token {
		t.Errorf("token %d after token %d", l.Token(), before.Token)
	}

	damaged := filepath.Join(dir, "damaged.snap")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(damaged, whole[:len(whole)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := runProcess(t, "", "snapshot", "inspect", damaged); code != exitFailure || !strings.Contains(errs, damaged) {
		t.Errorf("a snapshot that is cut off: code %d, %s", code, errs)
	}
	if _, errs, code := runProcess(t, "", "snapshot", "save", filepath.Join(dir, "x"), "--http", "127.0.0.1:1"); code != exitUnavailable || !strings.Contains(errs, "--http names") {
		t.Errorf("no node: code %d, %s", code, errs)
	}
}

func TestBench(t *testing.T) {
	endpoint := server(t)
	out, errs, code := runProcess(t, endpoint, "bench", "--clients", "3", "--time", "200ms", "-o", "json")
	if code != 0 || errs != "" {
		t.Fatal(code, errs)
	}
	shape(t, out, "clients", "errors", "max_ms", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "pairs", "pairs_per_second", "took_ms")
	out, errs, code = runProcess(t, endpoint, "bench", "--clients", "2", "--time", "200ms", "--lock", "hot")
	if code != 0 || errs != "" || !strings.Contains(out, "pairs/s") || strings.Contains(out, "rate     0 ") {
		t.Errorf("code %d, %s%s", code, out, errs)
	}
	for s, err := range holder(t, endpoint).Sessions(t.Context()) {
		t.Errorf("a session is left over: %+v, %v", s, err)
	}
}

// TestHistogram: a quantile is right to a hundredth.
func TestHistogram(t *testing.T) {
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Microsecond)
	}
	for q, want := range map[float64]float64{0.5: 0.5, 0.9: 0.9, 1: 1} {
		if got := h.quantile(q); got < want*0.99 || got > want*1.02 {
			t.Errorf("%v: %v ms, want about %v", q, got, want)
		}
	}
	h.add(1 << 62)
	if got := h.quantile(1); got < 3600_000 {
		t.Errorf("the longest: %v ms", got)
	}
}

// TestCompletion: commands, flags of any level, shells, and the names of locks that exist.
func TestCompletion(t *testing.T) {
	runsManyCommands(t)
	endpoint := server(t)
	mustLock(t, holder(t, endpoint), "jobs/nightly")
	for line, want := range map[string]string{
		"sho":                 "show",
		"lease re":            "renew release",
		"lock --sh":           "--shared",
		"lock x --out":        "--output",
		"show jobs/":          "jobs/nightly",
		"lock jo":             "jobs/nightly",
		"lock jobs/nightly x": "",
		"lock a -- sh":        "",
		"lock --ttl ":         "",
		"completion b":        "bash",
		"nonsense x":          "",
	} {
		args := append([]string{"complete", "--"}, strings.Split(line, " ")...)
		out, errs, code := runProcess(t, endpoint, args...)
		var words []string
		for found := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSuffix(found, "\n"), "\t")
			words = append(words, word)
		}
		if got := strings.Join(words, " "); got != want || code != 0 {
			t.Errorf("%s: %q, want %q; code %d, %s", line, got, want, code, errs)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, errs, code := runHere(t, "completion", shell); code != 0 || !strings.Contains(out, "lockd complete -- ") {
			t.Errorf("%s: code %d, %s%s", shell, code, out, errs)
		}
	}
}
