package membership

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// DefaultPort is the port of a seed that names none.
const DefaultPort = 7402

// maxSeeds bounds what a name or a file may resolve to.
const maxSeeds = 64

// Seed says where other nodes may be found:
//
//	host:port          a host name or an address; the port may be left out
//	dns+host:port      all addresses of a name, asked for anew at each attempt
//	srv+_lockd._tcp.example.org   what a SRV record lists, with its ports
//	file:///path       a file with one seed of the first two kinds on each line, read at each attempt; # begins a comment
type Seed struct {
	kind seedKind
	host string // or the path of a file
	port uint16
}

type seedKind byte

const (
	seedHost seedKind = iota
	seedDNS
	seedSRV
	seedFile
)

// ParseSeed reads one, in the form that Seed tells.
func ParseSeed(text string) (Seed, error) {
	text = strings.TrimSpace(text)
	if path, ok := strings.CutPrefix(text, "file://"); ok {
		if !strings.HasPrefix(path, "/") {
			return Seed{}, fmt.Errorf("seed %q: a file is named by its whole path, as in file:///etc/lockd/seeds", text)
		}
		return Seed{kind: seedFile, host: path}, nil
	}
	if name, ok := strings.CutPrefix(text, "srv+"); ok {
		if name == "" {
			return Seed{}, fmt.Errorf("seed %q names no service", text)
		}
		return Seed{kind: seedSRV, host: name}, nil
	}
	s := Seed{kind: seedHost, host: text, port: DefaultPort}
	if name, ok := strings.CutPrefix(text, "dns+"); ok {
		s.kind, s.host = seedDNS, name
	}
	if host, port, err := net.SplitHostPort(s.host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Seed{}, fmt.Errorf("seed %q: the port %q is no number from 1 to 65535", text, port)
		}
		s.host, s.port = host, uint16(n)
	}
	s.host = strings.Trim(s.host, "[]")
	if _, err := netip.ParseAddr(s.host); err != nil && strings.ContainsAny(s.host, ":/+ ") || s.host == "" {
		return Seed{}, fmt.Errorf("seed %q is none of host:port, dns+host:port, srv+service and file:///path", text)
	}
	return s, nil
}

// String returns the seed as ParseSeed reads it.
func (s Seed) String() string {
	at := net.JoinHostPort(s.host, strconv.Itoa(int(s.port)))
	switch s.kind {
	case seedFile:
		return "file://" + s.host
	case seedSRV:
		return "srv+" + s.host
	case seedDNS:
		return "dns+" + at
	default:
		return at
	}
}

// Resolver finds addresses of names. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error)
}

// Resolve returns the addresses that the seed stands for now, as the system's resolver tells.
func (s Seed) Resolve(ctx context.Context) ([]netip.AddrPort, error) {
	return s.resolve(ctx, net.DefaultResolver)
}

// resolve returns the addresses that a seed stands for now, at most maxSeeds.
func (s Seed) resolve(ctx context.Context, r Resolver) (found []netip.AddrPort, err error) {
	switch s.kind {
	case seedFile:
		found, err = resolveFile(ctx, r, s.host)
	case seedSRV:
		found, err = resolveSRV(ctx, r, s.host)
	default:
		found, err = resolveHost(ctx, r, s.host, s.port)
		if s.kind == seedHost && len(found) > 1 {
			found = found[:1] // one host, reachable over any of its addresses
		}
	}
	if err != nil {
		return nil, fmt.Errorf("seed %s: %w", s, err)
	}
	return found[:min(len(found), maxSeeds)], nil
}

func resolveHost(ctx context.Context, r Resolver, host string, port uint16) ([]netip.AddrPort, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), port)}, nil
	}
	list, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var found []netip.AddrPort
	for _, a := range list {
		found = append(found, netip.AddrPortFrom(a.Unmap(), port))
	}
	slices.SortFunc(found, netip.AddrPort.Compare) // the resolver's order is another one each time
	return found, nil
}

func resolveSRV(ctx context.Context, r Resolver, name string) (found []netip.AddrPort, err error) {
	_, list, err := r.LookupSRV(ctx, "", "", name)
	if err != nil {
		return nil, err
	}
	for _, s := range list[:min(len(list), maxSeeds)] {
		at, e := resolveHost(ctx, r, s.Target, s.Port)
		if e != nil {
			err = e
			continue
		}
		found = append(found, at...)
	}
	if len(found) > 0 {
		err = nil
	}
	return found, err
}

// maxSeedFile bounds what is read of a file of seeds.
const maxSeedFile = 64 << 10

func resolveFile(ctx context.Context, r Resolver, path string) (found []netip.AddrPort, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(text) > maxSeedFile {
		return nil, fmt.Errorf("the file has %d bytes, more than %d", len(text), maxSeedFile)
	}
	for i, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		s, e := ParseSeed(line)
		if e == nil && s.kind == seedFile {
			e = fmt.Errorf("a file of seeds names no other file")
		}
		var at []netip.AddrPort
		if e == nil {
			at, e = s.resolve(ctx, r)
		}
		if e != nil {
			err = fmt.Errorf("line %d: %w", i+1, e)
			continue
		}
		found = append(found, at...)
	}
	if len(found) > 0 {
		err = nil
	}
	return found, err
}
