package acceptance

import (
	"testing"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/testdisk"
)

// TestDiskField15FsyncStall lets the leader's disk hang for ten seconds, twice the TTL of many sessions: none is lost.
func TestDiskField15FsyncStall(t *testing.T) {
	const ttl = 5 * time.Second
	var disks []*testdisk.Disk
	var dirs []string
	for range 3 {
		d := testdisk.Ext4(t, 700)
		disks, dirs = append(disks, d), append(dirs, d.Dir)
	}
	cluster := testcluster.StartProcesses(t, 3, dirs...)
	c := open(t, cluster.Endpoints(), ttl)
	held := holdMany(t, c, 200, ttl)
	stalled := leader(t, c, cluster)
	over := time.NewTimer(10 * time.Second)
	defer over.Stop()
	disks[stalled].Freeze(t)
	during := lock(t, c, "during") // by another leader
	<-over.C
	disks[stalled].Thaw(t)
	allHeld(t, c, held)
	unlock(t, during)
}
