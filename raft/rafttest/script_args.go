package rafttest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lockd/lockd/raft"
)

// scriptArgs are the arguments of a command: words, and key=value.
type scriptArgs struct{ *datadriven.TestData }

// word returns the i-th word that is no key=value.
func (a scriptArgs) word(i int) string {
	words := a.words()
	if i >= len(words) {
		return ""
	}
	return words[i]
}

func (a scriptArgs) words() []string {
	var words []string
	for _, arg := range a.CmdArgs {
		if len(arg.Vals) == 0 {
			words = append(words, arg.Key)
		}
	}
	return words
}

func (a scriptArgs) flag(word string) bool { return slices.Contains(a.words(), word) }

// value returns the value of a key, or an empty string.
func (a scriptArgs) value(key string) string {
	for _, arg := range a.CmdArgs {
		if arg.Key == key && len(arg.Vals) > 0 {
			return strings.Join(arg.Vals, ",")
		}
	}
	return ""
}

// number returns the value of a key, or the default.
func (a scriptArgs) number(key string, otherwise int) (int, error) {
	s := a.value(key)
	if s == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", key, err)
	}
	return n, nil
}

func (a scriptArgs) duration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	return time.ParseDuration(s)
}

// peer parses the id of a peer: its node, and after a dot its incarnation.
func (a scriptArgs) peer(s string) (raft.PeerID, error) {
	node, incarnation, _ := strings.Cut(s, ".")
	n, err := strconv.ParseUint(node, 10, 64)
	if err != nil {
		return raft.PeerID{}, fmt.Errorf("node %q: %w", s, err)
	}
	id := raft.PeerID{Node: raft.NodeID(n)}
	if incarnation != "" {
		id.Incarnation, err = strconv.ParseUint(incarnation, 16, 64)
	}
	return id, err
}

// peerList parses the ids in the value of a key.
func (a scriptArgs) peerList(key string) ([]raft.Peer, error) {
	var peers []raft.Peer
	for s := range strings.SplitSeq(a.value(key), ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		id, err := a.peer(s)
		if err != nil {
			return nil, err
		}
		peers = append(peers, raft.Peer{ID: id})
	}
	return peers, nil
}

// config reads voters= and learners=.
func (a scriptArgs) config() (c raft.Config, err error) {
	if c.Voters, err = a.peerList("voters"); err != nil {
		return c, err
	}
	c.Learners, err = a.peerList("learners")
	return c, err
}
