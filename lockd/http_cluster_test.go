package lockd_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/telemetry"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// fetch returns what a node answers on its HTTP port.
func fetch(t *testing.T, address, path string) []byte {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v: %s", path, r.Status, err, body)
	}
	return body
}

// TestTheHTTPPortOfANodeAtWork: what a holder and a waiter leave in metrics, status and a snapshot of a real node.
func TestTheHTTPPortOfANodeAtWork(t *testing.T) {
	shown, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "lockd"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = shown.Shutdown(t.Context()) })
	cluster := testcluster.Start(t, 1, func(_ int, c *lockd.Config) {
		c.MeterProvider, c.Metrics, c.LockClasses = shown.MeterProvider, shown.Metrics, []string{"jobs/"}
	})
	c, err := client.New(client.Config{Endpoints: cluster.Endpoints()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	l, err := c.Lock(t.Context(), "jobs/nightly")
	if err != nil {
		t.Fatal(err)
	}
	queued, granted := make(chan struct{}), make(chan error, 1)
	go func() {
		l, err := c.Lock(t.Context(), "jobs/nightly", client.OnQueued(func(client.Queued) { close(queued) }))
		if err == nil {
			err = l.Unlock(t.Context())
		}
		granted <- err
	}()
	<-queued
	address := cluster.Addresses(0).HTTP
	if got := string(fetch(t, address, "/ready")); got != "ready\n" {
		t.Errorf("/ready: %s", got)
	}
	var status lockd.NodeStatus
	if err := json.Unmarshal(fetch(t, address, "/status"), &status); err != nil {
		t.Fatal(err)
	}
	if status.Role != "leader" || status.Leader != cluster.Name(0) || status.Locks != 1 || status.Holds != 1 || status.Waiters != 1 || status.Sessions != 1 {
		t.Errorf("status: %+v", status)
	}
	if err := l.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-granted; err != nil {
		t.Fatal(err)
	}

	page := string(fetch(t, address, "/metrics"))
	for _, want := range []string{
		`lockd_lock_wait_duration_seconds_count\{lockd_lock_class="jobs/",lockd_wait_end="granted"\} 2`,
		`lockd_lock_hold_duration_seconds_count\{lockd_hold_end="released",lockd_lock_class="jobs/"\} 2`,
		`rpc_server_call_duration_seconds_count\{rpc_method="lockd.v1.Lock/Release",rpc_response_status_code="OK",rpc_system_name="lockd"\} 2`,
		`lockd_raft_fsync_duration_seconds_count [1-9]`, `lockd_raft_commit_duration_seconds_count [1-9]`, `lockd_raft_apply_duration_seconds_count [1-9]`,
		`lockd_raft_elections_total 1`, `lockd_raft_is_leader 1`, `lockd_sessions 1`, `lockd_connections\{lockd_role="client"\} [1-9]`, `lockd_disk_free_bytes [1-9]`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(page) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if strings.Contains(page, "nightly") {
		t.Error("/metrics names a lock")
	}
	file := filepath.Join(t.TempDir(), "snapshot")
	if err := os.WriteFile(file, fetch(t, address, "/snapshot"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := lockd.Inspect(file); err != nil || info.Index < status.Applied {
		t.Errorf("the snapshot: %+v, %v; it must have entry %d", info, err, status.Applied)
	}
}
