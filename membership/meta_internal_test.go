package membership

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/memberlist"
)

func sampleMeta() Meta {
	return Meta{
		Peer: Peer{Node: 0x1122334455667788, Incarnation: 0x99aabbccddeeff00}, Cluster: ClusterID{1, 2, 3}, Name: "n1", Raft: "10.0.0.1:7401",
		Client: "10.0.0.1:7400", Zone: "east", Build: "v1.0.0", FormatMin: 1, FormatMax: 3, NonVoter: true, LowDisk: true, Expect: 5,
		Primary: KeyID{8, 8}, Keys: []KeyID{{8, 8}, {9, 9}},
	}
}

// The bytes on the wire stay what they are: other releases read them.
func TestMetaGolden(t *testing.T) {
	m := sampleMeta()
	got := hex.EncodeToString(m.encode()) + "\n"
	path := filepath.Join("testdata", "meta.golden")
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("encoded %s want %s", got, want)
	}
}

func TestMetaRoundTrip(t *testing.T) {
	largest := sampleMeta()
	largest.Name, largest.Raft, largest.Client = strings.Repeat("n", maxMetaName), strings.Repeat("r", maxMetaAddress), strings.Repeat("c", maxMetaAddress)
	largest.Zone, largest.Build = strings.Repeat("z", maxMetaText), strings.Repeat("b", maxMetaText)
	largest.Keys = []KeyID{{8, 8}, {1}, {2}, {3}}
	for _, m := range []Meta{{}, sampleMeta(), largest} {
		b := m.encode()
		if len(b) > maxMeta || len(b) > memberlist.MetaMaxSize {
			t.Errorf("%d bytes, bounds are %d and %d", len(b), maxMeta, memberlist.MetaMaxSize)
		}
		back, err := decodeMeta(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, back); d != "" {
			t.Error(d)
		}
		later, err := decodeMeta(append(b, "what a later version tells"...))
		if err != nil || !cmp.Equal(m, later) {
			t.Errorf("a longer one: %v", err)
		}
		for n := range len(b) {
			if _, err := decodeMeta(b[:n]); err == nil {
				t.Fatalf("%d of %d bytes were enough", n, len(b))
			}
		}
	}
	if b := largest.encode(); len(b) != maxMeta {
		t.Errorf("the largest has %d bytes, the bound says %d", len(b), maxMeta)
	}
}

func FuzzDecodeMeta(f *testing.F) {
	m := sampleMeta()
	f.Add(m.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		again, err := decodeMeta(m.encode())
		if err != nil || !bytes.Equal(again.encode(), m.encode()) {
			t.Errorf("%+v came back as %+v, %v", m, again, err)
		}
	})
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add(order{what: orderInstall, key: NewKey()}.encode())
	f.Add(order{what: orderRemove, id: KeyID{1}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := decodeOrder(b); err == nil && !bytes.Equal(o.encode(), b) {
			t.Errorf("%x came back as %x", b, o.encode())
		}
	})
}

func TestSuspectedLine(t *testing.T) {
	for text, want := range map[string]string{
		"[INFO] memberlist: Suspect 00ff has failed, no acks received": "00ff",
		"[INFO] memberlist: Marking 00ff as failed":                    "",
		"[WARN] memberlist: Suspect 00ff":                              "",
	} {
		name, ok := suspected(parseLine(text).text)
		if ok != (want != "") || ok && name != want {
			t.Errorf("%q: %q, %v", text, name, ok)
		}
	}
}
