package tcp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/raft"
)

var compareEntries = cmp.Comparer(func(a, b raft.Entry) bool { return bytes.Equal(a.Bytes(), b.Bytes()) })

// filled returns a message of the type of body whose fields are all different and not zero, so that a field that the
// codec forgets or exchanges is found.
func filled(body raft.Body) raft.Message {
	next := uint64(0x0102030405060708)
	v := reflect.New(reflect.TypeOf(body)).Elem()
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Uint64:
			v.SetUint(next)
			next += 0x0101
		case reflect.Struct:
			for _, field := range v.Fields() {
				fill(field)
			}
		case reflect.Slice: // entries, which must fit the rest
		default:
			panic(fmt.Sprintf("a field of kind %v", v.Kind()))
		}
	}
	fill(v)
	m := raft.Message{Term: 1 << 63}
	m.Body, _ = reflect.TypeAssert[raft.Body](v)
	if a, ok := m.Body.(raft.Append); ok {
		a.Entries = []raft.Entry{
			raft.NewEntry(raft.Position{Index: a.Prev.Index + 1, Term: a.Prev.Term}, raft.KindNoop, nil),
			raft.NewEntry(raft.Position{Index: a.Prev.Index + 2, Term: a.Prev.Term + 1}, raft.KindCommand, []byte("data")),
		}
		m.Body = a
	}
	return m
}

// wireBodies is every body that crosses the wire.
var wireBodies = []raft.Body{
	raft.Append{},
	raft.AppendReply{},
	raft.Heartbeat{},
	raft.HeartbeatReply{},
	raft.Vote{},
	raft.VoteReply{},
	raft.TimeoutNow{},
	raft.ReadIndex{},
	raft.ReadIndexReply{},
}

func mustEncode(tb testing.TB, m raft.Message) []byte {
	tb.Helper()
	b, err := appendMessage(nil, &m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// decodeStream reads frames of messages up to the end of b.
func decodeStream(b []byte, buffer int) (ms []raft.Message, err error) {
	r := newFrameReader(bytes.NewReader(b), buffer, maxFrameBytes)
	for {
		f, err := r.next()
		if errors.Is(err, io.EOF) {
			return ms, nil
		}
		if err != nil {
			return ms, err
		}
		m, err := decodeMessage(f)
		if err != nil {
			return ms, err
		}
		ms = append(ms, m)
	}
}

func TestCodecRoundTrip(t *testing.T) {
	var stream []byte
	var want []raft.Message
	for _, body := range wireBodies {
		for _, m := range []raft.Message{filled(body), {Term: 1, Body: body}} {
			b := mustEncode(t, m)
			if got := messageBytes(&m); got < len(b) {
				t.Errorf("%T: messageBytes is %d for %d bytes", body, got, len(b))
			}
			stream, want = append(stream, b...), append(want, m)
		}
	}
	for _, buffer := range []int{16, 64, readBuffer} {
		got, err := decodeStream(stream, buffer)
		if err != nil {
			t.Fatalf("buffer of %d: %v", buffer, err)
		}
		if diff := cmp.Diff(want, got, compareEntries); diff != "" {
			t.Errorf("buffer of %d: %s", buffer, diff)
		}
	}
}

// TestEveryBoolHasItsBit: bools that share a byte are told apart.
func TestEveryBoolHasItsBit(t *testing.T) {
	for _, body := range wireBodies {
		for i := range reflect.TypeOf(body).NumField() {
			v := reflect.New(reflect.TypeOf(body)).Elem()
			if v.Field(i).Kind() != reflect.Bool {
				continue
			}
			v.Field(i).SetBool(true)
			var m raft.Message
			m.Body, _ = reflect.TypeAssert[raft.Body](v)
			got, err := decodeStream(mustEncode(t, m), readBuffer)
			if diff := cmp.Diff([]raft.Message{m}, got); diff != "" || err != nil {
				t.Errorf("%s error %v", diff, err)
			}
		}
	}
}

// TestInstallDoesNotCrossTheWire: it is made by the receiving node.
func TestInstallDoesNotCrossTheWire(t *testing.T) {
	for _, body := range []raft.Body{raft.Install{}, nil} {
		before := []byte("x")
		if b, err := appendMessage(before, &raft.Message{Body: body}); err == nil || string(b) != "x" {
			t.Errorf("%T: encoded as %q, error %v", body, b, err)
		}
	}
}

// TestWireFormat fixes the bytes of the protocol: a change of the golden file is a change of the version.
func TestWireFormat(t *testing.T) {
	var b strings.Builder
	for _, body := range wireBodies {
		fmt.Fprintf(&b, "%T\n%s", body, hex.Dump(mustEncode(t, filled(body))))
	}
	h := hello{purpose: forSnapshot, cluster: testCluster, from: peerA, to: peerB, boot: 0x0102030405060708, reply: "host:7401"}
	fmt.Fprintf(&b, "hello\n%s", hex.Dump(h.encode()))
	by := Identity{Cluster: testCluster, ID: peerB, Boot: 7, Status: Status{Empty: true, Detail: []byte("detail")}}
	a := answer{code: CodeClone, reason: "reason", by: by}
	fmt.Fprintf(&b, "answer\n%s", hex.Dump(a.encode()))
	fmt.Fprintf(&b, "snapshot\n%s", hex.Dump(encodeStream(t, []byte("the data"))))
	fmt.Fprintf(&b, "verdict\n%s", hex.Dump(encodeVerdict(errors.New("no"))))
	golden := filepath.Join("testdata", "wire.golden")
	if os.Getenv("REWRITE") != "" {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the wire format has changed (REWRITE=1 accepts it): %s", diff)
	}
}

// TestBadAppends: entries that do not fit their frame, their place or their term are refused before the core sees them.
func TestBadAppends(t *testing.T) {
	entry := func(index raft.Index, term raft.Term) raft.Entry {
		return raft.NewEntry(raft.Position{Index: index, Term: term}, raft.KindCommand, []byte("data"))
	}
	encode := func(term raft.Term, entries ...raft.Entry) []byte {
		return mustEncode(t, raft.Message{Term: term, Body: raft.Append{Prev: raft.Position{Index: 5, Term: 2}, Entries: entries}})
	}
	damaged := encode(3, entry(6, 3), entry(7, 3))
	damaged[len(damaged)-1] ^= 1
	many := encode(3, entry(6, 3))
	many[frameHead+appendFixed-1] = 0xff
	trailing := encode(3, entry(6, 3))
	trailing[0]++
	trailing = append(trailing, 0)
	tests := []struct {
		name, want string
		frame      []byte
	}{
		{"sound", "", encode(3, entry(6, 2), entry(7, 3))},
		{"gap", "entry 2 of 2 is at {8 3}, after {6 2}", encode(3, entry(6, 2), entry(8, 3))},
		{"overlap", "entry 1 of 1 is at {5 2}, after {5 2}", encode(3, entry(5, 2))},
		{"falling term", "entry 2 of 2 is at {7 2}, after {6 3}", encode(3, entry(6, 3), entry(7, 2))},
		{"term of the future", "in term 3", encode(3, entry(6, 4))},
		{"damaged", "entry 2 of 2: raft: bad entry: checksum", damaged},
		{"count", "4278190081 entries do not fit", many},
		{"trailing", "does not fit", trailing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := decodeStream(test.frame, readBuffer)
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, errFrame) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got error %v, want %q", err, test.want)
			}
		})
	}
}

// TestFrameMemoryFollowsItsBytes: who only claims that a large frame follows gets no memory for it.
func TestFrameMemoryFollowsItsBytes(t *testing.T) {
	claim := appendFrameHead(nil, frameAppend, maxFrameBytes-1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := decodeStream(claim, 16); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 2*growStep {
		t.Errorf("%d bytes were allocated for a claim", n)
	}
	large := filled(raft.Append{})
	a := body[raft.Append](large)
	last := a.Entries[1].Position()
	for i := range raft.Index(5) {
		at := raft.Position{Index: last.Index + 1 + i, Term: last.Term}
		a.Entries = append(a.Entries, raft.NewEntry(at, raft.KindCommand, noise(raft.MaxDataBytes)))
	}
	large.Body = a
	ms, err := decodeStream(mustEncode(t, large), readBuffer)
	if diff := cmp.Diff([]raft.Message{large}, ms, compareEntries); diff != "" || err != nil {
		t.Errorf("a large frame came back differently, error %v", err)
	}
}

// TestEntriesOutliveTheBuffer: what was delivered stays as it is while the next frames are read.
func TestEntriesOutliveTheBuffer(t *testing.T) {
	first := command(peerA, peerB, 1, 10)
	second := command(peerA, peerB, 1, 10)
	second.Body = raft.Append{Entries: []raft.Entry{raft.NewEntry(raft.Position{Index: 1, Term: 1}, raft.KindCommand, []byte("0123456789"))}}
	got, err := decodeStream(append(mustEncode(t, first), mustEncode(t, second)...), 128)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.Body, got[0].Body, compareEntries); diff != "" {
		t.Error(diff)
	}
}
