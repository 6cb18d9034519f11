package wire_test

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

var rewrite = flag.Bool("rewrite", false, "write the golden bytes and the tables of the specification anew")

const goldenFile = "testdata/golden.txt"

// same reports whether two messages are the same to whoever gets them: an empty list and none are.
func same(a, b any) string { return cmp.Diff(a, b, cmpopts.EquateEmpty()) }

// TestGoldenBytes pins the bytes of every message. What stands in the file was sent by somebody and must be read for ever.
func TestGoldenBytes(t *testing.T) {
	var now strings.Builder
	for _, m := range examples() {
		fmt.Fprintf(&now, "%v %x\n", m.Type(), frame(t, m))
	}
	if *rewrite {
		if err := os.WriteFile(goldenFile, []byte(now.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(string(golden(t)), now.String()); diff != "" {
		t.Fatalf("the bytes of messages have changed (-golden +now); if that is meant, run with -rewrite:\n%s", diff)
	}
	all := strings.Split(strings.TrimSpace(now.String()), "\n")
	for i, m := range examples() {
		_, text, _ := strings.Cut(all[i], " ")
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		back, err := wire.Decode(wire.Type(raw[4]), raw[5:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := same(m, back); diff != "" {
			t.Errorf("decoded differently (-want +got):\n%s", diff)
		}
	}
}

// TestExamplesOfAll wants an example of every type there is, and of every type once.
func TestExamplesOfAll(t *testing.T) {
	seen := make(map[wire.Type]bool)
	for _, m := range examples() {
		if seen[m.Type()] {
			t.Errorf("two examples of %v", m.Type())
		}
		seen[m.Type()] = true
	}
	for i := range 256 {
		if typ := wire.Type(i); typ.String() != fmt.Sprintf("type 0x%02x", i) && !seen[typ] {
			t.Errorf("no example of %v", typ)
		}
	}
}

// TestCodesAndLimitsOfTheTable compares what is told on the wire with what the machines mean.
func TestCodesAndLimitsOfTheTable(t *testing.T) {
	for c := locktable.OK; c < locktable.Ignored; c++ {
		if got := wire.Code(c).String(); got != c.String() {
			t.Errorf("code %d is %q on the wire and %q in the table", c, got, c)
		}
	}
	for how := locktable.NotEnded; how <= locktable.Forgotten; how++ {
		if got := wire.How(how).String(); got != how.String() {
			t.Errorf("ending %d is %q on the wire and %q in the table", how, got, how)
		}
	}
	numbers := []struct{ what, wire, table any }{
		{"exclusive", wire.Exclusive, locktable.Exclusive},
		{"shared", wire.Shared, locktable.Shared},
		{"slot", wire.Slot, locktable.Slot},
		{"valid", wire.Valid, locktable.Valid},
		{"stale", wire.Stale, locktable.Past},
		{"free", wire.Free, locktable.Free},
		{"renewed", wire.Renewed, session.Renewed},
		{"not renewed", wire.NotRenewed, session.NotRenewed},
		{"ended", wire.Ended, session.Unknown},
		{"forever", uint64(wire.Forever), uint64(locktable.Forever)},
		{"metadata", wire.MetadataMax, session.MetadataMax},
		{"window", wire.WindowMax, session.WindowMax},
	}
	for _, n := range numbers {
		if fmt.Sprintf("%d", n.wire) != fmt.Sprintf("%d", n.table) {
			t.Errorf("%v is %d on the wire and %d in the table", n.what, n.wire, n.table)
		}
	}
}

// TestLargestCommandFits wants room for every command that the lock table accepts: in its message, and in a Forward.
func TestLargestCommandFits(t *testing.T) {
	names := make([]string, locktable.NamesMax)
	seen := make([]uint64, locktable.SeenMax)
	for i := range names {
		names[i] = fmt.Sprintf("%02d%s", i, strings.Repeat("n", locktable.NameMax-2))
		seen[i] = 1<<64 - 1
	}
	value, metadata := make([]byte, locktable.ValueMax), make([]byte, session.MetadataMax)
	frame(t, &wire.Acquire{Request: wire.Request{Seen: seen}, Names: names, Value: value, Metadata: metadata})
	data := locktable.Encode(&locktable.Acquire{
		Request: locktable.Request{Seen: seen}, Names: names, Value: value, Metadata: metadata, Wait: locktable.Forever,
	})
	frame(t, &wire.Forward{Commands: []wire.Command{{Data: data}}})
}

func golden(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// frame returns the bytes of a message.
func frame(t testing.TB, m wire.Message) []byte {
	t.Helper()
	b, err := wire.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
