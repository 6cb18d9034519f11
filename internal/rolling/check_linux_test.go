package rolling

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
)

// TestLoadSees takes the cluster away from under the clients for good, and pretends that two hold one lock: the load must tell, or the
// other tests are blind.
func TestLoadSees(t *testing.T) {
	t.Parallel()
	f := newFleet(t, 1, false)
	f.found()
	l := startLoadWith(t, clientsOf(f.machines), 2*time.Second, time.Second) // nothing of this is waited for longer
	l.more()
	lock, err := l.clients[0].Lock(t.Context(), "planted")
	if err != nil {
		t.Fatal(err)
	}
	leave := l.within(lock, "planted")
	l.within(lock, "planted") // while it is held
	f.kill(f.machines[0])
	for _, h := range l.holders {
		<-h.lost // by its own clock
	}
	<-lock.Context().Done()
	leave()
	l.within(lock, "planted") // with a token that was seen before
	l.stop()
	for _, h := range l.holders {
		if err := h.lock.Err(); !errors.Is(err, client.ErrLockLost) {
			t.Errorf("%s: %v", h.name, err)
		}
	}
	all := strings.Join(l.failed, "\n")
	for _, want := range []string{
		"two hold planted at once", "[planted] was lost", "of planted comes after", "the exclusive lock held/exclusive was lost", "the several lock held/several/a was lost",
		"context deadline exceeded: no node answered",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("it is not told: %q; only:\n%s", want, all)
		}
	}
}
