package endurance

import (
	"fmt"
	"testing"

	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/testdisk"
)

// TestDiskPowerCutOfAll takes the power from three real file systems at once under load: every hold, lease and token that was
// acknowledged before is there afterwards (invariant 5). What is acknowledged while the power goes does not count: with real power
// nobody would hear it, and a flush under way when ext4 is shut down may find its transaction gone and call that a success.
func TestDiskPowerCutOfAll(t *testing.T) {
	var disks []*testdisk.Disk
	var dirs []string
	for range 3 {
		d := testdisk.Ext4(t, 700)
		disks, dirs = append(disks, d), append(dirs, d.Dir)
	}
	cluster := testcluster.StartProcesses(t, 3, dirs...)
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	n := rounds(t, "LOCKD_POWER_CUTS", 3)
	for range n {
		<-l.next()
		l.stop()
		for _, d := range disks {
			d.CutPower(t)
		}
		cluster.Kill(0, 1, 2)
		for i, d := range disks {
			d.Restart(t)
			cluster.Run(i)
		}
		cluster.WaitReady()
		l.check(t.Context(), t, reader)
	}
	<-l.next()
	stop()
	l.check(t.Context(), t, reader)
	t.Logf("%d power cuts of all nodes, %d grants acknowledged", n, l.grants)
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "endurance", Layer: "disk", Runs: int64(n), Operations: int64(l.grants), Command: fmt.Sprintf("make endurance CUTS=%d", n),
	}, map[string]int64{"power cut of all nodes": int64(n)})...)
}
