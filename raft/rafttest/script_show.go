package rafttest

import (
	"fmt"
	"strings"

	"github.com/lockd/lockd/raft"
)

func (w *scriptWorld) printf(format string, args ...any) {
	fmt.Fprintf(&w.out, w.indent+format+"\n", args...)
}

// detail shows what a brief command leaves out.
func (w *scriptWorld) detail(format string, args ...any) {
	if !w.brief {
		w.printf(format, args...)
	}
}

func (n *scriptNode) detail(format string, args ...any) { n.w.detail(format, args...) }

// showStanding also holds the nodes to one leader in a term.
func (n *scriptNode) showStanding(s raft.Standing) {
	before := n.standing
	n.standing = s
	if s.Role == raft.Leader {
		if other, ok := n.w.leaders[s.Term]; ok && other != n.id {
			n.w.violate("%v and %v both lead term %d", other, n.id, s.Term)
		}
		n.w.leaders[s.Term] = n.id
	}
	if s.Role == before.Role && s.Term == before.Term && s.Leader == before.Leader {
		n.detail("%v is in configuration %d", n.id, s.Config)
		return
	}
	if n.w.brief && s.Role == raft.Follower && before.Role != raft.Leader {
		return // who follows whom is no news
	}
	what := fmt.Sprintf("%v is %v in term %d", n.id, s.Role, s.Term)
	if s.Role == raft.Follower && !s.Leader.IsZero() {
		what += fmt.Sprintf(", led by %v", s.Leader)
	}
	n.w.printf("%s", what)
}

func (n *scriptNode) showCommit() {
	status, _ := n.engine.Status()
	if status.Commit != n.commit {
		n.commit = status.Commit
		n.detail("%v commits %d", n.id, n.commit)
	}
}

func (n *scriptNode) showWrites(ws []raft.Write) {
	for _, w := range ws {
		if w.Empty() {
			continue
		}
		var parts []string
		if w.Reset.Index > 0 {
			parts = append(parts, fmt.Sprintf("reset to %s", showPosition(w.Reset.Position)))
		}
		if w.Hard != (raft.HardState{}) {
			parts = append(parts, showHard(w.Hard))
		}
		if w.TruncateFrom > 0 {
			parts = append(parts, fmt.Sprintf("truncate from %d", w.TruncateFrom))
		}
		if len(w.Entries) > 0 {
			parts = append(parts, showEntries(w.Entries))
		}
		n.detail("%v writes #%d: %s", n.id, w.Seq, strings.Join(parts, ", "))
	}
}

// showRequests shows what has been answered, of many the first and the last.
func (n *scriptNode) showRequests(done []*raft.Request) {
	const many = 4
	for i, r := range done {
		switch {
		case len(done) <= many || i == 0 || i == len(done)-1:
			n.showRequest(r)
		case i == 1:
			n.w.printf("...")
		}
	}
}

func (n *scriptNode) showRequest(r *raft.Request) {
	name := n.w.requests[r]
	switch {
	case r.Err != nil:
		n.w.printf("%v answers %s: %v", n.id, name, r.Err)
	case strings.HasPrefix(name, "read "):
		n.w.printf("%v answers %s: index %d", n.id, name, r.At.Index)
	case r.Result == nil:
		n.w.printf("%v answers %s: done at %s", n.id, name, showPosition(r.At))
	default:
		n.w.printf("%v answers %s: command %v, at %s", n.id, name, r.Result, showPosition(r.At))
	}
}

func showHard(h raft.HardState) string {
	if h.Vote.IsZero() {
		return fmt.Sprintf("term %d", h.Term)
	}
	return fmt.Sprintf("term %d vote %v", h.Term, h.Vote)
}

func showPosition(p raft.Position) string { return fmt.Sprintf("%d/%d", p.Index, p.Term) }

func showPeers(peers []raft.Peer) string {
	names := make([]string, len(peers))
	for i, p := range peers {
		names[i] = p.ID.String()
	}
	return strings.Join(names, ",")
}

func showConfig(c raft.Config) string {
	s := showPeers(c.Voters)
	if c.Joint() {
		s += " and " + showPeers(c.Outgoing)
	}
	if len(c.Learners) > 0 {
		s += " with learner " + showPeers(c.Learners)
	}
	return s
}

func showEntry(e raft.Entry) string {
	at := showPosition(e.Position())
	switch e.Kind() {
	case raft.KindNoop:
		return at + " noop"
	case raft.KindConfig:
		c, err := raft.DecodeConfig(e.Index(), e.Data())
		if err != nil {
			return at + " " + err.Error()
		}
		return at + " config " + showConfig(c)
	case raft.KindCommand:
		name, padding, _ := strings.Cut(string(e.Data()), ".")
		if padding != "" {
			name += fmt.Sprintf(" (%d bytes)", len(e.Data()))
		}
		return at + " " + name
	}
	return at + " " + e.Kind().String()
}

// showEntries shows entries, of a long run the ends.
func showEntries(entries []raft.Entry) string {
	const ends = 3
	var parts []string
	for i, e := range entries {
		switch {
		case i < ends || i >= len(entries)-ends:
			parts = append(parts, showEntry(e))
		case i == ends:
			parts = append(parts, "...")
		}
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// messageName is what scripts call a message.
func messageName(m raft.Message) string {
	name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", m.Body), "raft."))
	switch b := m.Body.(type) {
	case raft.Vote:
		if b.Pre {
			return "pre" + name
		}
	case raft.VoteReply:
		if b.Pre {
			return "pre" + name
		}
	}
	return name
}

func showMessage(m raft.Message) string {
	return fmt.Sprintf("%v>%v term %d %s%s", m.From, m.To, m.Term, messageName(m), showBody(m.Body))
}

func showBody(body raft.Body) string {
	switch b := body.(type) {
	case raft.Append:
		return fmt.Sprintf(" after %s %s commit %d%s", showPosition(b.Prev), showEntries(b.Entries), b.Commit, showSession(b.Session))
	case raft.AppendReply:
		s := fmt.Sprintf(" no: %d, perhaps %s", b.Prev, showPosition(b.Hint))
		if b.OK {
			s = fmt.Sprintf(" match %d", b.Match)
		}
		if b.Stateless {
			s += " without state"
		}
		return s + showSession(b.Session)
	case raft.Heartbeat:
		return fmt.Sprintf(" round %s commit %d", showRound(b.Round), b.Commit)
	case raft.HeartbeatReply:
		return fmt.Sprintf(" round %s", showRound(b.Round))
	case raft.Vote:
		s := fmt.Sprintf(" last %s round %s", showPosition(b.Last), showRound(b.Round))
		if b.Transfer {
			s += " by transfer"
		}
		return s
	case raft.VoteReply:
		if b.Granted {
			return fmt.Sprintf(" yes round %s", showRound(b.Round))
		}
		return fmt.Sprintf(" no round %s", showRound(b.Round))
	case raft.ReadIndex:
		return fmt.Sprintf(" %s", showRound(b.Read))
	case raft.ReadIndexReply:
		if b.OK {
			return fmt.Sprintf(" %s: index %d", showRound(b.Read), b.Index)
		}
		return fmt.Sprintf(" %s: no", showRound(b.Read))
	}
	return ""
}

// scriptRoundBits hold the rounds of one life of a node.
const scriptRoundBits = 32

// showRound shows a number that a node has drawn, in its later lives after the number of that life.
func showRound(r uint64) string {
	life, round := r>>scriptRoundBits, r&(1<<scriptRoundBits-1)
	if life <= 1 {
		return fmt.Sprint(round)
	}
	return fmt.Sprintf("%d.%d", life, round)
}

// showSession names a session other than that of the first configuration.
func showSession(s raft.Index) string {
	if s <= 1 {
		return ""
	}
	return fmt.Sprintf(" session %d", s)
}

// status shows where nodes stand.
func (w *scriptWorld) status(a scriptArgs) error {
	nodes, err := w.chosen(a, 0)
	for _, n := range nodes {
		if n.engine == nil {
			w.printf("%v is down", n.id)
			continue
		}
		s, applied := n.engine.Status()
		what := fmt.Sprintf("%v %v term %d, log %d to %s, stable %d, commit %d, applied %d, config %d: %s",
			s.ID, s.Role, s.Term, s.Base.Index+1, showPosition(s.Last), s.Stable, s.Commit, applied, s.Config.Index, showConfig(s.Config))
		if s.Stateless {
			what += ", without state"
		}
		if !s.Transfer.IsZero() {
			what += fmt.Sprintf(", handing over to %v", s.Transfer)
		}
		w.printf("%s", what)
	}
	return err
}

// peers shows what a leader knows of the others.
func (w *scriptWorld) peers(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	s, _ := n.engine.Status()
	for _, p := range s.Peers {
		if p.ID == n.id {
			w.printf("%v itself, match %d", p.ID, p.Match)
			continue
		}
		w.printf("%v %s, match %d, next %d", p.ID, p.State, p.Match, p.Next)
	}
	return nil
}

// log shows what a node's disk holds.
func (w *scriptWorld) log(a scriptArgs) error {
	n, err := w.node(a, a.word(0))
	if err != nil {
		return err
	}
	w.printf("%s, after %s %s", showHard(n.disk.hard), showPosition(n.disk.base.Position), showEntries(n.disk.entries))
	return nil
}

// state shows what a node's state machine holds.
func (w *scriptWorld) state(a scriptArgs) error {
	n, err := w.node(a, a.word(0))
	if err != nil {
		return err
	}
	m := n.machine
	w.printf("at %s: %s; durable at %s", showPosition(m.state.mark.Position), strings.Join(m.state.commands, " "), showPosition(m.durable.mark.Position))
	return nil
}
