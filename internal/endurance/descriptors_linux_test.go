package endurance

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
)

// TestDescriptorsComeBack runs nodes with real files and sockets in this process, and gives each several lives: they are stopped and crashed,
// leadership is handed over, clients and readers of the HTTP port come and go. Then there are no more descriptors, mapped files and
// goroutines than after the first round.
func TestDescriptorsComeBack(t *testing.T) {
	c := testcluster.Start(t, 3)
	n := rounds(t, "LOCKD_RESTARTS", 4)
	round := func() {
		for i := range 3 {
			visit(t, c)
			if err := c.Server(i).HandOver(t.Context()); err != nil {
				t.Logf("hand over from %s: %v", c.Name(i), err) // on a busy machine nobody may answer in time
			}
			if i%2 == 0 {
				c.Stop(i)
			} else {
				c.Crash(i)
			}
			visit(t, c)
			c.Run(i)
			c.WaitReady()
		}
		visit(t, c)
	}
	round()
	before := held(t)
	for range n {
		round()
	}
	slack := max(2, n) // a third of the lives that each kind could have leaked in
	grown := comeBack(t, before, slack)
	t.Logf("%d lives of nodes; %v", 3*n, before)
	if grown != "" {
		t.Errorf("after %d lives of nodes there is more than %d above what there was before: %s", 3*n, slack, grown)
	}
}

// visit is what clients do while nodes come and go.
func visit(t *testing.T, c *testcluster.Cluster) {
	t.Helper()
	cl, err := client.New(client.Config{Endpoints: c.Endpoints(), TTL: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		l, err := cl.Lock(t.Context(), fmt.Sprint("visit/", i))
		if err == nil && i > 0 {
			err = l.Unlock(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := cl.Close(ctx); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	for i := range 3 {
		if !c.Running(i) {
			continue
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Addresses(i).HTTP+"/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
	}
}

// held counts what this process holds of the system: descriptors and mappings by the kind of file, and goroutines by what they run.
func held(t *testing.T) census {
	t.Helper()
	found := goroutines(t)
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name())); err == nil { // it may be that of the directory
			found["descriptor of "+family(target)]++
		}
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	const columns = 6
	for line := range strings.Lines(string(maps)) {
		if fields := strings.Fields(line); len(fields) >= columns && strings.HasPrefix(fields[columns-1], os.TempDir()) {
			found["mapping of "+family(fields[columns-1])]++
		}
	}
	return found
}

var digits = regexp.MustCompile(`[0-9a-f]*[0-9][0-9a-f]*`)

// family is a file without what tells it from others of its kind.
func family(target string) string {
	if strings.HasPrefix(target, "/") {
		target = filepath.Base(target)
	}
	return digits.ReplaceAllString(target, "N")
}

// comeBack waits until nothing is there more often than before, but for a slack, and returns what still is.
func comeBack(t *testing.T, before census, slack int) (grown string) {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		grown = ""
		for name, n := range held(t) {
			if n > before[name]+slack {
				grown += fmt.Sprintf("\n%s: %d, and %d before", name, n, before[name])
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return grown
		}
		if grown == "" {
			return ""
		}
	}
}
