package membership

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSeed(t *testing.T) {
	for text, want := range map[string]string{
		"n1":                        "n1:7402",
		" 10.0.0.1:99 ":             "10.0.0.1:99",
		"::1":                       "[::1]:7402",
		"[::1]:99":                  "[::1]:99",
		"dns+lockd.svc:99":          "dns+lockd.svc:99",
		"dns+lockd.svc":             "dns+lockd.svc:7402",
		"srv+_lockd._tcp.example":   "srv+_lockd._tcp.example",
		"file:///etc/lockd/seeds":   "file:///etc/lockd/seeds",
		"":                          "!none of",
		"dns+":                      "!none of",
		"srv+":                      "!names no service",
		"http://n1:7402":            "!none of",
		"n1:0":                      "!no number from 1 to 65535",
		"n1:x":                      "!no number from 1 to 65535",
		"n1:65536":                  "!no number from 1 to 65535",
		"file://relative":           "!whole path",
		"a b":                       "!none of",
		"exec+/usr/local/bin/seeds": "!none of",
	} {
		s, err := ParseSeed(text)
		if bad, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), bad) {
				t.Errorf("%q: %v, %v; want an error with %q", text, s, err, bad)
			}
			continue
		}
		if err != nil || s.String() != want {
			t.Errorf("%q: %v, %v; want %s", text, s, err, want)
		}
		if again, err := ParseSeed(want); err != nil || again != s {
			t.Errorf("%q is not read as it is written: %v, %v", want, again, err)
		}
	}
}

// names is a Resolver of what it holds.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) (list []netip.Addr, err error) {
	for _, a := range n[host] {
		list = append(list, netip.MustParseAddr(a))
	}
	if len(list) == 0 {
		err = fmt.Errorf("no such host %s", host)
	}
	return list, err
}

func (n names) LookupSRV(_ context.Context, _, _, name string) (string, []*net.SRV, error) {
	if name != "_lockd._tcp.example" {
		return "", nil, errors.New("no such service")
	}
	return "", []*net.SRV{{Target: "n1", Port: 11}, {Target: "gone", Port: 12}, {Target: "n2", Port: 13}}, nil
}

func TestResolveSeeds(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "seeds")
	if err := os.WriteFile(list, []byte("# ours\nn1:1\n\ndns+all # every one\nnobody\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loop := filepath.Join(dir, "loop")
	if err := os.WriteFile(loop, []byte("file://"+loop), 0o600); err != nil {
		t.Fatal(err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, maxSeedFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	known := names{"n1": {"10.0.0.1"}, "n2": {"10.0.0.2"}, "all": {"10.0.0.9", "10.0.0.3", "::ffff:10.0.0.4"}}
	for text, want := range map[string]string{
		"10.1.1.1":                "[10.1.1.1:7402]",
		"n1:5":                    "[10.0.0.1:5]",
		"all:5":                   "[10.0.0.3:5]",
		"dns+all:5":               "[10.0.0.3:5 10.0.0.4:5 10.0.0.9:5]",
		"srv+_lockd._tcp.example": "[10.0.0.1:11 10.0.0.2:13]",
		"file://" + list:          "[10.0.0.1:1 10.0.0.3:7402 10.0.0.4:7402 10.0.0.9:7402]",
		"nobody":                  "!no such host",
		"srv+x":                   "!no such service",
		"file:///nowhere":         "!no such file",
		"file://" + loop:          "!names no other file",
		"file://" + large:         "!more than",
	} {
		s, err := ParseSeed(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.resolve(t.Context(), known)
		if bad, ok := strings.CutPrefix(want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), bad) || !strings.Contains(err.Error(), text) {
				t.Errorf("%q: %v, %v; want an error with %q", text, got, err, bad)
			}
			continue
		}
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("%q: %v, %v; want %s", text, got, err, want)
		}
	}
}
