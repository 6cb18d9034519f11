package lockd

import "time"

// NodeStatus is what a node knows of itself and its cluster, as /status tells it.
type NodeStatus struct {
	Node        string      `json:"node"`
	ID          string      `json:"id"` // of the peer: node and incarnation of its data directory
	Cluster     string      `json:"cluster"`
	Incarnation string      `json:"incarnation"`
	Version     string      `json:"version"`
	Started     time.Time   `json:"started"`
	Role        string      `json:"role"` // leader, follower, candidate or learner
	Term        uint64      `json:"term"`
	Leader      string      `json:"leader"` // name; empty: none is known
	Nodes       []NodeState `json:"nodes"`
	Applied     uint64      `json:"applied"`
	Commit      uint64      `json:"commit"`
	Clock       string      `json:"cluster_time"`
	Locks       int         `json:"locks"`
	Holds       int         `json:"holds"`
	Waiters     int         `json:"waiters"`
	Sessions    int         `json:"sessions"`
	Disk        DiskState   `json:"disk"`
	Waits       string      `json:"waits_for,omitempty"` // of a node without a cluster: why it has none yet
}

// NodeState is one node of the cluster as another one sees it.
type NodeState struct {
	Name   string `json:"name"`
	ID     string `json:"id"`
	Client string `json:"client"` // address; empty: not known yet
	Raft   string `json:"raft"`
	Voter  bool   `json:"voter"`
	// Match is the last entry that this node is known to have, told by a leader only.
	Match uint64 `json:"match,omitempty"`
}

// DiskState is the file system of the data directory. Everything is zero for a node in memory.
type DiskState struct {
	Free uint64 `json:"free_bytes"`
	Mark uint64 `json:"mark_bytes"` // below this what grows the state is refused
	Full bool   `json:"full"`
}
