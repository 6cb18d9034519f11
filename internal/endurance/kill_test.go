package endurance

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/lockd/lockd/internal/reliability"
	"github.com/lockd/lockd/internal/testcluster"
)

func TestMain(m *testing.M) { testcluster.Main(m, audited, busy) }

// workers take locks at the same time.
const workers = 8

// rounds returns how often to do it; an environment variable asks for more than the few that every run takes.
func rounds(t *testing.T, variable string, few int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q is not a number of rounds", variable, text)
	}
	return n
}

// TestKillAll ends all three nodes with SIGKILL at one moment under load, again and again: every hold, lease and token that was
// acknowledged is there afterwards (invariants 2 and 5).
func TestKillAll(t *testing.T) {
	cluster := testcluster.StartProcesses(t, 3)
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), workers)
	defer stop()
	n := rounds(t, "LOCKD_KILLS", 3)
	for range n {
		<-l.next()
		cluster.Kill(0, 1, 2)
		for i := range 3 {
			cluster.Run(i)
		}
		cluster.WaitReady()
		l.check(t.Context(), t, reader)
	}
	<-l.next() // the workers go on
	stop()
	l.check(t.Context(), t, reader)
	t.Logf("%d kills of all nodes, %d grants acknowledged", n, l.grants)
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "endurance", Layer: "process", Runs: int64(n), Operations: int64(l.grants), Command: fmt.Sprintf("make endurance KILLS=%d", n),
	}, map[string]int64{"kill of all nodes": int64(n)})...)
}
