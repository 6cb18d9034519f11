package endurance

import (
	"fmt"
	"testing"

	"github.com/lockd/lockd/internal/reliability"
)

// recordDisk tells the scorecard what a test with bad disks has done.
func recordDisk(t *testing.T, runs, grants int, faults map[string]int64) {
	t.Helper()
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: t.Name(), Layer: "disk", Runs: int64(runs), Operations: int64(grants),
		Command: fmt.Sprintf("LOCKD_ROOT=1 go test ./internal/endurance -run '^%s$'", t.Name()),
	}, faults)...)
}
