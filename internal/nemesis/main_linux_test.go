package nemesis

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/lockd/lockd/internal/clockskew"
	"github.com/lockd/lockd/internal/history"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

// auditEnv names the file in which a node writes what it applies.
const auditEnv = "LOCKD_TEST_AUDIT"

// TestMain runs the tests, or the worker or the node that this process was started as.
func TestMain(m *testing.M) {
	text, ok := os.LookupEnv(workerEnv)
	if !ok {
		testcluster.Main(m, audited)
		return
	}
	if err := runWorker(context.Background(), text, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// audited lets a node write down what it applies, and be told how its clocks go.
func audited(c *lockd.Config) error {
	auditor, err := history.OpenAuditor(os.Getenv(auditEnv), c.Name)
	if err != nil {
		return err
	}
	c.Applied = func(e lockd.Entry) {
		auditor.Applied(e)
	}
	go func() { _ = serveClock(clockskew.Set) }()
	return nil
}
