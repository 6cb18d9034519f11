package acceptance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// TestField09RestoredTokensRise restores a backup of three nodes to three new ones: every new token is above every token the old
// cluster ever granted, also above those granted after the backup, and a holder of the old cluster hears that it holds nothing.
func TestField09RestoredTokensRise(t *testing.T) {
	old := testcluster.Start(t, 3)
	holder := open(t, old.Endpoints(), 15*time.Second)
	lock(t, holder, "before")
	path := filepath.Join(t.TempDir(), "lockd.snap")
	backup, err := os.Create(path)
	if err == nil {
		err = errors.Join(old.Server(0).SaveSnapshot(t.Context(), backup), backup.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	var highest uint64
	for range 100 {
		l := lock(t, holder, "after")
		highest = l.Token()
		unlock(t, l)
	}
	lease, err := holder.AcquireLease(t.Context(), "leased after the backup", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	highest = max(highest, lease.Token())

	restored := testcluster.Start(t, 3, func(i int, c *lockd.Config) {
		if i != 0 {
			return
		}
		_, err := lockd.Restore(t.Context(), lockd.RestoreOptions{
			Snapshot: path, Name: c.Name, DataDir: c.DataDir, InitialCluster: c.InitialCluster, NoWait: true,
		})
		if err != nil {
			t.Fatal(err)
		}
	})
	c := open(t, restored.Endpoints(), 15*time.Second)
	for _, name := range []string{"before", "after", "new"} {
		l := lock(t, c, name) // nobody of the old cluster holds it
		if l.Token() <= highest {
			t.Errorf("%s: token %d, the old cluster granted %d", name, l.Token(), highest)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := c.Lease(lease.Ref()).Renew(ctx, time.Hour); !errors.Is(err, client.ErrNotHeld) {
		t.Errorf("a lease that the backup does not know was renewed: %v", err)
	}
}

// patience is how long a call may take; a test that is stuck says so.
const patience = 30 * time.Second
