package raft

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Options are the limits and times of a Core. The zero value of each field but ID means its default.
type Options struct {
	// ID is this node. It must not be zero.
	ID PeerID
	// Heartbeat is how often a leader makes itself heard. Default 60 ms. Four of them without a word are a hint that
	// the leader is gone.
	Heartbeat time.Duration
	// ElectionTimeout is how long a follower without any hint waits for its leader, and a leader for its quorum; each
	// wait is drawn between once and twice this. Default 1 s, at least five heartbeats.
	ElectionTimeout time.Duration
	// IgnoreHints leaves it to ElectionTimeout alone when a leader is gone: neither Suspect nor silence brings an election
	// forward. It makes fail-over slower and is for hosts that often stop for longer than silence is taken for (seven
	// heartbeats), where a change of the leader costs more than the wait.
	IgnoreHints bool
	// DiskStall is how long the oldest write may wait for the disk before a leader gives up its leadership. Default
	// twice ElectionTimeout.
	DiskStall time.Duration
	// MaxAppendBytes bounds the entries of one Append, but for a single larger entry. Default 512 KiB.
	MaxAppendBytes int
	// MaxInflight and MaxInflightBytes bound what is on its way to one peer. Defaults 128 and 8 MiB.
	MaxInflight      int
	MaxInflightBytes int
	// MaxUncommittedBytes bounds what a leader accepts before it is committed. Default 64 MiB.
	MaxUncommittedBytes int
	// CacheBytes is how much of the log's end stays in memory. Default 16 MiB.
	CacheBytes int
	// Seed feeds the random part of the timeouts. Nodes of one cluster should differ in it.
	Seed uint64
	// FirstRound is where the numbers of elections, rounds and reads begin. It must be another one, far away, at each
	// start of a node, or an answer to its earlier life may be taken for an answer to this one. A Node draws it.
	FirstRound uint64
}

// Fractions of the two times, chosen together: a live leader refutes a false hint by its next heartbeat, and the
// followers that suspect a dead one stand for election one after the other (see docs/ARCHITECTURE.md, Fail-over).
const (
	silenceHeartbeats = 4    // nothing heard for so long is a hint
	graceHeartbeats   = 1.5  // after a lost connection
	silenceGraceBeats = 3    // after silence, which a pause of the leader may explain
	rankHeartbeats    = 0.75 // between two followers that suspect at the same moment: enough for both votes of the first
	hintsPerWindow    = 3    // hinted elections in one window, then only ElectionTimeout counts
	hintWindow        = 10   // in units of ElectionTimeout
	pauseFactor       = 3    // a leader that was silent and came back may be silent for so many times as long
	pauseMemory       = 60   // in units of ElectionTimeout

	newsDelay = 200 * time.Microsecond // how long a commit waits for an Append to carry its news
)

func (o Options) withDefaults() (Options, error) {
	o.Heartbeat = cmp.Or(o.Heartbeat, 60*time.Millisecond)
	o.ElectionTimeout = cmp.Or(o.ElectionTimeout, time.Second)
	o.DiskStall = cmp.Or(o.DiskStall, 2*o.ElectionTimeout)
	o.MaxAppendBytes = cmp.Or(o.MaxAppendBytes, 512<<10)
	o.MaxInflight = cmp.Or(o.MaxInflight, 128)
	o.MaxInflightBytes = cmp.Or(o.MaxInflightBytes, 8<<20)
	o.MaxUncommittedBytes = cmp.Or(o.MaxUncommittedBytes, 64<<20)
	o.CacheBytes = cmp.Or(o.CacheBytes, 16<<20)
	if o.ID.Node == 0 {
		return o, errors.New("raft: Options.ID is zero")
	}
	if o.Heartbeat < 0 || o.ElectionTimeout < 5*o.Heartbeat {
		return o, fmt.Errorf("raft: ElectionTimeout %v is less than five times Heartbeat %v", o.ElectionTimeout, o.Heartbeat)
	}
	if min(o.MaxAppendBytes, o.MaxInflight, o.MaxInflightBytes, o.MaxUncommittedBytes, o.CacheBytes) < 0 {
		return o, errors.New("raft: a limit in Options is negative")
	}
	return o, nil
}

func (o Options) silence() time.Duration { return silenceHeartbeats * o.Heartbeat }

func (o Options) grace() time.Duration { return time.Duration(graceHeartbeats * float64(o.Heartbeat)) }

func (o Options) rankDelay(rank int) time.Duration {
	return time.Duration(float64(rank) * rankHeartbeats * float64(o.Heartbeat))
}
