package wire

import (
	"fmt"
	"time"
)

// Magic is what a Hello begins with.
const Magic = "lockd"

// Versions of the protocol that this package speaks.
const (
	VersionMin = 1
	VersionMax = 1
)

// Role is what the side that opened a connection is.
type Role uint8

// The roles.
const (
	RoleClient Role = 1
	RoleNode   Role = 2
)

// Hello is the first message on a connection, from the side that opened it. Nothing else is sent before it is answered with Welcome or
// Goodbye.
type Hello struct {
	Magic       string `wire:"=5"` // "lockd"
	VersionMin  uint64 // oldest version of the protocol the sender speaks
	VersionMax  uint64 // newest version of the protocol the sender speaks
	Role        Role   // 1: client, 2: node
	Cluster     ID     // the cluster the sender means; zero: any
	Incarnation ID     // the incarnation it knows; zero: any
	Agent       string `wire:"128"`  // name and version of the program
	Credential  []byte `wire:"8192"` // what proves the sender's identity, nil for none
	Node        uint64 // role node: its id; else 0
	Directory   uint64 // role node: the incarnation of its data directory; else 0
	Boot        uint64 // role node: drawn at its start; else 0
}

// Version returns the newest version that both the sender of the Hello and this package speak.
func (h *Hello) Version() (uint64, error) {
	if h.Magic != Magic {
		return 0, fmt.Errorf("wire: Hello begins with %q, not with %q", h.Magic, Magic)
	}
	v := min(h.VersionMax, VersionMax)
	if v < max(h.VersionMin, VersionMin) {
		return 0, fmt.Errorf("wire: Hello offers versions %d to %d of the protocol; this side speaks %d to %d",
			h.VersionMin, h.VersionMax, VersionMin, VersionMax)
	}
	return v, nil
}

// Welcome accepts a Hello.
type Welcome struct {
	Version     uint64        // of the protocol, from here on
	Cluster     ID            // id of the cluster
	Incarnation ID            // changes whenever entries may have been lost: at a restore or a recovery. All sessions end with it
	Node        uint64        // id of the node that speaks
	Boot        uint64        // drawn at its start
	Clock       time.Duration // cluster time as the node knows it
	Limits      Limits        // what this cluster accepts
	Leader      uint64        // id of the leader, 0 if not known
	Nodes       []Node        `wire:"1000"` // where else the cluster can be reached
}

// Node is a node as clients see it.
type Node struct {
	ID      uint64 // its id
	Name    string `wire:"256"` // its name, for people
	Address string `wire:"256"` // host:port of its client port
	Voter   bool   // false: a learner, which serves clients all the same
}

// Limits of a cluster. A request beyond one of them is refused.
type Limits struct {
	Frame    uint64        // largest length of a frame
	InFlight uint64        // requests of one connection that may be unanswered; more are answered with Overloaded
	Name     uint64        // bytes of a name
	Names    uint64        // names of one Acquire
	Value    uint64        // bytes of a value
	Metadata uint64        // bytes of metadata
	Window   uint64        // how far seq may be above acked
	TTLMin   time.Duration // shortest TTL of a session
	TTLMax   time.Duration // longest TTL of a session
	LeaseMin time.Duration // shortest TTL of a lease
	LeaseMax time.Duration // longest TTL of a lease
	WaitMax  time.Duration // longest limit of a wait; without a limit it may wait forever
	DelayMax time.Duration // longest lock-delay
}

// Goodbye is the last message on a connection: its sender closes it, and says why.
type Goodbye struct {
	Code Code   // why
	Text string `wire:"1024"` // the same for people
}

// Nodes tells that the leader or the nodes of the cluster have changed.
type Nodes struct {
	Leader uint64 // id of the leader, 0 if not known
	Nodes  []Node `wire:"1000"` // where the cluster can be reached
}

// NoQuorum tells a client that the node has had no confirmed round for a second: another node should be tried beside it.
type NoQuorum struct {
	Since time.Duration // how long ago the last one was
}
