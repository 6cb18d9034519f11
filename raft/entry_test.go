package raft_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/lockd/lockd/raft"
)

// The bytes of the formats, version 1. They lie on disks and cross the wire between versions: they never change.
const (
	goldenEntry  = "21000000" + "0831138f" + "0700000000000000" + "0300000000000000" + "01" + "02" + "636f6d6d616e64"
	goldenConfig = "01" +
		"02" + "0100000000000000" + "0000000000000000" + "03" + "613a31" + "0200000000000000" + "0b00000000000000" + "00" +
		"01" + "0300000000000000" + "0000000000000000" + "00" +
		"01" + "0400000000000000" + "0000000000000000" + "00"
	goldenMark = "01" + "0900000000000000" + "0300000000000000" + "0700000000000000" + goldenConfig
)

var (
	someEntry  = raft.NewEntry(raft.Position{Index: 7, Term: 3}, raft.KindCommand, []byte("command"))
	someConfig = raft.Config{
		Index:    7,
		Voters:   []raft.Peer{{ID: raft.PeerID{Node: 1}, Address: "a:1"}, {ID: raft.PeerID{Node: 2, Incarnation: 11}}},
		Outgoing: []raft.Peer{{ID: raft.PeerID{Node: 3}}},
		Learners: []raft.Peer{{ID: raft.PeerID{Node: 4}}},
	}
	someMark = raft.Mark{Position: raft.Position{Index: 9, Term: 3}, Config: someConfig}
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEntryGoldenBytes(t *testing.T) {
	if got := hex.EncodeToString(someEntry.Bytes()); got != goldenEntry {
		t.Errorf("the entry is\n%s, want\n%s", got, goldenEntry)
	}
	e, rest, err := raft.ParseEntry(unhex(t, goldenEntry+"aa"))
	if err != nil || !bytes.Equal(rest, []byte{0xaa}) || !bytes.Equal(e.Bytes(), someEntry.Bytes()) {
		t.Errorf("read %v, rest %x, %v", e, rest, err)
	}
}

func TestConfigGoldenBytes(t *testing.T) {
	if got := hex.EncodeToString(someConfig.AppendBinary(nil)); got != goldenConfig {
		t.Errorf("the configuration is\n%s, want\n%s", got, goldenConfig)
	}
	c, err := raft.DecodeConfig(7, unhex(t, goldenConfig))
	if diff := cmp.Diff(someConfig, c); diff != "" || err != nil {
		t.Errorf("read %v:\n%s", err, diff)
	}
}

func TestMarkGoldenBytes(t *testing.T) {
	if got := hex.EncodeToString(someMark.AppendBinary(nil)); got != goldenMark {
		t.Errorf("the mark is\n%s, want\n%s", got, goldenMark)
	}
	m, err := raft.DecodeMark(unhex(t, goldenMark))
	if diff := cmp.Diff(someMark, m); diff != "" || err != nil {
		t.Errorf("read %v:\n%s", err, diff)
	}
}

// TestEntryRoundTrip also requires that entries behind each other are read one by one.
func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b []byte
		var want []raft.Entry
		for range rapid.IntRange(1, 5).Draw(t, "entries") {
			at := raft.Position{
				Index: raft.Index(rapid.Uint64Min(1).Draw(t, "index")),
				Term:  raft.Term(rapid.Uint64Min(1).Draw(t, "term")),
			}
			kind := raft.Kind(rapid.IntRange(1, 3).Draw(t, "kind"))
			data := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(t, "data")
			e := raft.NewEntry(at, kind, data)
			if e.Position() != at || e.Kind() != kind || !bytes.Equal(e.Data(), data) || e.Size() != len(e.Bytes()) {
				t.Fatalf("made %v of %v %v %x", e, at, kind, data)
			}
			want = append(want, e)
			b = raft.AppendEntry(b, at, kind, data)
		}
		for i, w := range want {
			e, rest, err := raft.ParseEntry(b)
			if err != nil || !bytes.Equal(e.Bytes(), w.Bytes()) {
				t.Fatalf("entry %d: read %v, %v, want %v", i, e, err, w)
			}
			b = rest
		}
		if len(b) > 0 {
			t.Fatalf("%d bytes are left", len(b))
		}
	})
}

// TestEntryDamage flips every bit and cuts at every byte: nothing of it is taken for an entry. (Trap 27.)
func TestEntryDamage(t *testing.T) {
	good := someEntry.Bytes()
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if e, _, err := raft.ParseEntry(bad); !errors.Is(err, raft.ErrBadEntry) {
			t.Errorf("bit %d flipped: read %v, %v", bit, e, err)
		}
	}
	for n := range len(good) {
		if e, _, err := raft.ParseEntry(good[:n]); !errors.Is(err, raft.ErrBadEntry) {
			t.Errorf("cut at %d: read %v, %v", n, e, err)
		}
	}
}

// TestEntryRefused lists what has a right sum and is no entry all the same.
func TestEntryRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(b []byte)
		want   string
	}{
		{"another version", func(b []byte) { b[24] = 2 }, "version 2"},
		{"unknown kind", func(b []byte) { b[25] = 9 }, "kind(9)"},
		{"kind zero", func(b []byte) { b[25] = 0 }, "kind(0)"},
		{"index zero", func(b []byte) { clear(b[8:16]) }, "index 0"},
		{"term zero", func(b []byte) { clear(b[16:24]) }, "term 0"},
		{"enormous", func(b []byte) { binary.LittleEndian.PutUint32(b, 1<<31) }, "length"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := bytes.Clone(someEntry.Bytes())
			c.change(b)
			binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:], crc32.MakeTable(crc32.Castagnoli)))
			if _, _, err := raft.ParseEntry(b); !errors.Is(err, raft.ErrBadEntry) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v; it does not say %q", err, c.want)
			}
		})
	}
}

func TestConfigRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		peers := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) raft.Peer {
			return raft.Peer{
				ID:      raft.PeerID{Node: raft.NodeID(rapid.Uint64Min(1).Draw(t, "node")), Incarnation: rapid.Uint64().Draw(t, "incarnation")},
				Address: string(rapid.SliceOfN(rapid.Byte(), 0, raft.MaxAddressBytes).Draw(t, "address")),
			}
		}), 1, 20, func(p raft.Peer) raft.NodeID { return p.ID.Node }).Draw(t, "peers")
		voters := rapid.IntRange(1, min(len(peers), raft.MaxVoters)).Draw(t, "voters")
		c := raft.Config{Index: 5, Voters: peers[:voters], Learners: peers[voters:]}
		if len(c.Learners) == 0 {
			c.Learners = nil
		}
		if rapid.Bool().Draw(t, "joint") {
			c.Outgoing = peers[:rapid.IntRange(1, voters).Draw(t, "outgoing")]
		}
		got, err := raft.DecodeConfig(5, c.AppendBinary(nil))
		if diff := cmp.Diff(c, got); diff != "" || err != nil {
			t.Fatalf("read %v:\n%s", err, diff)
		}
	})
}

func TestConfigRefused(t *testing.T) {
	peers := func(nodes ...raft.NodeID) (list []raft.Peer) {
		for _, n := range nodes {
			list = append(list, raft.Peer{ID: raft.PeerID{Node: n}})
		}
		return list
	}
	var many []raft.Peer
	for n := range raft.MaxPeers {
		many = append(many, peers(raft.NodeID(n+10))...)
	}
	for _, c := range []struct {
		name   string
		config raft.Config
		want   string
	}{
		{"no voters", raft.Config{Learners: peers(1)}, "no voters"},
		{"a node without an id", raft.Config{Voters: peers(1, 0)}, "without an id"},
		{"twice", raft.Config{Voters: peers(1, 2, 1)}, "node 1 twice"},
		{"two lives of a node", raft.Config{Voters: []raft.Peer{{ID: raft.PeerID{Node: 1}}, {ID: raft.PeerID{Node: 1, Incarnation: 1}}}}, "node 1 twice"},
		{"voter and learner", raft.Config{Voters: peers(1, 2), Learners: peers(2)}, "voter and learner"},
		{"too many voters", raft.Config{Voters: many[:raft.MaxVoters+1]}, "more than 15 voters"},
		{"too many peers", raft.Config{Voters: peers(1), Learners: many}, "257 peers"},
		{"long address", raft.Config{Voters: []raft.Peer{{ID: raft.PeerID{Node: 1}, Address: strings.Repeat("a", 256)}}}, "longer than 255"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.config.Validate(); !errors.Is(err, raft.ErrBadConfig) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v; it does not say %q", err, c.want)
			}
		})
	}
}

func TestCutConfigAndMark(t *testing.T) {
	config, mark := someConfig.AppendBinary(nil), someMark.AppendBinary(nil)
	for n := range len(config) {
		if _, err := raft.DecodeConfig(1, config[:n]); !errors.Is(err, raft.ErrBadConfig) {
			t.Errorf("configuration cut at %d: %v", n, err)
		}
	}
	for n := range len(mark) {
		if _, err := raft.DecodeMark(mark[:n]); !errors.Is(err, raft.ErrBadMark) {
			t.Errorf("mark cut at %d: %v", n, err)
		}
	}
	if _, err := raft.DecodeConfig(1, append(config, 0)); !errors.Is(err, raft.ErrBadConfig) {
		t.Errorf("configuration with a byte too many: %v", err)
	}
}

// FuzzParseEntry: what is read as an entry is written as the same bytes.
func FuzzParseEntry(f *testing.F) {
	f.Add(unhex(f, goldenEntry))
	f.Add(unhex(f, goldenEntry+goldenEntry))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, rest, err := raft.ParseEntry(b)
		if err != nil {
			if !errors.Is(err, raft.ErrBadEntry) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if again := raft.AppendEntry(nil, e.Position(), e.Kind(), e.Data()); !bytes.Equal(append(again, rest...), b) {
			t.Fatalf("%x was read as %v", b, e)
		}
	})
}

// FuzzDecodeConfig: what is read as a configuration is valid, and is written as one that is read as the same.
func FuzzDecodeConfig(f *testing.F) {
	f.Add(unhex(f, goldenConfig))
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := raft.DecodeConfig(3, b)
		if err != nil {
			if !errors.Is(err, raft.ErrBadConfig) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		again, err := raft.DecodeConfig(3, c.AppendBinary(nil))
		if diff := cmp.Diff(c, again); diff != "" || err != nil || c.Validate() != nil {
			t.Fatalf("%v, %v:\n%s", err, c.Validate(), diff)
		}
	})
}

// FuzzDecodeMark: as FuzzDecodeConfig.
func FuzzDecodeMark(f *testing.F) {
	f.Add(unhex(f, goldenMark))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := raft.DecodeMark(b)
		if err != nil {
			if !errors.Is(err, raft.ErrBadMark) {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		again, err := raft.DecodeMark(m.AppendBinary(nil))
		if diff := cmp.Diff(m, again); diff != "" || err != nil {
			t.Fatalf("%v:\n%s", err, diff)
		}
	})
}
