package rafttest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/raft"
)

// scriptWorld is all that a script can touch: nodes, the network between them, the time, and what is shown.
type scriptWorld struct {
	now      time.Duration
	nodes    []*scriptNode // in the order of PeerID
	net      []raft.Message
	held     []raft.Message
	broken   map[scriptLink]bool
	kept     *scriptSnapshot // for offer
	requests map[*raft.Request]string

	out    strings.Builder
	brief  bool   // show roles, requests and snapshots only
	indent string // of what a delivery sets off

	leaders    map[raft.Term]raft.PeerID
	applied    map[raft.Index]string
	violations []string
}

// scriptLink is one direction between two nodes.
type scriptLink struct{ from, to raft.NodeID }

func newScriptWorld() *scriptWorld {
	return &scriptWorld{
		broken:   make(map[scriptLink]bool),
		requests: make(map[*raft.Request]string),
		leaders:  make(map[raft.Term]raft.PeerID),
		applied:  make(map[raft.Index]string),
	}
}

// cluster begins anew, with nodes that hold the same first configuration, and spare ones that hold nothing.
func (w *scriptWorld) cluster(a scriptArgs) error {
	*w = *newScriptWorld()
	config, err := a.config()
	if err != nil {
		return err
	}
	spare, err := a.peerList("spare")
	if err != nil {
		return err
	}
	opt, engine, err := scriptOptions(a)
	if err != nil {
		return err
	}
	for _, p := range slices.Concat(config.Peers(), spare) {
		n := &scriptNode{w: w, id: p.ID, opt: opt, engineOpt: engine, autoDisk: true, autoApply: true, autoStream: true, autoFetch: true}
		n.opt.ID, n.opt.Seed = p.ID, uint64(p.ID.Node)
		n.disk.votes = make(map[raft.Term]raft.PeerID)
		if config.Contains(p.ID) {
			first := raft.NewEntry(raft.Position{Index: 1, Term: 1}, raft.KindConfig, config.AppendBinary(nil))
			err = errors.Join(err, n.disk.write([]raft.Write{{Hard: raft.HardState{Term: 1}, Entries: []raft.Entry{first}}}))
		}
		w.nodes = append(w.nodes, n)
	}
	w.sortNodes()
	for _, n := range w.nodes {
		err = errors.Join(err, n.start())
	}
	w.out.Reset()
	return err
}

func (w *scriptWorld) sortNodes() {
	slices.SortFunc(w.nodes, func(a, b *scriptNode) int { return a.id.Compare(b.id) })
}

func scriptOptions(a scriptArgs) (o raft.Options, e raft.EngineOptions, err error) {
	for key, to := range map[string]*int{
		"inflight": &o.MaxInflight, "inflight-bytes": &o.MaxInflightBytes, "append-bytes": &o.MaxAppendBytes,
		"uncommitted": &o.MaxUncommittedBytes, "cache": &o.CacheBytes, "keep": &e.KeepEntries,
	} {
		n, bad := a.number(key, 0)
		*to, err = n, errors.Join(err, bad)
	}
	for key, to := range map[string]*time.Duration{"heartbeat": &o.Heartbeat, "stall": &o.DiskStall} {
		d, bad := a.duration(a.value(key))
		*to, err = d, errors.Join(err, bad)
	}
	return o, e, err
}

// node returns the node that s names.
func (w *scriptWorld) node(a scriptArgs, s string) (*scriptNode, error) {
	id, err := a.peer(s)
	if err != nil {
		return nil, err
	}
	for _, n := range w.nodes {
		if n.id == id {
			return n, nil
		}
	}
	return nil, fmt.Errorf("no node %v", id)
}

// running returns the node that s names if it is up.
func (w *scriptWorld) running(a scriptArgs, s string) (*scriptNode, error) {
	n, err := w.node(a, s)
	if err == nil && n.engine == nil {
		err = fmt.Errorf("node %v is down", n.id)
	}
	return n, err
}

// chosen returns the nodes that the words from i on name, or all.
func (w *scriptWorld) chosen(a scriptArgs, i int) ([]*scriptNode, error) {
	words := a.words()
	if len(words) <= i {
		return w.nodes, nil
	}
	var list []*scriptNode
	for _, s := range words[i:] {
		n, err := w.node(a, s)
		if err != nil {
			return nil, err
		}
		list = append(list, n)
	}
	return list, nil
}

// tick lets time pass: who has fallen due wakes, in the order of time; messages stay on their way.
func (w *scriptWorld) tick(a scriptArgs) error {
	d, err := a.duration(a.word(0))
	if err != nil {
		return err
	}
	return w.pass(d, func() error { return nil })
}

// run lets time pass in a world where everything arrives at once and every node keeps up.
func (w *scriptWorld) run(a scriptArgs) error {
	d, err := a.duration(a.word(0))
	if err != nil {
		return err
	}
	w.brief = !a.flag("all")
	if err := w.quiesce(); err != nil {
		return err
	}
	return w.pass(d, w.quiesce)
}

func (w *scriptWorld) pass(d time.Duration, after func() error) error {
	const enough = 1_000_000
	target := w.now + d
	for range enough {
		var next *scriptNode
		for _, n := range w.nodes {
			if n.engine != nil && n.due() <= target && (next == nil || n.due() < next.due()) {
				next = n
			}
		}
		if next == nil {
			w.now = target
			return nil
		}
		w.now = max(w.now, next.due())
		next.wake()
		if err := after(); err != nil {
			return err
		}
	}
	return errors.New("time does not pass: a deadline stands still")
}

// lapse lets time pass while nobody wakes.
func (w *scriptWorld) lapse(a scriptArgs) error {
	d, err := a.duration(a.word(0))
	if err != nil {
		return err
	}
	if len(a.words()) == 1 {
		w.now += d
		return nil
	}
	nodes, err := w.chosen(a, 1)
	for _, n := range nodes {
		n.skew += d
	}
	return err
}

func (w *scriptWorld) wake(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	n.wake()
	return nil
}

// campaign lets time pass for one node, until it stands for election.
func (w *scriptWorld) campaign(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	const enough = 100
	for range enough {
		if role := n.engine.Standing().Role; role != raft.Follower {
			return nil
		}
		if n.due() > w.now+time.Hour {
			break
		}
		n.skew += max(0, n.due()-w.now)
		n.wake()
	}
	return fmt.Errorf("%v does not stand for election", n.id)
}

// elect makes a node the leader, with its first entry in force wherever it can get.
func (w *scriptWorld) elect(a scriptArgs) error {
	w.brief = true
	w.now += time.Second // the others must have lost sight of a leader before
	if err := w.campaign(a); err != nil {
		return err
	}
	if err := w.rest(); err != nil {
		return err
	}
	n, err := w.running(a, a.word(0))
	if err == nil && n.engine.Standing().Role != raft.Leader {
		err = fmt.Errorf("%v was not elected", n.id)
	}
	return err
}

// settle delivers and finishes everything that is under way.
func (w *scriptWorld) settle(a scriptArgs) error {
	w.brief = !a.flag("all")
	return w.rest()
}

// rest lets everything come to rest. A moment passes for leaders, as they put off what may soon be said with something
// else: the news of a commit.
func (w *scriptWorld) rest() error {
	const moment = 5 * time.Millisecond
	if err := w.quiesce(); err != nil {
		return err
	}
	for _, n := range w.nodes {
		if n.engine != nil && n.engine.Standing().Role == raft.Leader {
			n.skew += moment
			if n.due() <= w.now {
				n.wake()
			}
		}
	}
	return w.quiesce()
}

func (w *scriptWorld) quiesce() error {
	const enough = 100_000
	for range enough {
		switch {
		case len(w.net) > 0:
			m := w.net[0]
			w.net = w.net[1:]
			w.hand([]raft.Message{m})
		case !w.streamNext():
			return nil
		}
	}
	return errors.New("the cluster does not settle")
}

// streamNext sends the first snapshot that some node has been told to send by itself.
func (w *scriptWorld) streamNext() bool {
	for _, n := range w.nodes {
		if n.autoStream && n.engine != nil && len(n.orders) > 0 {
			n.stream(n.orders[0], "")
			return true
		}
	}
	return false
}

func (w *scriptWorld) violate(format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
}
