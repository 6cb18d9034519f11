package locktable_test

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// TestGoldenCommands pins the bytes of every command. A change here is a new command version, or a cluster that cannot be upgraded.
func TestGoldenCommands(t *testing.T) {
	w := newWorld(t)
	w.clock, w.term = 7*time.Second, 3
	w.lives["S"] = session.Life{ID: id("session-of-S"), Index: 300}
	datadriven.RunTest(t, "testdata/golden/commands.txt", func(t *testing.T, d *datadriven.TestData) string {
		w.t = t
		cmd := w.command(parse(d.Input))
		data := locktable.Encode(cmd)
		back, err := locktable.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(cmd, back, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("decoded differently (-want +got):\n%s", diff)
		}
		locktable.SetStamp(data, w.clock)
		return hex.EncodeToString(data) + "\n"
	})
}

// TestGoldenRecords pins the bytes of every kind of record. A change here is a new record version, or a checkpoint that cannot be read.
func TestGoldenRecords(t *testing.T) {
	w := newWorld(t)
	datadriven.RunTest(t, "testdata/golden/records.txt", func(t *testing.T, d *datadriven.TestData) string {
		w.t = t
		for line := range strings.SplitSeq(d.Input, "\n") {
			w.line(line)
		}
		all := w.table.All()
		out := fmt.Sprintf("meta %x\nhash %s of %d\n", all.Meta, all.Hash, all.Count)
		for _, r := range all.Records {
			out += fmt.Sprintf("%c %x\n  %x\n", r.Key[0], r.Key[1:], r.Value)
		}
		return out
	})
}

// goldenBytes returns the lines of a golden file that are hexadecimal: the seeds of the fuzzers.
func goldenBytes(t testing.TB, file string) (all [][]byte) {
	t.Helper()
	text, err := os.ReadFile("testdata/golden/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(text), "\n") {
		if b, err := hex.DecodeString(strings.TrimSpace(line)); err == nil && len(b) > 8 {
			all = append(all, b)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no bytes", file)
	}
	return all
}
