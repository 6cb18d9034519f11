package lockd

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/raft"
)

// home is what a node must not forget: on a disk, or in memory. It has one owner at a time.
type home interface {
	// load returns who lives here; the zero identity, if nobody has yet.
	load() (identity, error)
	// save makes an identity durable.
	save(id identity) error
	// openStore opens the checkpoint, which the caller closes. Of who still looks for a cluster it makes another one: what there may be
	// is of a founding that did not come to its end.
	openStore(id identity, log *slog.Logger) (checkpoint.Store, error)
	// openLog opens the log of a founded identity, and makes another in the place of what there may be for one that is not.
	openLog(id identity) (raft.Storage, error)
	close() error
}

// identityFormat is the version of everything in a home, but for what has versions of its own.
const identityFormat = 1

// identity says who a node is, and to which cluster it belongs.
type identity struct {
	Format      int         `json:"format"`
	ClusterName string      `json:"cluster_name"`
	Name        string      `json:"name"`
	Members     []Member    `json:"members"`     // sorted; empty for a cluster of one node
	ID          raft.NodeID `json:"id"`          // follows from the names
	Incarnation uint64      `json:"incarnation"` // drawn with the home: whoever loses it is another peer
	Nonce       nonce       `json:"nonce"`       // makes the cluster another one than its list alone would
	Founded     bool        `json:"founded"`     // there is a log, and the node may have voted
	Restored    *restored   `json:"restored,omitempty"`

	// Of a node that has no list:
	Joins     bool      `json:"joins,omitempty"`     // it looks for its cluster, or has found it; its ID was drawn
	ClusterID clusterID `json:"cluster_id,omitzero"` // of its cluster, once it has one
	Promise   *promise  `json:"promise,omitempty"`   // the founding that it takes part in, until it has a cluster
	Admitted  bool      `json:"admitted,omitempty"`  // a configuration has named it: it does not ask to be let in any more
}

// clusterID names a cluster that does not follow from a list; zero for no cluster.
type clusterID [16]byte

// MarshalText implements encoding.TextMarshaler.
func (c clusterID) MarshalText() ([]byte, error) { return nonce(c).MarshalText() }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *clusterID) UnmarshalText(text []byte) error { return (*nonce)(c).UnmarshalText(text) }

// IsZero reports whether there is no cluster.
func (c clusterID) IsZero() bool { return c == clusterID{} }

func (c clusterID) String() string { return hex.EncodeToString(c[:]) }

// restored is what a home that was made from a snapshot has to begin its cluster with.
type restored struct {
	Index raft.Index    `json:"index"` // of the snapshot
	Saved time.Time     `json:"saved"`
	Seed  uint64        `json:"seed"`
	Wait  time.Duration `json:"wait"` // before anything is granted; negative: what locktable.Incarnate says
}

// nonce is zero for a cluster that follows from its list alone.
type nonce [16]byte

// MarshalText implements encoding.TextMarshaler.
func (n nonce) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, n[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *nonce) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err == nil && len(b) != len(n) {
		err = fmt.Errorf("%d bytes, not %d", len(b), len(n))
	}
	copy(n[:], b)
	return err
}

// seeks reports whether the node looks for its cluster, and so has no state.
func (id identity) seeks() bool { return id.Joins && !id.Founded && id.Restored == nil }

func (id *identity) exists() bool { return id.Format != 0 }

func (id *identity) peer() raft.PeerID { return raft.PeerID{Node: id.ID, Incarnation: id.Incarnation} }

// cluster returns the id of the cluster: of its name, its list, and the nonce. A node that looks for its cluster has one for itself,
// so that nobody takes it for a member of another.
func (id *identity) cluster() [16]byte {
	if !id.ClusterID.IsZero() {
		return id.ClusterID
	}
	return clusterIDOf(id.ClusterName, id.Members, id.Nonce)
}

// first returns the member that founds the cluster.
func (id *identity) first() Member { return id.Members[0] }

// alone reports whether the cluster begins with this node only: it has no other one, or was recovered.
func (id *identity) alone() bool { return len(id.Members) < 2 && (!id.Joins || id.Restored != nil) }

// founds reports whether this node is the one to found its cluster.
func (id *identity) founds() bool {
	return id.alone() || len(id.Members) > 0 && id.first().Name == id.Name || id.Promise != nil && id.Promise.Founder == id.peer()
}

// nodeIDOf names a node of a cluster; it is the same at every start, and not zero.
func nodeIDOf(cluster, node string) raft.NodeID {
	sum := sha256.Sum256(fmt.Appendf(nil, "lockd node %q %q", cluster, node))
	return raft.NodeID(binary.LittleEndian.Uint64(sum[:]) | 1)
}

func clusterIDOf(name string, members []Member, n nonce) (id [16]byte) {
	b := fmt.Appendf(nil, "lockd cluster %q %x\n", name, n[:])
	for _, m := range members {
		b = fmt.Appendf(b, "%q %q\n", m.Name, m.Raft)
	}
	sum := sha256.Sum256(b)
	copy(id[:], sum[:])
	return id
}

// newIdentity draws the identity of a node that has none. A cluster of one node is told from others by its nonce alone.
func newIdentity(c *Config) identity {
	id := identity{
		Format: identityFormat, ClusterName: c.ClusterName, Name: c.Name, Members: slices.Clone(c.InitialCluster),
		ID: nodeIDOf(c.ClusterName, c.Name), Incarnation: random64(),
	}
	if len(id.Members) == 0 {
		_, _ = rand.Read(id.Nonce[:]) // never fails
	}
	if c.joins() {
		id.Joins, id.ID = true, raft.NodeID(random64()|1)
	}
	return id
}

func random64() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// ErrOtherNode is wrapped by the error of a start with the data directory of another node or another cluster.
var ErrOtherNode = errors.New("the data directory belongs to another node")

// identify returns who lives in a home, or moves in. The configuration, whose defaults are set, must be that of the tenant.
func identify(h home, c *Config) (identity, error) {
	id, err := h.load()
	if err != nil {
		return identity{}, err
	}
	if !id.exists() {
		id = newIdentity(c)
		return id, h.save(id)
	}
	switch {
	case id.Format != identityFormat:
		return identity{}, fmt.Errorf("the data directory has format %d, this build knows %d: start it with the lockd that wrote it",
			id.Format, identityFormat)
	case id.ClusterName != c.ClusterName || id.Name != c.Name:
		return identity{}, fmt.Errorf("%w: to %q of cluster %q; this is %q of cluster %q: give each node a directory of its own",
			ErrOtherNode, id.Name, id.ClusterName, c.Name, c.ClusterName)
	case !id.Joins && c.joins() && len(c.InitialCluster) == 0 && len(id.Members) == 0:
		return identity{}, fmt.Errorf("%w: it is a cluster of its own, and cannot join another one: give the new node an empty directory", ErrOtherNode)
	case id.Joins && !id.Founded && id.Restored == nil && !c.joins():
		return identity{}, errors.New("this node has begun to look for its cluster: say again where, by Config.Join or Config.BootstrapExpect")
	case !slices.Equal(id.Members, c.InitialCluster):
		return identity{}, fmt.Errorf("%w: it was made with the initial cluster %v, and this one is %v: the list stays as it is for "+
			"the life of the cluster", ErrOtherNode, id.Members, c.InitialCluster)
	}
	return id, nil
}
