package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Peer is a member of a Config.
type Peer struct {
	ID PeerID
	// Address is where the peer's transport listens; the core carries it and never reads it. At most MaxAddressBytes.
	Address string
}

// Config says who takes part in the log. It is in force from the moment its entry is in the log, committed or not
// (Ongaro's thesis, section 4.1). While Outgoing is not empty the configuration is joint: every decision needs a
// majority of Voters and a majority of Outgoing (section 4.3).
type Config struct {
	// Index is the entry that brought the configuration; it names the configuration in compare-and-set changes. It is
	// not part of the encoded form.
	Index    Index
	Voters   []Peer
	Outgoing []Peer
	Learners []Peer
}

// Limits of a configuration.
const (
	MaxVoters       = 15
	MaxPeers        = 256
	MaxAddressBytes = 255

	configVersion = 1
)

// ErrBadConfig is wrapped by the errors of Config.Validate and DecodeConfig.
var ErrBadConfig = errors.New("raft: bad configuration")

// Joint reports whether decisions need two majorities.
func (c Config) Joint() bool { return len(c.Outgoing) > 0 }

// IsVoter reports whether id has a vote, in either half of a joint configuration.
func (c Config) IsVoter(id PeerID) bool { return hasPeer(c.Voters, id) || hasPeer(c.Outgoing, id) }

// Contains reports whether id takes part at all.
func (c Config) Contains(id PeerID) bool { return c.IsVoter(id) || hasPeer(c.Learners, id) }

// Peers returns every peer once, in the order of PeerID.
func (c Config) Peers() []Peer {
	all := slices.Concat(c.Voters, c.Outgoing, c.Learners)
	slices.SortStableFunc(all, func(a, b Peer) int { return a.ID.Compare(b.ID) })
	return slices.CompactFunc(all, func(a, b Peer) bool { return a.ID == b.ID })
}

// Validate reports what makes c unusable: no voter, a peer without an id, the same node twice in one list, too many.
func (c Config) Validate() error {
	if len(c.Voters) == 0 {
		return fmt.Errorf("%w: no voters", ErrBadConfig)
	}
	if len(c.Voters) > MaxVoters || len(c.Outgoing) > MaxVoters {
		return fmt.Errorf("%w: more than %d voters", ErrBadConfig, MaxVoters)
	}
	if n := len(c.Peers()); n > MaxPeers {
		return fmt.Errorf("%w: %d peers, at most %d", ErrBadConfig, n, MaxPeers)
	}
	for _, list := range [][]Peer{c.Voters, c.Outgoing, c.Learners} {
		for i, p := range list {
			if p.ID.Node == 0 {
				return fmt.Errorf("%w: a peer without an id", ErrBadConfig)
			}
			if len(p.Address) > MaxAddressBytes {
				return fmt.Errorf("%w: address of %v is longer than %d bytes", ErrBadConfig, p.ID, MaxAddressBytes)
			}
			if slices.ContainsFunc(list[:i], func(q Peer) bool { return q.ID.Node == p.ID.Node }) {
				return fmt.Errorf("%w: node %d twice", ErrBadConfig, p.ID.Node)
			}
		}
	}
	for _, p := range c.Learners {
		if hasPeer(c.Voters, p.ID) {
			return fmt.Errorf("%w: %v is voter and learner", ErrBadConfig, p.ID)
		}
	}
	return nil
}

// AppendBinary appends the encoded form of c, which does not hold the index.
func (c Config) AppendBinary(b []byte) []byte {
	b = append(b, configVersion)
	for _, list := range [][]Peer{c.Voters, c.Outgoing, c.Learners} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, p := range list {
			b = binary.LittleEndian.AppendUint64(b, uint64(p.ID.Node))
			b = binary.LittleEndian.AppendUint64(b, p.ID.Incarnation)
			b = append(b, byte(len(p.Address)))
			b = append(b, p.Address...)
		}
	}
	return b
}

// DecodeConfig reads what AppendBinary wrote and gives it the index of its entry. The error wraps ErrBadConfig.
func DecodeConfig(index Index, b []byte) (Config, error) {
	c := Config{Index: index}
	if len(b) == 0 || b[0] != configVersion {
		return Config{}, fmt.Errorf("%w: version is not %d", ErrBadConfig, configVersion)
	}
	b = b[1:]
	for _, list := range []*[]Peer{&c.Voters, &c.Outgoing, &c.Learners} {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > MaxPeers {
			return Config{}, fmt.Errorf("%w: bad number of peers", ErrBadConfig)
		}
		b = b[used:]
		for range n {
			p, rest, ok := decodePeer(b)
			if !ok {
				return Config{}, fmt.Errorf("%w: cut in a peer", ErrBadConfig)
			}
			*list, b = append(*list, p), rest
		}
	}
	if len(b) > 0 {
		return Config{}, fmt.Errorf("%w: %d bytes after the end", ErrBadConfig, len(b))
	}
	return c, c.Validate()
}

func decodePeer(b []byte) (p Peer, rest []byte, ok bool) {
	const fixed = 8 + 8 + 1
	if len(b) < fixed || len(b) < fixed+int(b[fixed-1]) {
		return Peer{}, nil, false
	}
	end := fixed + int(b[fixed-1])
	p.ID = PeerID{NodeID(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint64(b[8:])}
	p.Address = string(b[fixed:end])
	return p, b[end:], true
}

func hasPeer(list []Peer, id PeerID) bool {
	return slices.ContainsFunc(list, func(p Peer) bool { return p.ID == id })
}
