package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// clusterStatus runs the command, and reads what it tells as JSON.
func clusterStatus(t *testing.T, http string) (s clusterShown, code int) {
	t.Helper()
	out, errs, code := runProcess(t, "", "cluster", "status", "--http", http, "-o", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v in %s%s", err, out, errs)
	}
	return s, code
}

// TestClusterStatus tells of a cluster that is whole, of one that has lost a node, and of one that has lost its majority.
func TestClusterStatus(t *testing.T) {
	t.Parallel()
	c := testcluster.Start(t, 3)
	http := c.Addresses(0).HTTP
	until(t, "the leader has looked after the others", func() bool {
		s, code := clusterStatus(t, http)
		return code == 0 && s.Margin != nil && *s.Margin == 1
	})
	s, _ := clusterStatus(t, http)
	if len(s.Nodes) != 3 || s.Leader == "" || s.Term == 0 || len(s.Cluster) != 32 || s.Asked != "n1" || len(s.Wrong) != 0 {
		t.Errorf("whole: %+v", s)
	}
	for _, n := range s.Nodes {
		if !strings.HasPrefix(n.State, "well") || n.Role == "learner" || (n.Role == "leader") != (n.Name == s.Leader) {
			t.Errorf("whole: %+v", n)
		}
	}
	c.Crash(2)
	until(t, "the loss of a node is told", func() bool {
		out, _, code := runProcess(t, "", "cluster", "status", "--http", http)
		fits(t, out)
		return code == exitFailure && strings.Contains(out, "2 of 3 voters are well and 2 are needed: 0 more may fail\n") &&
			strings.Contains(strings.Join(strings.Fields(out), " "), "problem: cluster: 2 of 3 voters are well and 2 are needed: 0 more may fail; not well: n3 → look at their logs")
	})
	c.Crash(1)
	until(t, "the loss of the majority is told", func() bool {
		out, _, code := runProcess(t, "", "cluster", "status", "--http", http)
		fits(t, out)
		return code == exitUnavailable && strings.Contains(out, "quorum   not known\n") && strings.Contains(out, "no leader is known") && strings.Contains(out, "n3 ")
	})
}

// gossiping gives a node a gossip port, and the seeds.
func gossiping(t *testing.T, c *lockd.Config, seeds ...string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	c.ListenGossip, c.Join = l.Addr().String(), append(seeds, l.Addr().String())
}

// TestClusterJoin: a node that waits tells so, is told where a cluster is, and is in it.
func TestClusterJoin(t *testing.T) {
	t.Parallel()
	waiting := func(name string, config *lockd.Config) string {
		gossiping(t, config)
		config.Name, config.Memory, config.Logger = name, true, slog.New(slog.DiscardHandler)
		config.ListenClient, config.ListenRaft, config.ListenHTTP = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
		s, err := lockd.New(*config)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- s.Run(context.WithoutCancel(t.Context())) }()
		t.Cleanup(func() {
			_ = s.Close() // Run tells
			if err := <-ended; err != nil && !errors.Is(err, lockd.ErrClosed) {
				t.Error(err)
			}
		})
		until(t, name+" listens", func() bool { return s.Addresses().HTTP != "" })
		return s.Addresses().HTTP
	}
	var one, two lockd.Config
	first, second := waiting("n1", &one), waiting("n2", &two)
	if s, code := clusterStatus(t, second); code != exitUnavailable || s.Cluster != "" || len(s.Wrong) == 0 || !strings.Contains(s.Wrong[0].Do, "lockd cluster join") {
		t.Errorf("waiting: code %d, %+v", code, s)
	}
	if _, errs, code := runProcess(t, "", "cluster", "join", "--http", second, "127.0.0.1:1"); code != exitFailure || !strings.Contains(errs, "127.0.0.1:1") || !strings.Contains(errs, "gossip port") {
		t.Errorf("nobody there: code %d, %s", code, errs)
	}
	if _, errs, code := runProcess(t, "", "cluster", "join", "--http", second); code != exitUsage {
		t.Errorf("no address: code %d, %s", code, errs)
	}
	if _, errs, code := runProcess(t, "", "cluster", "init", "--http", first); code != 0 {
		t.Fatalf("init: code %d, %s", code, errs)
	}
	for _, says := range []string{"n2 is let into the cluster ", " already"} {
		if _, errs, code := runProcess(t, "", "cluster", "join", "--http", second, one.ListenGossip); code != 0 || !strings.Contains(errs, says) {
			t.Errorf("join: code %d, %s; want %q", code, errs, says)
		}
	}
	s, code := clusterStatus(t, second)
	judged(t, "in the clear", &findings{s.Wrong}, "keys", verdictWarning, "not encrypted")
	if code != 0 || len(s.Nodes) != 2 || s.Leader != "n1" {
		t.Errorf("code %d, %+v", code, s)
	}
}
