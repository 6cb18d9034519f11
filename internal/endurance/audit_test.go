package endurance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/history"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// auditDir names the directory in which every node writes down what it applies, if it is set.
const auditDir = "LOCKD_AUDIT_DIR"

// audited is a node's configuration that does so.
func audited(c *lockd.Config) error {
	dir := os.Getenv(auditDir)
	if dir == "" {
		return nil
	}
	a, err := history.OpenAuditor(filepath.Join(dir, c.Name), c.Name)
	if err == nil {
		c.Applied = a.Applied
	}
	return err
}

// start runs three nodes with their data in directories, or wherever else places say. They write down what they apply: agree requires that
// each entry was the same for all of them and has left the same state (invariant 8).
func start(t *testing.T, places ...testcluster.Place) (c *testcluster.Processes, agree func()) {
	t.Helper()
	dir := t.TempDir()
	for i := range places {
		command := places[i].Command
		if command == nil {
			command = exec.CommandContext
		}
		places[i].Command = func(ctx context.Context, name string, args ...string) *exec.Cmd {
			cmd := command(ctx, name, args...)
			cmd.Env = append(os.Environ(), auditDir+"="+dir)
			return cmd
		}
	}
	return testcluster.StartAt(t, places), func() {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%d audits: %v", len(files), err)
		}
		first := map[uint64]history.Entry{}
		compared := 0
		for _, file := range files {
			a, err := history.ReadAudit(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range a.Entries {
				known, again := first[e.Index]
				if !again {
					first[e.Index] = e
					continue
				}
				compared++
				if known.Term != e.Term || known.Hash != e.Hash || !bytes.Equal(known.Command, e.Command) {
					t.Fatalf("%s differs at entry %d: term %d and %d, hash %x and %x", a.Node, e.Index, known.Term, e.Term, known.Hash, e.Hash)
				}
			}
		}
		if compared < grants {
			t.Fatalf("only %d entries were applied twice or more", compared)
		}
		t.Logf("%d entries, applied %d times more, always with the same state", len(first), compared)
	}
}

// statusOf asks node i what it knows.
func statusOf(ctx context.Context, c *testcluster.Processes, i int) (s lockd.NodeStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/status", c.Addresses(i).HTTP), nil)
	if err != nil {
		return s, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return s, err
	}
	defer func() { _ = answer.Body.Close() }()
	return s, json.NewDecoder(answer.Body).Decode(&s)
}

// until waits for what a node says of itself.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	limit, tick := time.NewTimer(20*time.Second), time.NewTicker(20*time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.C:
			t.Fatal(what)
		}
	}
}

// leaderOf returns the leader of three nodes.
func leaderOf(t *testing.T, c *testcluster.Processes) (leader int) {
	t.Helper()
	until(t, "no node says that it leads", func() bool {
		for leader = range 3 {
			if s, err := statusOf(t.Context(), c, leader); err == nil && s.Role == "leader" {
				return true
			}
		}
		return false
	})
	return leader
}

// caughtUp waits until node i has applied what the others have by now, and reports whether it has; it may end instead.
func caughtUp(t *testing.T, c *testcluster.Processes, i int) bool {
	t.Helper()
	most := uint64(0)
	for other := range 3 {
		if s, err := statusOf(t.Context(), c, other); err == nil && other != i {
			most = max(most, s.Applied)
		}
	}
	lives := true
	until(t, "a node does not catch up", func() bool {
		if lives = c.Running(i); !lives {
			return true
		}
		s, err := statusOf(t.Context(), c, i)
		return err == nil && most > 0 && s.Applied >= most
	})
	return lives
}
