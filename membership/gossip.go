package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Options say how a node gossips.
type Options struct {
	// Self is what the node tells of itself; SetSelf changes it.
	Self Meta
	// ClusterName is told to everybody in the clear; nodes with another one are not heard.
	ClusterName string
	// Packets and Streams are a UDP socket and a TCP listener, usually at one port. Run closes them.
	Packets net.PacketConn
	Streams net.Listener
	// Dial connects to other nodes' streams. Nil: by TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Advertise is where others reach this node; zero: where it listens, which must then be no wildcard.
	Advertise netip.AddrPort
	// Keyring encrypts and authenticates all gossip. Nil: everything is in the clear, and whoever reaches the port takes part.
	Keyring *Keyring
	Profile Profile
	// Seeds are tried as long as they are no members.
	Seeds    []Seed
	Resolver Resolver // nil: net.DefaultResolver

	Logger *slog.Logger
	Events Events
}

// Events tell what happens. All are called by Run's goroutine, one at a time, and may be nil.
type Events struct {
	// Changed is called after members have changed.
	Changed func()
	// Suspect is called when this node has probed a member in vain, or hears that it is dead. The member may be well.
	Suspect func(Member)
	// Refused is called when a node is not taken for a member, or does not take this one.
	Refused func(Refusal)
}

// Status is what is known of a member.
type Status byte

// Statuses of a Member.
const (
	Alive  Status = iota // it answers
	Failed               // it has gone without a word
	Left                 // it has said goodbye
)

// String returns "alive", "failed" or "left".
func (s Status) String() string {
	switch s {
	case Alive:
		return "alive"
	case Failed:
		return "failed"
	default:
		return "left"
	}
}

// Member is another node, or this one, as gossip sees it.
type Member struct {
	Meta
	Address netip.AddrPort // of its gossip port
	Status  Status
	Since   time.Time // of the status
}

// Refusal says why a node is no member.
type Refusal struct {
	Address string // of the other node
	Name    string // of the other node, if it is known
	Reason  error
	At      time.Time
}

// Gossip is this node's part in the gossip. All methods are safe for concurrent use.
type Gossip struct {
	o       Options
	address netip.AddrPort
	timing  timing
	wake    chan struct{} // has one when something waits for Run to tell it
	orders  chan order    // about keys

	mu       sync.Mutex             // guards the fields below
	list     *memberlist.Memberlist // nil before Run
	self     Meta
	unspread bool   // self has changed, and Run is to let others know
	lines    []line // of memberlist's log
	unsaid   int    // lines that were too many
	asked    bool   // see Asked
	members  map[string]Member
	changed  bool
	doubts   []Member
	refusals []Refusal           // that Run has not told yet
	refused  map[string][]string // what was told, by address
	leaving  map[string]struct{} // who has said goodbye and is not gone yet
	news     chan struct{}       // closed when members have changed
	counts   Counts
}

// maxWaiting bounds what waits for Run; more of the same is dropped.
const maxWaiting = 128

// New makes the node known to itself; it speaks to nobody before Run.
func New(o Options) (*Gossip, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.ClusterName == "" || len(label(o.ClusterName)) > memberlist.LabelMaxSize {
		return nil, fmt.Errorf("a cluster's name has 1 to %d bytes to gossip, not %d", memberlist.LabelMaxSize-len(label("")), len(o.ClusterName))
	}
	timing, err := o.Profile.timing()
	if err != nil {
		return nil, err
	}
	address, err := o.advertise()
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		o: o, address: address, timing: timing, self: o.Self, members: map[string]Member{}, refused: map[string][]string{}, leaving: map[string]struct{}{},
		wake: make(chan struct{}, 1), orders: make(chan order, 16), news: make(chan struct{}),
	}
	g.keysTold()
	if err := g.self.Validate(); err != nil {
		return nil, err
	}
	return g, nil
}

func label(cluster string) string { return "lockd/" + cluster }

// advertise returns where others reach this node.
func (o *Options) advertise() (netip.AddrPort, error) {
	if o.Advertise.IsValid() {
		return o.Advertise, nil
	}
	at, err := netip.ParseAddrPort(o.Packets.LocalAddr().String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("the address of the gossip port: %w", err)
	}
	at = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
	if at.Addr().IsUnspecified() {
		return netip.AddrPort{}, fmt.Errorf("gossip listens on all addresses (%s): say at which one others reach this node", at)
	}
	return at, nil
}

// Run gossips until ctx ends, and then leaves: the others learn at once that the node has gone in peace. A second after that it stops
// in any case. It returns an error only if it could not begin.
func (g *Gossip) Run(ctx context.Context) error {
	t := newTransport(ctx, &g.o, g.address)
	list, err := memberlist.Create(g.config(t))
	if err != nil {
		return errors.Join(fmt.Errorf("begin to gossip: %w", err), t.Shutdown())
	}
	g.mu.Lock()
	g.list = list
	g.mu.Unlock()
	joining, stop := context.WithCancel(ctx)
	var rejoin sync.WaitGroup
	rejoin.Go(func() { g.rejoin(joining, list) })
	g.serve(ctx, list)
	stop()
	g.sayGoodbye(list)
	err = list.Leave(leaveTime)
	if err != nil {
		g.o.Logger.Warn("nobody has heard that this node leaves", slog.Any("error", err))
	}
	err = list.Shutdown() // ends the dials of rejoin
	rejoin.Wait()
	if err != nil {
		g.o.Logger.Warn("close the gossip port", slog.Any("error", err))
	}
	return nil
}

const leaveTime = time.Second

// config is memberlist's.
func (g *Gossip) config(t *transport) *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	g.timing.set(c)
	c.Name, c.Label = g.o.Self.Peer.name(), label(g.o.ClusterName)
	c.Transport = t
	c.BindPort, c.AdvertisePort = int(g.address.Port()), int(g.address.Port())
	c.DeadNodeReclaimTime = 10 * time.Second
	c.DelegateProtocolMin, c.DelegateProtocolMax, c.DelegateProtocolVersion = gossipMin, gossipMax, gossipMax
	d := &delegate{g}
	c.Delegate, c.Events, c.Alive, c.Merge, c.Conflict = d, d, d, d, d
	if g.o.Keyring != nil {
		c.Keyring = g.o.Keyring.ring
	}
	c.Logger = slog.NewLogLogger(logHandler{g}, slog.LevelInfo)
	return c
}

// Versions of what the package puts into gossip that its build can read.
const (
	gossipMin = 1
	gossipMax = 1
)

// serve tells what has happened and follows orders until ctx ends. Nobody else spreads the metadata: of two who did, the one that
// had read them first could be the last.
func (g *Gossip) serve(ctx context.Context, list *memberlist.Memberlist) {
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-g.orders:
			g.follow(list, o)
		case <-g.wake:
			g.tell(ctx, list)
		}
	}
}

func (g *Gossip) tell(ctx context.Context, list *memberlist.Memberlist) {
	g.mu.Lock()
	unspread := g.unspread
	g.unspread = false
	changed, doubts, refusals, lines, unsaid := g.changed, g.doubts, g.refusals, g.lines, g.unsaid
	g.changed, g.doubts, g.refusals, g.lines, g.unsaid = false, nil, nil, nil, 0
	g.mu.Unlock()
	if unspread {
		spread(list)
	}
	for _, l := range lines {
		g.o.Logger.Log(ctx, l.level, "gossip", slog.String("said", l.text))
	}
	if unsaid > 0 {
		g.o.Logger.Warn("gossip had more to say than fits the log", slog.Int("lines", unsaid))
	}
	if changed && g.o.Events.Changed != nil {
		g.o.Events.Changed()
	}
	for _, m := range doubts {
		if g.o.Events.Suspect != nil {
			g.o.Events.Suspect(m)
		}
	}
	for _, r := range refusals {
		g.o.Logger.Warn("not a member", slog.String("address", r.Address), slog.String("node", r.Name), slog.Any("reason", r.Reason))
		if g.o.Events.Refused != nil {
			g.o.Events.Refused(r)
		}
	}
}

func (g *Gossip) notify() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// Address returns where others reach this node.
func (g *Gossip) Address() netip.AddrPort { return g.address }

// Members returns everybody who is known, this node too, in the order of their names. Who has failed or left is kept for three days.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Member, 0, len(g.members))
	for _, m := range g.members {
		list = append(list, m)
	}
	slices.SortFunc(list, compareMembers)
	return list
}

// Counts are what a node has seen of failures since its start, true ones and false ones.
type Counts struct {
	Suspicions  uint64 // members that did not answer a probe
	Failures    uint64 // members that were taken for dead
	Refutations uint64 // times that others took this node for dead, or suspected it, and it told them otherwise
}

// Counts returns what has been seen of failures.
func (g *Gossip) Counts() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.counts
}

// Health returns memberlist's score of this node: 0 if it keeps up with its own probes, up to 7 if it does not. A node that is slow
// takes others for dead.
func (g *Gossip) Health() int {
	g.mu.Lock()
	list := g.list
	g.mu.Unlock()
	if list == nil {
		return 0
	}
	return list.GetHealthScore()
}
