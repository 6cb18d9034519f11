package rafttest

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// RunScripts runs every script (*.txt) of a directory as a subtest that bears the file's name without its ending. A
// script drives real engines, one for each node, with a network, disks and clocks that move only as it says, and shows
// all they do; `go test -rewrite` writes the present outcome into it. The same script always shows the same.
//
// A script is read by people. Its commands, with N, M for nodes (3, or 3.1 for the second life of node 3's disk):
//
//	cluster voters=1,2,3 [learners=4] [spare=5] [heartbeat=60ms] [inflight=n] [inflight-bytes=n] [append-bytes=n]
//	        [uncommitted=n] [cache=n] [keep=n] [stall=2s]    begin; spare nodes have an empty disk
//
//	propose N x [term=2] [own] [n=3] [size=100]   propose x (or x1 to x3), padded to a size; own: as the leader's own
//	read N a                                 read on a node, under a name
//	reconfigure N voters=1,2 [learners=4] [base=7]
//	transfer N [to=M]
//	suspect N of=M                           a hint that M's process is gone
//
//	deliver [from=N] [to=M] [type=append] [n=1] [together]   hand over messages; together: in one turn of the receiver
//	drop, duplicate, hold, release           the same messages: lose, copy, put aside, put back
//	reverse                                  turn the order of the messages around
//	network                                  show what is on its way
//	cut N -> M, cut N -- M, isolate N, heal [N -- M]   break and mend links
//	settle [all]                             deliver and finish everything, until nothing moves
//
//	manual disk|apply|snapshots|fetches [N …]   from now on, wait for persist, apply, stream, fetch
//	auto disk|apply|snapshots|fetches [N …]
//	persist N [full|error]                   the disk finishes its write, finds no room, or fails
//	apply N                                  the state machine finishes its job
//	fetch N                                  entries that left memory have been read for a peer
//	stream N M [fail|lost|keep]              send a snapshot; lost: N never hears that it arrived; keep: for offer
//	offer M                                  the kept snapshot arrives again
//	checkpoint N                             the state machine makes its state durable
//	forget N                                 the state machine loses its durable state (N must be down)
//	damage N from=5                          the disk loses entries that were durable (N must be down)
//
//	tick 100ms                               time passes; who is due wakes, messages stay on their way
//	run 5s [all]                             time passes in a whole world: everything arrives at once
//	lapse 1s [N …]                           time passes and nobody wakes, as if the processes were stopped
//	wake N
//	campaign N                               time passes for N until it stands for election
//	elect N                                  N becomes leader; its first entry is replicated and applied
//	crash N [written=1]                      kill it; of the writes under way so many have reached the disk
//	restart N                                with what its disk held
//	wipe N as=N.1                            N's disk is replaced: another peer on the same node
//
//	status [N …], peers N, log N, state N    roles and indices, a leader's view, the durable log, the state machine
//
// The test fails when two nodes lead one term, when two state machines apply different entries at one index, or when a
// disk holds two votes in one term, whatever the script expects.
func RunScripts(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			w := newScriptWorld()
			datadriven.RunTest(t, file, func(t *testing.T, d *datadriven.TestData) string {
				t.Helper()
				out := w.do(d)
				for _, v := range w.violations {
					t.Errorf("%s: %s", d.Pos, v)
				}
				return out
			})
		})
	}
}

// scriptCommands are the words of the language. A command returns its own answer; what the nodes do goes to w.out.
var scriptCommands = map[string]func(w *scriptWorld, a scriptArgs) error{
	"cluster":     (*scriptWorld).cluster,
	"propose":     (*scriptWorld).propose,
	"read":        (*scriptWorld).read,
	"reconfigure": (*scriptWorld).reconfigure,
	"transfer":    (*scriptWorld).transfer,
	"suspect":     (*scriptWorld).suspect,
	"deliver":     (*scriptWorld).deliver,
	"drop":        (*scriptWorld).drop,
	"duplicate":   (*scriptWorld).duplicate,
	"hold":        (*scriptWorld).hold,
	"release":     (*scriptWorld).release,
	"reverse":     (*scriptWorld).reverse,
	"network":     (*scriptWorld).network,
	"cut":         (*scriptWorld).cut,
	"isolate":     (*scriptWorld).isolate,
	"heal":        (*scriptWorld).heal,
	"settle":      (*scriptWorld).settle,
	"manual":      (*scriptWorld).manual,
	"auto":        (*scriptWorld).auto,
	"persist":     (*scriptWorld).persist,
	"apply":       (*scriptWorld).apply,
	"fetch":       (*scriptWorld).fetch,
	"stream":      (*scriptWorld).stream,
	"offer":       (*scriptWorld).offer,
	"checkpoint":  (*scriptWorld).checkpoint,
	"forget":      (*scriptWorld).forget,
	"damage":      (*scriptWorld).damage,
	"tick":        (*scriptWorld).tick,
	"run":         (*scriptWorld).run,
	"lapse":       (*scriptWorld).lapse,
	"wake":        (*scriptWorld).wake,
	"campaign":    (*scriptWorld).campaign,
	"elect":       (*scriptWorld).elect,
	"crash":       (*scriptWorld).crash,
	"restart":     (*scriptWorld).restart,
	"wipe":        (*scriptWorld).wipe,
	"status":      (*scriptWorld).status,
	"peers":       (*scriptWorld).peers,
	"log":         (*scriptWorld).log,
	"state":       (*scriptWorld).state,
}

// do runs one command and returns what it shows.
func (w *scriptWorld) do(d *datadriven.TestData) string {
	w.out.Reset()
	command, ok := scriptCommands[d.Cmd]
	if !ok {
		return fmt.Sprintf("unknown command %q", d.Cmd)
	}
	w.brief, w.indent = false, ""
	if err := command(w, scriptArgs{d}); err != nil {
		w.printf("error: %v", err)
	}
	if w.out.Len() == 0 {
		return "ok"
	}
	return w.out.String()
}
