package raft_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lockd/lockd/raft"
)

// One test for each rule of Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), that can
// be seen at one node. The messages are made by hand, also such as no correct peer sends.

func id(n int) raft.PeerID { return raft.PeerID{Node: raft.NodeID(n)} }

// solo is node 1 of a cluster, alone: what it sends is returned, not delivered.
func solo(t *testing.T, voters int, term raft.Term, terms ...raft.Term) (*group, *groupNode) {
	t.Helper()
	starts := make([]start, voters)
	starts[0] = start{raft.HardState{Term: term}, terms}
	g := newGroup(t, starts...)
	return g, g.nodes[0]
}

// step hands node 1 a message and returns what it sends.
func (g *group) step(from int, term raft.Term, body raft.Body) []raft.Message {
	g.net = nil
	n := g.nodes[0]
	n.core.Step(g.now, raft.Message{From: id(from), To: n.id, Term: term, Body: body})
	g.do(n)
	return g.net
}

// timeout lets time pass until node 1 sends something, and returns it.
func (g *group) timeout() []raft.Message {
	g.net = nil
	for n := g.nodes[0]; len(g.net) == 0; {
		g.now = max(g.now, n.core.Deadline())
		n.core.Wake(g.now)
		g.do(n)
	}
	return g.net
}

// stand makes node 1 a candidate of the next term: it asks, and so many say yes.
func (g *group) stand(yes int) []raft.Message {
	asked := g.timeout()
	pre, ok := asked[0].Body.(raft.Vote)
	if !ok || !pre.Pre {
		g.t.Fatalf("on timeout it sent %v", asked)
	}
	var sent []raft.Message
	for n := range yes {
		sent = append(sent, g.step(n+2, asked[0].Term, raft.VoteReply{Pre: true, Round: pre.Round, Granted: true})...)
	}
	return sent
}

func (g *group) want(role raft.Role, term raft.Term) {
	g.t.Helper()
	if s := g.nodes[0].core.Standing(); s.Role != role || s.Term != term {
		g.t.Fatalf("node 1 is %v in term %d, want %v in term %d", s.Role, s.Term, role, term)
	}
}

// bodies returns what was sent, without addresses.
func bodies(ms []raft.Message) (list []raft.Body) {
	for _, m := range ms {
		list = append(list, m.Body)
	}
	return list
}

func entry(i raft.Index, term raft.Term) raft.Entry {
	return raft.NewEntry(raft.Position{Index: i, Term: term}, raft.KindNoop, nil)
}

func (n *groupNode) terms() (list []raft.Term) {
	for _, e := range n.entries {
		list = append(list, e.Term())
	}
	return list
}

// "If one server's current term is smaller than the other's, then it updates its current term to the larger value."
// Reference: section 5.1.
func TestPaperTermIsUpdated(t *testing.T) {
	for _, body := range []raft.Body{
		raft.Append{Session: 1},
		raft.Heartbeat{},
		raft.Vote{},
		raft.AppendReply{},
		raft.HeartbeatReply{},
		raft.VoteReply{},
		raft.VoteReply{Pre: true},
		raft.TimeoutNow{},
		raft.ReadIndex{},
		raft.ReadIndexReply{},
	} {
		g, n := solo(t, 3, 2)
		g.step(2, 5, body)
		if g.want(raft.Follower, 5); n.hard != (raft.HardState{Term: 5}) {
			t.Errorf("%T: %v is durable", body, n.hard)
		}
	}
	// A PreVote, and the grant of one, bear a term that is only asked about (Ongaro's thesis, section 9.6).
	for _, body := range []raft.Body{raft.Vote{Pre: true}, raft.VoteReply{Pre: true, Granted: true}} {
		g, _ := solo(t, 3, 2)
		g.step(2, 5, body)
		g.want(raft.Follower, 2)
	}
}

// "If a candidate or leader discovers that its term is out of date, it immediately reverts to follower state."
// Reference: section 5.1.
func TestPaperCandidateAndLeaderRevert(t *testing.T) {
	g, _ := solo(t, 3, 2)
	g.stand(1)
	g.want(raft.Candidate, 3)
	g.step(2, 4, raft.VoteReply{})
	g.want(raft.Follower, 4)

	g, _ = solo(t, 3, 2)
	g.lead(3)
	g.step(2, 4, raft.AppendReply{Session: 1})
	g.want(raft.Follower, 4)
}

// lead makes node 1 the leader of a cluster of so many voters.
func (g *group) lead(voters int) {
	g.t.Helper()
	var round uint64
	var term raft.Term
	for _, m := range g.stand(voters / 2) {
		if v, ok := m.Body.(raft.Vote); ok && !v.Pre {
			round, term = v.Round, m.Term
		}
	}
	for n := range voters / 2 {
		g.step(n+2, term, raft.VoteReply{Round: round, Granted: true})
	}
	g.want(raft.Leader, term)
}

// "If a server receives a request with a stale term number, it rejects the request." Reference: section 5.1.
func TestPaperStaleTermIsRejected(t *testing.T) {
	for _, body := range []raft.Body{
		raft.Append{Session: 1, Prev: raft.Position{Index: 1, Term: 1}, Entries: []raft.Entry{entry(2, 2)}, Commit: 2},
		raft.Heartbeat{Commit: 1, Round: 1},
		raft.Vote{Last: raft.Position{Index: 9, Term: 9}},
		raft.Vote{Pre: true, Last: raft.Position{Index: 9, Term: 9}},
		raft.TimeoutNow{},
	} {
		g, n := solo(t, 3, 4)
		for _, m := range g.step(2, 3, body) {
			switch b := m.Body.(type) {
			case raft.AppendReply:
				if b.OK || m.Term != 4 {
					t.Errorf("%T of an old term is answered %v in term %d", body, b, m.Term)
				}
			case raft.VoteReply:
				if b.Granted || m.Term != 4 {
					t.Errorf("%T of an old term is answered %v in term %d", body, b, m.Term)
				}
			default:
				t.Errorf("%T of an old term is answered %v", body, m)
			}
		}
		if g.want(raft.Follower, 4); len(n.entries) > 0 || !n.hard.Vote.IsZero() {
			t.Errorf("%T of an old term left %v and %v", body, n.entries, n.hard)
		}
	}
}

// "When servers start up, they begin as followers." Reference: section 5.2.
func TestPaperStartsAsFollower(t *testing.T) {
	g, _ := solo(t, 3, 2)
	g.want(raft.Follower, 2)
}

// "A server remains in follower state as long as it receives valid RPCs from a leader." Reference: section 5.2.
func TestPaperHeartbeatsKeepFollower(t *testing.T) {
	g, n := solo(t, 3, 2)
	for range 100 {
		g.now += 200 * time.Millisecond
		g.step(2, 2, raft.Heartbeat{})
		if n.core.Deadline() <= g.now {
			n.core.Wake(g.now)
		}
		g.want(raft.Follower, 2)
	}
}

// "To begin an election, a follower increments its current term and transitions to candidate state. It then votes for
// itself and issues RequestVote RPCs in parallel to each of the other servers." Reference: section 5.2; before it, it
// asks without incrementing (thesis, section 9.6).
func TestPaperElectionBegins(t *testing.T) {
	g, n := solo(t, 3, 2, 2)
	sent := g.stand(1)
	g.want(raft.Candidate, 3)
	if n.hard != (raft.HardState{Term: 3, Vote: n.id}) {
		t.Errorf("%v is durable", n.hard)
	}
	var asked []raft.PeerID
	for _, m := range sent {
		if v, ok := m.Body.(raft.Vote); ok && !v.Pre && m.Term == 3 && v.Last == (raft.Position{Index: 2, Term: 2}) {
			asked = append(asked, m.To)
		}
	}
	if want := []raft.PeerID{id(2), id(3)}; !slices.Equal(asked, want) {
		t.Errorf("asked %v, want %v", asked, want)
	}
}

// "A candidate wins an election if it receives votes from a majority of the servers in the full cluster for the same
// term." Reference: section 5.2.
func TestPaperMajorityElects(t *testing.T) {
	for voters := 2; voters <= 9; voters++ {
		g, _ := solo(t, voters, 2)
		var round uint64
		for _, m := range g.stand(voters / 2) {
			if v, ok := m.Body.(raft.Vote); ok && !v.Pre {
				round = v.Round
			}
		}
		for votes := 1; votes <= voters/2; votes++ {
			g.want(raft.Candidate, 3)
			g.step(votes+1, 3, raft.VoteReply{Round: round, Granted: true})
		}
		g.want(raft.Leader, 3)
	}
}

// "Each server will vote for at most one candidate in a given term, on a first-come-first-served basis."
// Reference: section 5.2.
func TestPaperOneVote(t *testing.T) {
	g, n := solo(t, 3, 2)
	last := raft.Position{Index: 1, Term: 1}
	for i, c := range []struct {
		from int
		want bool
	}{{2, true}, {3, false}, {2, true}} {
		sent := bodies(g.step(c.from, 3, raft.Vote{Round: 7, Last: last}))
		if diff := cmp.Diff([]raft.Body{raft.VoteReply{Round: 7, Granted: c.want}}, sent); diff != "" {
			t.Errorf("request %d, of %d:\n%s", i, c.from, diff)
		}
	}
	if n.hard != (raft.HardState{Term: 3, Vote: id(2)}) {
		t.Errorf("%v is durable", n.hard)
	}
}

// "The voter denies its vote if its own log is more up-to-date than that of the candidate." Reference: section 5.4.1.
func TestPaperVoterComparesLogs(t *testing.T) {
	for _, c := range []struct {
		terms []raft.Term // of the voter's entries, from 2 on
		last  raft.Position
		want  bool
	}{
		{[]raft.Term{2}, raft.Position{Index: 2, Term: 2}, true},
		{[]raft.Term{2}, raft.Position{Index: 3, Term: 2}, true},
		{[]raft.Term{2, 2}, raft.Position{Index: 2, Term: 2}, false},
		{[]raft.Term{2, 2, 2}, raft.Position{Index: 2, Term: 3}, true},
		{[]raft.Term{3}, raft.Position{Index: 9, Term: 2}, false},
		{nil, raft.Position{Index: 1, Term: 1}, true},
		{nil, raft.Position{}, false},
	} {
		for _, pre := range []bool{false, true} {
			g, _ := solo(t, 3, 3, c.terms...)
			sent := bodies(g.step(2, 4, raft.Vote{Pre: pre, Last: c.last}))
			if diff := cmp.Diff([]raft.Body{raft.VoteReply{Pre: pre, Granted: c.want}}, sent); diff != "" {
				t.Errorf("log %v, candidate's last %v, pre %v:\n%s", c.terms, c.last, pre, diff)
			}
		}
	}
}

// "While waiting for votes, a candidate may receive an AppendEntries RPC from another server claiming to be leader. If
// the leader's term is at least as large as the candidate's current term, then the candidate recognizes the leader as
// legitimate and returns to follower state." Reference: section 5.2.
func TestPaperCandidateRecognizesLeader(t *testing.T) {
	for _, term := range []raft.Term{3, 4} {
		g, n := solo(t, 3, 2)
		g.stand(1)
		g.step(3, term, raft.Heartbeat{})
		if g.want(raft.Follower, term); n.core.Standing().Leader != id(3) {
			t.Errorf("it follows %v", n.core.Standing().Leader)
		}
	}
}

// "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in parallel to each of the
// other servers to replicate the entry." Reference: section 5.3.
func TestPaperLeaderReplicates(t *testing.T) {
	g, n := solo(t, 3, 2)
	g.lead(3)
	g.acknowledge(2, 2)
	g.acknowledge(3, 2)
	g.net = nil
	at, err := n.core.Propose(g.now, raft.Proposal{Data: []byte("x")})
	g.do(n)
	if err != nil || at != (raft.Position{Index: 3, Term: 3}) {
		t.Fatalf("proposed at %v, %v", at, err)
	}
	want := raft.Append{Session: 1, Prev: raft.Position{Index: 2, Term: 3}, Entries: n.entries[1:], Commit: 2}
	for i, m := range g.net[:2] {
		if diff := cmp.Diff(raft.Body(want), m.Body, cmp.Comparer(func(a, b raft.Entry) bool { return slices.Equal(a.Bytes(), b.Bytes()) })); diff != "" || m.To != id(i+2) {
			t.Errorf("to %v:\n%s", m.To, diff)
		}
	}
}

// acknowledge answers the leader for a peer.
func (g *group) acknowledge(from int, match raft.Index) {
	g.step(from, g.nodes[0].core.Standing().Term, raft.AppendReply{Session: 1, OK: true, Match: match})
}

// "A log entry is committed once the leader that created the entry has replicated it on a majority of the servers. This
// also commits all preceding entries in the leader's log, including entries created by previous leaders." And: "Only log
// entries from the leader's current term are committed by counting replicas." Reference: sections 5.3, 5.4.2.
func TestPaperCommit(t *testing.T) {
	g, n := solo(t, 5, 2, 2, 2)
	g.lead(5)
	for i, c := range []struct {
		from  int
		match raft.Index
		want  raft.Index
	}{{2, 3, 1}, {3, 3, 1}, {4, 3, 1}, {2, 4, 1}, {3, 4, 4}} {
		g.acknowledge(c.from, c.match)
		if got := n.core.Status().Commit; got != c.want {
			t.Errorf("after acknowledgement %d the commit index is %d, want %d", i, got, c.want)
		}
	}
}

// "If the follower does not find an entry in its log with the same index and term, then it refuses the new entries."
// Reference: section 5.3.
func TestPaperFollowerChecksPrev(t *testing.T) {
	for _, prev := range []raft.Position{{Index: 4, Term: 2}, {Index: 3, Term: 3}, {Index: 2, Term: 1}} {
		g, n := solo(t, 3, 3, 2, 2)
		sent := g.step(2, 3, raft.Append{Session: 1, Prev: prev, Entries: []raft.Entry{entry(prev.Index+1, 3)}, Commit: 9})
		if r, ok := sent[0].Body.(raft.AppendReply); !ok || r.OK || r.Prev != prev.Index {
			t.Errorf("after %v it answered %v", prev, sent)
		}
		if !slices.Equal(n.terms(), []raft.Term{2, 2}) || n.core.Status().Commit != 1 {
			t.Errorf("after %v the log has terms %v, commit %d", prev, n.terms(), n.core.Status().Commit)
		}
	}
}

// "If an existing entry conflicts with a new one (same index but different terms), delete the existing entry and all
// that follow it. Append any new entries not already in the log." Reference: Figure 2.
func TestPaperFollowerFollowsLog(t *testing.T) {
	for _, c := range []struct {
		name    string
		has     []raft.Term
		after   raft.Position
		entries []raft.Entry
		want    []raft.Term
	}{
		{"new entries", []raft.Term{2}, raft.Position{Index: 2, Term: 2}, []raft.Entry{entry(3, 2), entry(4, 3)}, []raft.Term{2, 2, 3}},
		{"known entries", []raft.Term{2, 2, 3}, raft.Position{Index: 1, Term: 1}, []raft.Entry{entry(2, 2)}, []raft.Term{2, 2, 3}},
		{"some known", []raft.Term{2, 2}, raft.Position{Index: 1, Term: 1}, []raft.Entry{entry(2, 2), entry(3, 2), entry(4, 3)}, []raft.Term{2, 2, 3}},
		{"a conflict", []raft.Term{2, 2, 2}, raft.Position{Index: 2, Term: 2}, []raft.Entry{entry(3, 3)}, []raft.Term{2, 3}},
		{"a conflict at the first", []raft.Term{2, 2}, raft.Position{Index: 1, Term: 1}, []raft.Entry{entry(2, 3), entry(3, 3)}, []raft.Term{3, 3}},
		{"nothing", []raft.Term{2, 2}, raft.Position{Index: 2, Term: 2}, nil, []raft.Term{2, 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, n := solo(t, 3, 3, c.has...)
			sent := g.step(2, 3, raft.Append{Session: 1, Prev: c.after, Entries: c.entries})
			match := c.after.Index + raft.Index(len(c.entries))
			if diff := cmp.Diff([]raft.Body{raft.AppendReply{Session: 1, OK: true, Match: match}}, bodies(sent)); diff != "" {
				t.Error(diff)
			}
			if !slices.Equal(n.terms(), c.want) {
				t.Errorf("the log has terms %v, want %v", n.terms(), c.want)
			}
		})
	}
}

// "If leaderCommit > commitIndex, set commitIndex = min(leaderCommit, index of last new entry)." Reference: Figure 2. What
// lies in the log behind the last new entry may be another leader's. (Trap 18.)
func TestPaperFollowerCommits(t *testing.T) {
	for _, c := range []struct {
		name string
		body raft.Body
		want raft.Index
	}{
		{"an Append without entries covers what is before it", raft.Append{Session: 1, Prev: raft.Position{Index: 2, Term: 2}, Commit: 4}, 2},
		{"an Append covers its entries", raft.Append{Session: 1, Prev: raft.Position{Index: 2, Term: 2}, Entries: []raft.Entry{entry(3, 2)}, Commit: 4}, 3},
		{"no more than the leader has committed", raft.Append{Session: 1, Prev: raft.Position{Index: 3, Term: 2}, Commit: 2}, 2},
		{"a Heartbeat bears what the peer has acknowledged", raft.Heartbeat{Commit: 2}, 2},
		{"nothing goes back", raft.Heartbeat{}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, n := solo(t, 3, 3, 2, 2, 2)
			g.step(2, 3, c.body)
			if got := n.core.Status().Commit; got != c.want {
				t.Errorf("the commit index is %d, want %d", got, c.want)
			}
		})
	}
}

// A leader's heartbeat never bears a commit index beyond what the peer has acknowledged to it. (Trap 18.)
func TestHeartbeatCommitIsCovered(t *testing.T) {
	g, _ := solo(t, 3, 2, 2, 2)
	g.lead(3)
	g.acknowledge(2, 4)
	got := map[raft.PeerID]raft.Index{}
	for _, m := range g.timeout() {
		if h, ok := m.Body.(raft.Heartbeat); ok {
			got[m.To] = h.Commit
		}
	}
	if want := map[raft.PeerID]raft.Index{id(2): 4, id(3): 0}; !cmp.Equal(got, want) {
		t.Errorf("heartbeats bear %v, want %v", got, want)
	}
}

// fatal hands node 1 a message after which it must stop, and returns why.
func (g *group) fatal(from int, term raft.Term, body raft.Body) error {
	n := g.nodes[0]
	n.core.Step(g.now, raft.Message{From: id(from), To: n.id, Term: term, Body: body})
	return n.core.Output().Fatal
}

// What is committed is never overruled: a leader that asks for it, or this node, is damaged, and the node stops.
// (Trap 19.)
func TestCommittedEntriesAreNotOverruled(t *testing.T) {
	g, n := solo(t, 3, 3, 2, 2)
	g.step(2, 3, raft.Heartbeat{Commit: 3})
	err := g.fatal(2, 3, raft.Append{Session: 1, Prev: raft.Position{Index: 2, Term: 2}, Entries: []raft.Entry{entry(3, 3)}, Commit: 3})
	if !errors.Is(err, raft.ErrInconsistent) {
		t.Errorf("the error is %v", err)
	}
	if !slices.Equal(n.terms(), []raft.Term{2, 2}) {
		t.Errorf("the log has terms %v", n.terms())
	}
}

// A term has one leader; a second one is proof of damage.
func TestSecondLeaderOfATerm(t *testing.T) {
	g, _ := solo(t, 3, 3)
	g.step(2, 3, raft.Heartbeat{})
	if err := g.fatal(3, 3, raft.Heartbeat{}); !errors.Is(err, raft.ErrInconsistent) {
		t.Errorf("the error is %v", err)
	}
}

// Entries with a gap, or with terms that fall or come from the future, are not taken in, and not acknowledged. (Trap 27.)
func TestEntriesOutOfOrderAreIgnored(t *testing.T) {
	for i, entries := range [][]raft.Entry{
		{entry(3, 2)}, {entry(2, 2), entry(4, 2)}, {entry(2, 3), entry(3, 2)}, {entry(2, 4)}, {entry(2, 2), entry(2, 2)},
	} {
		g, n := solo(t, 3, 3)
		sent := g.step(2, 3, raft.Append{Session: 1, Prev: raft.Position{Index: 1, Term: 1}, Entries: entries, Commit: 9})
		if len(sent) > 0 || len(n.entries) > 0 || n.core.Status().Commit != 1 {
			t.Errorf("case %d: it answered %v, and holds %v", i, sent, n.entries)
		}
	}
}

// Messages to another peer, also to an earlier life of this node, from nobody, or from itself, are not for it. (Trap 36.)
func TestMessagesForOthers(t *testing.T) {
	vote := raft.Vote{Last: raft.Position{Index: 9, Term: 9}}
	for _, m := range []raft.Message{
		{From: id(2), To: id(3), Term: 9, Body: vote},
		{From: id(2), To: raft.PeerID{Node: 1, Incarnation: 5}, Term: 9, Body: vote},
		{To: id(1), Term: 9, Body: vote},
		{From: id(1), To: id(1), Term: 9, Body: vote},
		{From: id(2), To: id(1), Body: vote},
	} {
		g, n := solo(t, 3, 2)
		n.core.Step(0, m)
		if g.do(n); len(g.net) > 0 || n.hard.Term != 2 {
			t.Errorf("%v: it sent %v and is in term %d", m, g.net, n.hard.Term)
		}
	}
}

// A leader finds the end of the common log in no more attempts than there are terms in both logs, and one to begin with.
// (Trap 22.)
func TestSearchTakesOneStepForEachTerm(t *testing.T) {
	run := func(terms ...int) (list []raft.Term) { // terms[i] entries of term i+2
		for i, n := range terms {
			for range n {
				list = append(list, raft.Term(i+2))
			}
		}
		return list
	}
	for _, c := range []struct{ leader, follower []raft.Term }{
		{run(100, 0, 0, 50), run(100, 30, 30)},
		{run(1, 0, 5, 0, 5, 0, 50), run(0, 100, 0, 100, 0, 100)},
		{run(200), nil},
		{run(3), run(3)},
		{run(0, 0, 0, 0, 0, 0, 1), run(40, 40, 40, 40, 40)},
	} {
		g := newGroup(t, start{raft.HardState{Term: 9}, c.leader}, start{raft.HardState{Term: 9}, c.follower}, start{raft.HardState{Term: 9}, nil})
		rejections := 0
		g.lost = func(m raft.Message) bool {
			if r, ok := m.Body.(raft.AppendReply); ok && m.From == id(2) && !r.OK {
				rejections++
			}
			return m.From != id(1) && m.To != id(1) || m.From == id(2) && isVote(m)
		}
		for !g.run(time.Millisecond, func() bool { return g.nodes[0].core.Status().Role == raft.Leader }) {
			if g.now > time.Minute {
				t.Fatal("node 1 is not elected")
			}
		}
		g.run(5*time.Second, func() bool { return g.nodes[1].core.Status().Last == g.nodes[0].core.Status().Last })
		if most := 1 + distinct(c.leader) + distinct(c.follower); rejections > most {
			t.Errorf("logs of terms %v and %v: %d rejections, at most %d", c.leader, c.follower, rejections, most)
		}
		if got, want := g.nodes[1].terms(), g.nodes[0].terms(); !slices.Equal(got, want) {
			t.Errorf("the follower's log has terms %v, want %v", got, want)
		}
	}
}

// isVote keeps node 2 from standing itself.
func isVote(m raft.Message) bool {
	_, ok := m.Body.(raft.Vote)
	return ok
}

func distinct(terms []raft.Term) int { return len(slices.Compact(slices.Clone(terms))) }

func TestNamesOfThings(t *testing.T) {
	for got, want := range map[string]string{
		fmt.Sprint(raft.Follower, raft.PreCandidate, raft.Candidate, raft.Leader, raft.Role(0)): "follower pre-candidate candidate leader none",
		fmt.Sprint(raft.KindNoop, raft.KindCommand, raft.KindConfig, raft.Kind(7)):              "noop command config kind(7)",
		fmt.Sprint(raft.PeerID{Node: 3}, raft.PeerID{Node: 3, Incarnation: 255}):                "3 3.ff",
		fmt.Sprint(entry(7, 3), raft.Entry{}):                                                   `7/3 noop "" none`,
		(&raft.NotLeaderError{}).Error():                                                        "raft: not the leader; no leader is known",
		(&raft.NotLeaderError{Leader: id(2)}).Error():                                           "raft: not the leader; the leader is 2",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
