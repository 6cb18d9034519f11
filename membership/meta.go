package membership

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hashicorp/memberlist"
)

// ClusterID names a cluster; zero for a node that belongs to none yet.
type ClusterID [16]byte

// String returns the ID in hexadecimal.
func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

// Peer is one life of a node: the node, and the incarnation that was drawn with its data directory.
type Peer struct {
	Node, Incarnation uint64
}

// name is what memberlist calls the peer. It is not the node's name: two nodes that were given the same one by mistake must both be
// seen, and a node that lost its directory is another peer.
func (p Peer) name() string { return fmt.Sprintf("%016x%016x", p.Node, p.Incarnation) }

// Meta is what a node tells of itself.
type Meta struct {
	Peer    Peer
	Cluster ClusterID
	Name    string // of the node, for people
	Raft    string // host:port of its Raft port
	Client  string // host:port of its client port
	Zone    string // where it stands, for people
	Build   string // its version, for people

	// Formats are the versions of log commands that the build can apply, from the first to the last.
	FormatMin, FormatMax uint16

	NonVoter bool  // it wants to stay a learner
	Joining  bool  // it is in no configuration yet, and asks to be
	LowDisk  bool  // its disk is nearly full
	Expect   uint8 // how many nodes it waits for to found a cluster; 0: it does not

	// Primary is the key that it encrypts with, Keys are all that it can decrypt with; empty without encryption. Both are set by
	// the package.
	Primary KeyID
	Keys    []KeyID
}

// Bounds of a Meta, so that the largest fits what memberlist carries.
const (
	maxMetaName    = 63
	maxMetaAddress = 80
	maxMetaText    = 31
	maxKeys        = 4

	metaVersion = 1
	// maxMeta is the length of the longest encoding.
	maxMeta = 2 + 16 + 16 + 5 + maxMetaName + 2*maxMetaAddress + 2*maxMetaText + 4 + 1 + 1 + 8*maxKeys
)

// A longer one would make memberlist panic.
const _ = uint(memberlist.MetaMaxSize - maxMeta)

const (
	flagNonVoter = 1 << iota
	flagJoining
	flagLowDisk
)

var errBadMeta = errors.New("bad metadata")

// Validate reports what of m is too long for gossip.
func (m *Meta) Validate() error {
	for _, f := range []struct {
		what, value string
		most        int
	}{
		{"name", m.Name, maxMetaName},
		{"Raft address", m.Raft, maxMetaAddress},
		{"client address", m.Client, maxMetaAddress},
		{"zone", m.Zone, maxMetaText},
		{"build", m.Build, maxMetaText},
	} {
		if len(f.value) > f.most {
			return fmt.Errorf("the %s %q has %d bytes; gossip carries %d", f.what, f.value, len(f.value), f.most)
		}
	}
	if len(m.Keys) > maxKeys {
		return fmt.Errorf("%d gossip keys; at most %d are kept at a time", len(m.Keys), maxKeys)
	}
	return nil
}

// encode needs a valid m.
func (m *Meta) encode() []byte {
	var flags byte
	for _, f := range []struct {
		set bool
		bit byte
	}{{m.NonVoter, flagNonVoter}, {m.Joining, flagJoining}, {m.LowDisk, flagLowDisk}} {
		if f.set {
			flags |= f.bit
		}
	}
	b := append(make([]byte, 0, maxMeta), metaVersion, flags)
	b = binary.LittleEndian.AppendUint64(b, m.Peer.Node)
	b = binary.LittleEndian.AppendUint64(b, m.Peer.Incarnation)
	b = append(b, m.Cluster[:]...)
	for _, s := range []string{m.Name, m.Raft, m.Client, m.Zone, m.Build} {
		b = append(append(b, byte(len(s))), s...)
	}
	b = binary.LittleEndian.AppendUint16(b, m.FormatMin)
	b = binary.LittleEndian.AppendUint16(b, m.FormatMax)
	b = append(b, m.Expect, byte(len(m.Keys)))
	if len(m.Keys) > 0 { // the primary key comes first
		b = append(b, m.Primary[:]...)
	}
	for _, k := range m.Keys {
		if k != m.Primary {
			b = append(b, k[:]...)
		}
	}
	return b
}

// decodeMeta reads what encode wrote, and ignores what a later version has put behind it.
func decodeMeta(b []byte) (m Meta, err error) {
	take := func(n int) []byte {
		if n > len(b) {
			err, b = errBadMeta, nil
			return make([]byte, n)
		}
		part := b[:n]
		b = b[n:]
		return part
	}
	if v := take(1)[0]; v == 0 {
		return Meta{}, fmt.Errorf("%w: version 0", errBadMeta)
	}
	flags := take(1)[0]
	m.NonVoter, m.Joining, m.LowDisk = flags&flagNonVoter != 0, flags&flagJoining != 0, flags&flagLowDisk != 0
	m.Peer.Node = binary.LittleEndian.Uint64(take(8))
	m.Peer.Incarnation = binary.LittleEndian.Uint64(take(8))
	copy(m.Cluster[:], take(len(m.Cluster)))
	for _, s := range []*string{&m.Name, &m.Raft, &m.Client, &m.Zone, &m.Build} {
		*s = string(take(int(take(1)[0])))
	}
	m.FormatMin = binary.LittleEndian.Uint16(take(2))
	m.FormatMax = binary.LittleEndian.Uint16(take(2))
	m.Expect = take(1)[0]
	keys := int(take(1)[0])
	if err == nil && keys > maxKeys {
		err = fmt.Errorf("%w: %d keys", errBadMeta, keys)
	}
	for i := 0; i < keys && err == nil; i++ {
		k := KeyID(take(len(KeyID{})))
		if i == 0 {
			m.Primary = k
		}
		m.Keys = append(m.Keys, k)
	}
	if err == nil {
		err = m.Validate()
	}
	if err != nil {
		return Meta{}, err
	}
	return m, nil
}
