package tcp

import (
	"encoding/binary"
	"fmt"

	"github.com/lockd/lockd/raft"
)

// Every message is a frame: its term (8 bytes), then the fields of its body in the order of the struct, little endian,
// the bools together in one byte before them. From and To are those of the connection.

const (
	flag1 uint8 = 1 << iota
	flag2
)

const (
	// appendFixed is the length of the body of an Append without its entries.
	appendFixed = 8 + 8 + 8 + 8 + 8 + 4
	// mostFixed is the length of the longest body without entries, that of an AppendReply.
	mostFixed = 8 + 1 + 5*8
)

func bit(b bool, flag uint8) uint8 {
	if b {
		return flag
	}
	return 0
}

// messageBytes returns the length of m's frame, or a little more.
func messageBytes(m *raft.Message) int {
	n := frameHead + mostFixed
	if a, ok := m.Body.(raft.Append); ok {
		n += entriesBytes(a.Entries)
	}
	return n
}

func entriesBytes(entries []raft.Entry) (n int) {
	for _, e := range entries {
		n += e.Size()
	}
	return n
}

// appendMessage appends the frame of m to b. It fails for bodies that do not cross the wire.
func appendMessage(b []byte, m *raft.Message) ([]byte, error) {
	switch body := m.Body.(type) {
	case raft.Append:
		b = appendAppend(b, m.Term, &body)
		for _, e := range body.Entries {
			b = append(b, e.Bytes()...)
		}
		return b, nil
	case raft.AppendReply:
		b = appendFlags(b, frameAppendReply, 5, m.Term, bit(body.OK, flag1)|bit(body.Stateless, flag2))
		return appendWords(b, uint64(body.Session), uint64(body.Match), uint64(body.Prev), uint64(body.Hint.Index), uint64(body.Hint.Term)), nil
	case raft.Heartbeat:
		b = appendFrameHead(b, frameHeartbeat, 3*8)
		return appendWords(b, uint64(m.Term), uint64(body.Commit), body.Round), nil
	case raft.HeartbeatReply:
		b = appendFlags(b, frameHeartbeatReply, 1, m.Term, bit(body.Stateless, flag1))
		return appendWords(b, body.Round), nil
	case raft.Vote:
		b = appendFlags(b, frameVote, 3, m.Term, bit(body.Pre, flag1)|bit(body.Transfer, flag2))
		return appendWords(b, body.Round, uint64(body.Last.Index), uint64(body.Last.Term)), nil
	case raft.VoteReply:
		b = appendFlags(b, frameVoteReply, 1, m.Term, bit(body.Pre, flag1)|bit(body.Granted, flag2))
		return appendWords(b, body.Round), nil
	case raft.TimeoutNow:
		return appendWords(appendFrameHead(b, frameTimeoutNow, 8), uint64(m.Term)), nil
	case raft.ReadIndex:
		return appendWords(appendFrameHead(b, frameReadIndex, 2*8), uint64(m.Term), body.Read), nil
	case raft.ReadIndexReply:
		b = appendFlags(b, frameReadIndexReply, 2, m.Term, bit(body.OK, flag1))
		return appendWords(b, body.Read, uint64(body.Index)), nil
	}
	return b, fmt.Errorf("raft/tcp: a message of type %T does not cross the wire", m.Body)
}

// appendAppend appends the frame of an Append up to its entries, which must follow.
func appendAppend(b []byte, term raft.Term, a *raft.Append) []byte {
	b = appendFrameHead(b, frameAppend, appendFixed+entriesBytes(a.Entries))
	b = appendWords(b, uint64(term), uint64(a.Session), uint64(a.Prev.Index), uint64(a.Prev.Term), uint64(a.Commit))
	return binary.LittleEndian.AppendUint32(b, uint32(len(a.Entries)))
}

func appendFlags(b []byte, kind frameType, words int, term raft.Term, flags uint8) []byte {
	b = appendFrameHead(b, kind, 8+1+words*8)
	return append(binary.LittleEndian.AppendUint64(b, uint64(term)), flags)
}

func appendWords(b []byte, words ...uint64) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// decodeMessage reads a frame that appendMessage wrote; From and To are left to the caller. Entries have memory of
// their own, one piece for all. The error wraps errFrame and says what is wrong.
func decodeMessage(f frame) (raft.Message, error) {
	c := cursor{b: f.body}
	m := raft.Message{Term: raft.Term(c.u64())}
	switch f.kind {
	case frameAppend:
		a, err := decodeAppend(&c, m.Term, f.own)
		if err != nil {
			return raft.Message{}, fmt.Errorf("%w: append: %w", errFrame, err)
		}
		m.Body = a
	case frameAppendReply:
		flags := c.flags(flag1 | flag2)
		m.Body = raft.AppendReply{
			OK: flags&flag1 != 0, Stateless: flags&flag2 != 0, Session: raft.Index(c.u64()),
			Match: raft.Index(c.u64()), Prev: raft.Index(c.u64()), Hint: c.position(),
		}
	case frameHeartbeat:
		m.Body = raft.Heartbeat{Commit: raft.Index(c.u64()), Round: c.u64()}
	case frameHeartbeatReply:
		m.Body = raft.HeartbeatReply{Stateless: c.flags(flag1)&flag1 != 0, Round: c.u64()}
	case frameVote:
		flags := c.flags(flag1 | flag2)
		m.Body = raft.Vote{Pre: flags&flag1 != 0, Transfer: flags&flag2 != 0, Round: c.u64(), Last: c.position()}
	case frameVoteReply:
		flags := c.flags(flag1 | flag2)
		m.Body = raft.VoteReply{Pre: flags&flag1 != 0, Granted: flags&flag2 != 0, Round: c.u64()}
	case frameTimeoutNow:
		m.Body = raft.TimeoutNow{}
	case frameReadIndex:
		m.Body = raft.ReadIndex{Read: c.u64()}
	case frameReadIndexReply:
		m.Body = raft.ReadIndexReply{OK: c.flags(flag1)&flag1 != 0, Read: c.u64(), Index: raft.Index(c.u64())}
	default:
		return raft.Message{}, fmt.Errorf("%w: type %d is no message", errFrame, f.kind)
	}
	if !c.end() {
		return raft.Message{}, fmt.Errorf("%w: a %T does not fit %d bytes", errFrame, m.Body, len(f.body))
	}
	return m, nil
}

func (c *cursor) position() raft.Position {
	return raft.Position{Index: raft.Index(c.u64()), Term: raft.Term(c.u64())}
}

func (c *cursor) peer() raft.PeerID {
	return raft.PeerID{Node: raft.NodeID(c.u64()), Incarnation: c.u64()}
}

// decodeAppend also checks what every Append fulfils: its entries follow Prev without a gap, and terms do not fall.
func decodeAppend(c *cursor, term raft.Term, own bool) (raft.Append, error) {
	a := raft.Append{Session: raft.Index(c.u64()), Prev: c.position(), Commit: raft.Index(c.u64())}
	count := c.u32()
	if c.bad || int64(count) > int64(len(c.b)/raft.EntryHeaderBytes) {
		return raft.Append{}, fmt.Errorf("%d entries do not fit the %d bytes left", count, len(c.b))
	}
	if count == 0 {
		return a, nil
	}
	b := c.b
	if !own {
		b = append(make([]byte, 0, len(b)), b...)
	}
	a.Entries = make([]raft.Entry, count)
	last := a.Prev
	for i := range a.Entries {
		e, rest, err := raft.ParseEntry(b)
		if err != nil {
			return raft.Append{}, fmt.Errorf("entry %d of %d: %w", i+1, count, err)
		}
		if e.Index() != last.Index+1 || e.Term() < last.Term || e.Term() > term {
			return raft.Append{}, fmt.Errorf("entry %d of %d is at %v, after %v, in term %d", i+1, count, e.Position(), last, term)
		}
		a.Entries[i], last, b = e, e.Position(), rest
	}
	c.b = c.b[len(c.b)-len(b):]
	return a, nil
}
