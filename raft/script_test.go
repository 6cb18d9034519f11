package raft_test

import (
	"testing"

	"github.com/lockd/lockd/raft/rafttest"
)

// TestScripts runs the scenarios of testdata. Names that begin with trap or S, L, A and a number are the schedules that
// docs/TESTING.md lists.
func TestScripts(t *testing.T) {
	rafttest.RunScripts(t, "testdata")
}
