package main

import (
	"encoding/json"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// findingsOf reads the findings of a doctor as JSON.
func findingsOf(t *testing.T, out string) *findings {
	t.Helper()
	f := &findings{}
	if err := json.Unmarshal([]byte(out), &f.list); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	return f
}

// TestDoctorOfACluster asks a node that runs, in a whole cluster and in one that has lost a node.
func TestDoctorOfACluster(t *testing.T) {
	t.Parallel()
	var dir string
	c := testcluster.Start(t, 3, func(i int, c *lockd.Config) {
		c.MinFree = 1
		if i == 0 {
			dir = c.DataDir
		}
	})
	until(t, "the leader has looked after the others", func() bool {
		_, _, code := runProcess(t, "", "cluster", "health", "--http", c.Addresses(0).HTTP)
		return code == 0
	})
	out, errs, _ := runProcess(t, "", "doctor", "--http", c.Addresses(0).HTTP, "-o", "json")
	f := findingsOf(t, out)
	if !strings.Contains(errs, "n1 runs here") {
		t.Errorf("%s", errs)
	}
	for _, want := range []struct{ check, says string }{
		{"ports", "Raft port " + c.Addresses(1).Raft + " answers"},
		{"ports", "client port " + c.Addresses(2).Client + " answers"},
		{"quorum", "3 of 3 voters are well and 2 are needed: 1 more may fail"},
		{"versions", "on 3 nodes"},
		{"clock", "this node's (±"},
	} {
		judged(t, "a whole cluster", f, want.check, verdictOK, want.says)
	}
	checks := map[string]bool{}
	for _, one := range f.list {
		checks[one.Check] = true
	}
	for _, check := range []string{"disk", "space", "files", "processors"} {
		if !checks[check] {
			t.Errorf("no finding about %s in %s", check, out)
		}
	}
	c.Crash(2)
	until(t, "the loss of a node is told", func() bool {
		out, _, code := runProcess(t, "", "doctor", "--http", c.Addresses(0).HTTP)
		fits(t, strings.ReplaceAll(out, dir, "/var/lib/lockd"))
		return code == exitFailure && strings.Contains(out, "not well: n3") && strings.Contains(out, "→ is it running?")
	})
}

// TestDoctorBeforeTheFirstStart tries what a node would need.
func TestDoctorBeforeTheFirstStart(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = packets.Close() }()
	dir := filepath.Join(t.TempDir(), "data")
	free := []string{"--data-dir", dir, "--min-free", "1B", "--listen-http", "127.0.0.1:0", "--listen-client", "127.0.0.1:0", "--listen-raft", "127.0.0.1:0"}
	run := func(want int, args ...string) *findings {
		t.Helper()
		out, errs, code := runProcess(t, "", append(append([]string{"doctor", "-o", "json"}, free...), args...)...)
		if code != want {
			t.Fatalf("%v: code %d, %s%s", args, code, out, errs)
		}
		return findingsOf(t, out)
	}
	well := run(0)
	judged(t, "all is free", well, "ports", verdictOK, "client port 127.0.0.1:0 is free")
	judged(t, "all is free", well, "ports", verdictOK, "HTTP port 127.0.0.1:0 is free")
	if well.count(verdictProblem) > 0 {
		t.Errorf("%+v", well.list)
	}
	judged(t, "taken", run(exitFailure, "--listen-raft", taken.Addr().String()), "ports", verdictProblem, "is taken: another process answers there")
	judged(t, "not ours", run(exitFailure, "--listen-raft", "192.0.2.1:7401"), "ports", verdictProblem, "no such address")
	listed := run(0, "--name", "n1", "--initial-cluster", "n1=127.0.0.1:1,n2="+taken.Addr().String()+",n3=127.0.0.1:2")
	judged(t, "a list", listed, "ports", verdictOK, "Raft port "+taken.Addr().String()+" answers")
	judged(t, "a list", listed, "ports", verdictOK, "127.0.0.1:2 can be reached, and nobody listens there yet")
	seeds := run(exitFailure, "--name", "n1", "--join", taken.Addr().String()+",n2.invalid", "--listen-gossip", packets.LocalAddr().String())
	judged(t, "a seed", seeds, "ports", verdictOK, "gossip (TCP) port "+taken.Addr().String()+" answers")
	judged(t, "a seed that is unknown", seeds, "ports", verdictProblem, "n2.invalid")
	judged(t, "UDP is taken", seeds, "ports", verdictProblem, "gossip port "+packets.LocalAddr().String()+" is taken: somebody who does not take connections")

	for _, test := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "not host:port", []string{"--listen-raft", "nowhere"}},
		{exitUsage, "no number", []string{"--max-connections", "many"}},
		{exitUnavailable, "--http names the HTTP port", []string{"--http", "127.0.0.1:1"}},
	} {
		if _, errs, code := runProcess(t, "", append([]string{"doctor", "--data-dir", dir}, test.args...)...); code != test.code || !strings.Contains(errs, test.says) {
			t.Errorf("%v: code %d, %s", test.args, code, errs)
		}
	}
}
