package rafttest

import (
	"fmt"
	"strings"
	"time"

	"github.com/lockd/lockd/raft"
)

// trace remembers the last events, and a sum of all.
type trace struct {
	hash uint64
	ring []traced
	next int
}

// traced is one line of a trace. Its parts are put into words only when somebody wants to read them.
type traced struct {
	at   time.Duration
	node *Node
	what string
	args any
}

func newTrace(n int) trace { return trace{ring: make([]traced, 0, n)} }

func (t *trace) note(at time.Duration, n *Node, what string, args any) {
	line := traced{at, n, what, args}
	if len(t.ring) < cap(t.ring) {
		t.ring = append(t.ring, line)
		return
	}
	if len(t.ring) == 0 {
		return
	}
	t.ring[t.next] = line
	t.next = (t.next + 1) % len(t.ring)
}

// mix adds numbers to the sum.
func (t *trace) mix(values ...uint64) {
	for _, v := range values {
		t.hash = mix(t.hash, v)
	}
}

func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}

func hashString(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mixMessage adds what tells one message from another.
func (t *trace) mixMessage(m raft.Message) {
	t.mix(uint64(m.From.Node)<<32|uint64(m.To.Node), uint64(m.Term))
	switch b := m.Body.(type) {
	case raft.Append:
		t.mix(1, uint64(b.Prev.Index), uint64(b.Prev.Term), uint64(len(b.Entries)), uint64(b.Commit))
	case raft.AppendReply:
		t.mix(2, uint64(b.Match), uint64(b.Prev), uint64(b.Hint.Index))
	case raft.Heartbeat:
		t.mix(3, uint64(b.Commit), b.Round)
	case raft.HeartbeatReply:
		t.mix(4, b.Round)
	case raft.Vote:
		t.mix(5, b.Round, uint64(b.Last.Index), uint64(b.Last.Term))
	case raft.VoteReply:
		t.mix(6, b.Round)
	case raft.ReadIndex:
		t.mix(7, b.Read)
	case raft.ReadIndexReply:
		t.mix(8, b.Read, uint64(b.Index))
	}
}

func (t *trace) lines() []string {
	lines := make([]string, 0, len(t.ring))
	for i := range t.ring {
		l := t.ring[(t.next+i)%len(t.ring)]
		who := "world"
		if l.node != nil {
			who = l.node.String()
		}
		text := ""
		switch a := l.args.(type) {
		case nil:
		case raft.Message:
			text = " " + messageText(a)
		case string:
			text = " " + a
		case fmt.Stringer:
			text = " " + a.String()
		default:
			text = fmt.Sprintf(" %+v", a)
		}
		lines = append(lines, fmt.Sprintf("%12v  %-6s %s%s", l.at, who, l.what, text))
	}
	return lines
}

func messageText(m raft.Message) string {
	head := fmt.Sprintf("%s→%s t%d ", shortID(m.From), shortID(m.To), m.Term)
	switch b := m.Body.(type) {
	case raft.Append:
		var entries strings.Builder
		for _, e := range b.Entries {
			fmt.Fprintf(&entries, " %d/%d %v", e.Index(), e.Term(), e.Kind())
		}
		return head + fmt.Sprintf("Append s%d after %d/%d commit %d:", b.Session, b.Prev.Index, b.Prev.Term, b.Commit) + entries.String()
	case nil:
		return head + "nothing"
	}
	return head + fmt.Sprintf("%T%+v", m.Body, m.Body)[len("raft."):]
}

// shortID names a peer in a trace: node 3, and its second life as 3b.
func shortID(id raft.PeerID) string {
	if id.Incarnation <= 1 || id.Incarnation > 26 {
		return fmt.Sprint(id.Node)
	}
	return fmt.Sprintf("%d%c", id.Node, 'a'+rune(id.Incarnation-1))
}
