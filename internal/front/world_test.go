package front_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

// Ids of the cluster of every test.
var (
	clusterID     = wire.ID{0xc1}
	incarnationID = wire.ID{0xc2}
)

// world is a cluster of nodes with real Fronts and lock tables, over a log that everybody agrees on at once.
type world struct {
	t     *testing.T
	net   *memnet.Network
	nodes []*node
	began time.Time

	mu      sync.Mutex // guards the fields below
	changed chan struct{}
	entries [][]byte
	leader  int // place of the leader among nodes; -1: none
	term    raft.Term
}

// node is one node: what a Front asks of the rest of it.
type node struct {
	w     *world
	place int
	front *front.Front
	life  context.Context
	end   func() error

	tableMu sync.RWMutex
	table   *locktable.Table
	replies []locktable.Reply // by index

	// The fields below are guarded by world.mu.
	applied raft.Index
	held    bool  // nothing is applied
	refuse  error // of proposals
	stuck   bool  // proposals are not answered
	mute    bool  // KeepAlives are not answered
	full    error // of Grow
	took    [][]session.KeepAlive
	parted  [][]session.Life
	data    [][]byte // proposed here
}

// newWorld runs n nodes; the first one leads.
func newWorld(t *testing.T, n int, with ...func(*front.Options)) *world {
	t.Helper()
	w := &world{t: t, net: memnet.New(), began: time.Now(), changed: make(chan struct{}), leader: -1}
	for i := range n {
		w.nodes = append(w.nodes, w.newNode(i, with))
	}
	w.propose(locktable.Encode(&locktable.Incarnate{Incarnation: incarnationID, Seed: 1000}))
	w.lead(0)
	return w
}

func (w *world) newNode(i int, with []func(*front.Options)) *node {
	w.t.Helper()
	host := w.net.Host(fmt.Sprintf("n%d", i+1))
	l, err := host.Listen(address(i))
	if err != nil {
		w.t.Fatal(err)
	}
	n := &node{w: w, place: i, table: locktable.NewTable(), replies: make([]locktable.Reply, 1)}
	o := front.Options{
		Listener: l, Dial: host.Dial, Cluster: func() ([16]byte, [16]byte) { return clusterID, incarnationID },
		Self: wire.Node{ID: uint64(i + 1), Name: fmt.Sprintf("n%d", i+1), Address: address(i), Voter: true}, Peer: peerID(i), Boot: uint64(100 + i),
		Agent: "test/1", State: n, Raft: n, Tenure: n, Nodes: w.directory, Grow: n.grow,
	}
	for _, f := range with {
		f(&o)
	}
	if n.front, err = front.New(o); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.t.Context()))
	n.life = ctx
	ended := make(chan error, 1)
	go func() { ended <- n.front.Run(ctx) }()
	n.end = sync.OnceValue(func() error { cancel(); return <-ended })
	w.t.Cleanup(func() {
		if err := n.end(); err != nil {
			w.t.Errorf("node %d: Run: %v", i+1, err)
		}
	})
	return n
}

func address(i int) string { return fmt.Sprintf("n%d:7400", i+1) }

func peerID(i int) raft.PeerID { return raft.PeerID{Node: raft.NodeID(i + 1), Incarnation: 1} }

func (w *world) directory() []wire.Node {
	var nodes []wire.Node
	for i := range max(len(w.nodes), 3) {
		nodes = append(nodes, wire.Node{ID: uint64(i + 1), Name: fmt.Sprintf("n%d", i+1), Address: address(i), Voter: true})
	}
	return nodes
}

// set changes something, and wakes who waits for it.
func (w *world) set(f func()) {
	w.mu.Lock()
	f()
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	for _, n := range w.nodes {
		n.catchUp()
	}
}

// get returns something that changes.
func get[T any](w *world, f func() T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return f()
}

// await waits until something holds, or ctx ends.
func (w *world) await(ctx context.Context, holds func() bool) error {
	for {
		w.mu.Lock()
		ok, changed := holds(), w.changed
		w.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// lead makes a node lead, or none.
func (w *world) lead(place int) {
	w.set(func() { w.leader = place; w.term++ })
	for i, n := range w.nodes {
		s := raft.Standing{Role: raft.Follower, Term: w.term}
		if place >= 0 {
			s.Leader = peerID(place)
		}
		if i == place {
			s.Role = raft.Leader
		}
		n.front.Standing(s)
	}
}

func (w *world) clock() time.Duration { return time.Since(w.began) }

// propose appends a command to the log.
func (w *world) propose(data []byte) raft.Index {
	locktable.SetStamp(data, w.clock())
	var index raft.Index
	w.set(func() {
		w.entries = append(w.entries, data)
		index = raft.Index(len(w.entries))
	})
	return index
}

// catchUp applies what the node lacks.
func (n *node) catchUp() {
	for {
		n.tableMu.Lock()
		n.w.mu.Lock()
		index := n.applied + 1
		if n.held || int(index) > len(n.w.entries) {
			n.w.mu.Unlock()
			n.tableMu.Unlock()
			return
		}
		data := n.w.entries[index-1]
		n.w.mu.Unlock()
		done, err := n.table.Apply(uint64(index), 1, data)
		if err != nil {
			n.w.t.Errorf("apply %d: %v", index, err)
		}
		n.replies = append(n.replies, done.Reply)
		n.front.Applied(replica.Applied{Index: index, Term: 1, Effects: done.Effects, Table: n.table})
		n.w.mu.Lock()
		n.applied = index
		close(n.w.changed)
		n.w.changed = make(chan struct{})
		n.w.mu.Unlock()
		n.tableMu.Unlock()
	}
}

// install replaces the node's state by that of another one, as a snapshot does.
func (n *node) install(from *node) {
	n.tableMu.Lock()
	from.tableMu.RLock()
	changes := from.table.All()
	loader, err := locktable.NewLoader(changes.Index, changes.Term, changes.Meta)
	if err != nil {
		n.w.t.Fatal(err)
	}
	for _, r := range changes.Records {
		if err := loader.Add(r); err != nil {
			n.w.t.Fatal(err)
		}
	}
	n.table, err = loader.Done(changes.Hash, changes.Count)
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.replies = append([]locktable.Reply(nil), from.replies...)
	from.tableMu.RUnlock()
	n.tableMu.Unlock()
	n.w.set(func() { n.applied = raft.Index(changes.Index) })
	n.front.Installed()
}

func (n *node) View(f func(*locktable.Table)) {
	n.tableMu.RLock()
	defer n.tableMu.RUnlock()
	f(n.table)
}

func (n *node) AppliedIndex() raft.Index { return get(n.w, func() raft.Index { return n.applied }) }

func (n *node) Wait(ctx context.Context, index raft.Index) error {
	return n.w.await(ctx, func() bool { return n.applied >= index })
}

func (n *node) Read(ctx context.Context) (raft.Index, error) {
	if err := n.w.await(ctx, func() bool { return n.w.leader >= 0 }); err != nil {
		return 0, err
	}
	index := get(n.w, func() raft.Index { return raft.Index(len(n.w.entries)) })
	return index, n.Wait(ctx, index)
}

func (n *node) Status(context.Context) (raft.Status, raft.Index, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	s := raft.Status{ID: peerID(n.place), Term: n.w.term, Commit: raft.Index(len(n.w.entries))}
	if n.w.leader >= 0 {
		s.Leader = peerID(n.w.leader)
	}
	return s, n.applied, nil
}

func (n *node) leads() bool { return get(n.w, func() bool { return n.w.leader == n.place }) }

func (n *node) Clock() (time.Duration, bool) { return n.w.clock(), n.leads() }

func (n *node) grow() error { return get(n.w, func() error { return n.full }) }

func (n *node) Submit(o *tenure.Order) error {
	if !n.leads() {
		return &raft.NotLeaderError{}
	}
	n.w.set(func() { n.data = append(n.data, o.Data) })
	o.Stamped = time.Now()
	go func() { o.Proposed(n.commit(o.Data)) }()
	return nil
}

// commit brings a command through the log, as long as the node lives.
func (n *node) commit(data []byte) (raft.Result, error) {
	if err := get(n.w, func() error { return n.refuse }); err != nil {
		return raft.Result{}, err
	}
	if err := n.w.await(n.life, func() bool { return !n.stuck }); err != nil {
		return raft.Result{}, fmt.Errorf("%w: %w", raft.ErrUnknown, err)
	}
	proposed := time.Now()
	index := n.w.propose(data)
	if err := n.Wait(n.life, index); err != nil {
		return raft.Result{}, fmt.Errorf("%w: %w", raft.ErrUnknown, err)
	}
	n.tableMu.RLock()
	defer n.tableMu.RUnlock()
	outcome := &replica.Outcome{Reply: n.replies[index], Began: proposed, Ended: time.Now()}
	return raft.Result{At: raft.Position{Index: index, Term: 1}, Value: outcome}, nil
}

// KeepAlive answers as a Keeper does that has its quorum round at once.
func (n *node) KeepAlive(kas []session.KeepAlive) {
	if !n.leads() {
		return
	}
	n.w.set(func() { n.took = append(n.took, kas) })
	if !get(n.w, func() bool { return n.mute }) {
		go n.answer(kas)
	}
}

// answer confirms KeepAlives.
func (n *node) answer(kas []session.KeepAlive) {
	index := get(n.w, func() int { return len(n.w.entries) })
	answers := make([]session.Answer, len(kas))
	n.View(func(t *locktable.Table) {
		for i, ka := range kas {
			answers[i] = session.Answer{KeepAlive: ka, Verdict: session.Renewed, ReadIndex: uint64(index)}
			if _, _, ok := t.Session(ka.Life); !ok {
				answers[i].Verdict = session.Unknown
			}
		}
	})
	n.front.Answers(n.w.clock(), answers)
}

func (n *node) Disconnected(lives []session.Life) {
	n.w.set(func() { n.parted = append(n.parted, lives) })
}

// client is a client's side of a connection.
type client struct {
	t    *testing.T
	conn net.Conn
	in   *wire.Reader
	out  *wire.Writer
	id   uint64 // of the last request
}

// dial connects without a word.
func (w *world) dial(place int) *client {
	w.t.Helper()
	conn, err := w.net.Host("client").Dial(w.t.Context(), address(place))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return &client{t: w.t, conn: conn, in: wire.NewReader(conn, wire.FrameMax), out: wire.NewWriter(conn)}
}

// connect connects and is welcomed.
func (w *world) connect(place int) *client {
	w.t.Helper()
	c := w.dial(place)
	c.send(hello())
	next[*wire.Welcome](c)
	return c
}

func hello() *wire.Hello {
	return &wire.Hello{Magic: wire.Magic, VersionMin: 1, VersionMax: 1, Role: wire.RoleClient, Agent: "test/1"}
}

func (c *client) send(ms ...wire.Message) {
	c.t.Helper()
	for _, m := range ms {
		if err := c.out.Write(m); err != nil {
			c.t.Fatalf("write %s: %v", m.Type(), err)
		}
	}
	if err := c.out.Flush(); err != nil {
		c.t.Fatalf("flush: %v", err)
	}
}

// raw sends bytes.
func (c *client) raw(b []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

// read returns the next message, nil when the connection is over.
func (c *client) read() wire.Message {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	m, err := c.in.Read()
	switch {
	case err == nil:
		return m
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.t.Fatal("nothing arrives")
	}
	return nil // reset
}

// quiet fails if a message arrives within d.
func (c *client) quiet(d time.Duration) {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		c.t.Fatal(err)
	}
	if m, err := c.in.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatalf("%+v, %v arrives", m, err)
	}
}

// next returns the next message, which must be of this type; news of the leader are passed over.
func next[M wire.Message](c *client) M {
	c.t.Helper()
	for {
		m := c.read()
		if got, ok := m.(M); ok {
			return got
		}
		if _, ok := m.(*wire.Nodes); !ok {
			var want M
			c.t.Fatalf("got %T %+v, want %T", m, m, want)
		}
	}
}

// over checks that the connection is ended with this code.
func (c *client) over(code wire.Code) {
	c.t.Helper()
	if g := next[*wire.Goodbye](c); g.Code != code || g.Text == "" {
		c.t.Fatalf("goodbye %v %q, want %v", g.Code, g.Text, code)
	}
	if m := c.read(); m != nil {
		c.t.Fatalf("%T after goodbye", m)
	}
}

// reply returns the outcome of the request that was sent last.
func (c *client) reply() wire.Outcome {
	c.t.Helper()
	r := next[*wire.Reply](c)
	if r.ID != c.id {
		c.t.Fatalf("reply to %d, want %d", r.ID, c.id)
	}
	return r.Outcome
}

// failure returns the failure of the request that was sent last.
func (c *client) failure() *wire.Failure {
	c.t.Helper()
	f := next[*wire.Failure](c)
	if f.ID != c.id {
		c.t.Fatalf("failure of %d, want %d", f.ID, c.id)
	}
	return f
}

func (c *client) next() uint64 { c.id++; return c.id }

// open opens a session of 15 s.
func (c *client) open(id byte) wire.Life {
	c.t.Helper()
	return c.openWith(id, 15*time.Second, 0)
}

func (c *client) openWith(id byte, ttl, grace time.Duration) wire.Life {
	c.t.Helper()
	c.send(&wire.Open{ID: c.next(), Session: wire.ID{id}, TTL: ttl, Grace: grace})
	r := next[*wire.Reply](c)
	if r.Outcome.Code != wire.OK || r.ID != c.id {
		c.t.Fatalf("open: %+v", r)
	}
	return wire.Life{ID: wire.ID{id}, Index: r.Index}
}

func (c *client) acquire(life wire.Life, seq uint64, wait time.Duration, names ...string) *wire.Acquire {
	return &wire.Acquire{
		ID: c.next(), Request: wire.Request{Life: life, Seq: seq}, Names: names, Mode: wire.Exclusive, Wait: wait, Owner: seq,
	}
}

func (c *client) release(life wire.Life, seq uint64, name string, token uint64) *wire.Release {
	return &wire.Release{ID: c.next(), Request: wire.Request{Life: life, Seq: seq}, Name: name, Token: token}
}

// want checks the code of the reply to a request.
func (c *client) want(m wire.Message, code wire.Code) wire.Outcome {
	c.t.Helper()
	c.send(m)
	o := c.reply()
	if o.Code != code {
		c.t.Fatalf("%s: %v, want %v", m.Type(), o.Code, code)
	}
	return o
}

// expire ends sessions, as the leader does whose time they are out of.
func (w *world) expire(lives ...wire.Life) {
	for len(lives) > 0 {
		n := min(len(lives), locktable.ExpireMax)
		cmd := &locktable.Expire{Term: 1}
		for _, l := range lives[:n] {
			cmd.Lives = append(cmd.Lives, session.Life{ID: session.ID(l.ID), Index: l.Index})
		}
		w.propose(locktable.Encode(cmd))
		lives = lives[n:]
	}
}
