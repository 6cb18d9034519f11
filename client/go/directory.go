package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
)

const (
	// dialPatience is how long one node may take from the first packet to its Welcome.
	dialPatience = 3 * time.Second

	// hedge is how long one node may take before another one is tried beside it.
	hedge = 250 * time.Millisecond

	// grudge is for how long an address that did not answer is tried after all others.
	grudge = 30 * time.Second

	// roundPause and roundPauseMax bound the pause after no node was reached, which doubles from round to round.
	roundPause    = 50 * time.Millisecond
	roundPauseMax = 2 * time.Second
)

// directory knows where the cluster can be reached, and connects to it. It is safe for concurrent use.
type directory struct {
	endpoints  []string // of the configuration
	dial       func(ctx context.Context, address string) (net.Conn, error)
	tls        *tls.Config
	credential []byte
	patience   time.Duration

	mu          sync.Mutex // guards all below
	cluster     wire.ID    // zero: not known yet
	incarnation wire.ID
	nodes       []wire.Node
	leader      uint64
	failed      map[string]time.Time // when an address did not answer
}

func newDirectory(cfg *Config) *directory {
	d := &directory{
		endpoints: slices.Clone(cfg.Endpoints), dial: cfg.Dial, tls: cfg.TLS, credential: cfg.Credential,
		patience: dialPatience, failed: make(map[string]time.Time),
	}
	if d.dial == nil {
		d.dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	return d
}

// identity returns the cluster and incarnation that the nodes are to belong to, zero if any may do.
func (d *directory) identity() (cluster, incarnation wire.ID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster, d.incarnation
}

// welcomed takes what a node tells. It is refused if it belongs to another cluster than the one it was asked for.
func (d *directory) welcomed(w *wire.Welcome, cluster, incarnation wire.ID, endpoint string) error {
	if w.Version < wire.VersionMin || w.Version > wire.VersionMax {
		text := fmt.Sprintf("it speaks version %d, this client %d to %d", w.Version, wire.VersionMin, wire.VersionMax)
		return refusal(&wire.Goodbye{Code: wire.VersionMismatch, Text: text}, endpoint)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if cluster != (wire.ID{}) && (w.Cluster != cluster || w.Incarnation != incarnation) {
		text := fmt.Sprintf("cluster %v, incarnation %v", w.Cluster, w.Incarnation)
		return refusal(&wire.Goodbye{Code: wire.WrongCluster, Text: text}, endpoint)
	}
	d.cluster, d.incarnation = w.Cluster, w.Incarnation
	d.nodes, d.leader = w.Nodes, w.Leader
	return nil
}

// told takes news of the nodes.
func (d *directory) told(n *wire.Nodes) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.nodes, d.leader = n.Nodes, n.Leader
}

// forget lets any cluster do. What is known of the present one is not, in another: there every session has ended.
func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cluster, d.incarnation, d.nodes, d.leader = wire.ID{}, wire.ID{}, nil, 0
}

// list returns the nodes, and who leads.
func (d *directory) list() (nodes []wire.Node, leader uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.nodes), d.leader
}

// order returns every address that is known, but that of the node to avoid: that of the leader first, those that did not answer of
// late last, and else at random, so that the clients of a node that died spread.
func (d *directory) order(avoid uint64) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.failed, func(_ string, at time.Time) bool { return time.Since(at) >= grudge })
	all := slices.Clone(d.endpoints)
	leader := ""
	for _, n := range d.nodes {
		if n.ID == avoid && len(d.nodes) > 1 {
			all = slices.DeleteFunc(all, func(a string) bool { return a == n.Address })
			continue
		}
		if n.Address == "" {
			continue
		}
		if !slices.Contains(all, n.Address) {
			all = append(all, n.Address)
		}
		if n.ID == d.leader {
			leader = n.Address
		}
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.SortStableFunc(all, func(a, b string) int {
		return cmp.Or(d.failed[a].Compare(d.failed[b]), -compareBool(a == leader, b == leader))
	})
	return all
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	default:
		return -1
	}
}

// outcome notes whether an address answered.
func (d *directory) outcome(address string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		delete(d.failed, address)
	} else {
		d.failed[address] = time.Now()
	}
}

// connect returns a link to a node other than avoid (unless there is but one), the leader if it can be had at once. It tries every
// address once: the next one when one has failed, or has not answered for a while, as those of stopped nodes do. When all that
// answered refused for good, so does it: the error wraps an *Error.
func (d *directory) connect(ctx context.Context, avoid uint64) (*link, error) {
	dialing, cancel := context.WithCancel(ctx)
	defer cancel()
	addresses := d.order(avoid)
	r := round{dir: d, avoid: avoid, err: roundError{refused: true}}
	ended := make(chan attempt, len(addresses))
	next := time.NewTimer(0)
	defer next.Stop()
	for begun, open := 0, 0; open > 0 || begun < len(addresses) && dialing.Err() == nil; {
		select {
		case <-next.C:
			if begun == len(addresses) || dialing.Err() != nil {
				continue
			}
			a := attempt{address: addresses[begun], began: time.Now()}
			begun++
			open++
			go func() {
				a.link, a.err = d.open(dialing, a.address)
				ended <- a
			}()
			next.Reset(hedge)
		case a := <-ended:
			open--
			if r.take(a, dialing.Err() != nil); r.won != nil {
				cancel() // the others end at once
			} else {
				next.Reset(0)
			}
		}
	}
	switch {
	case ctx.Err() != nil:
		if r.won != nil {
			r.won.close()
		}
		return nil, context.Cause(ctx)
	case r.won != nil:
		return d.prefer(ctx, r.won, avoid), nil
	case r.wrong: // the cluster was restored, or its addresses are another's by now
		d.forget()
		r.err.refused = false
	}
	return nil, &r.err
}

// attempt is how one address answered.
type attempt struct {
	address string
	began   time.Time
	link    *link
	err     error
}

// round gathers how the addresses answered.
type round struct {
	dir   *directory
	avoid uint64
	won   *link
	wrong bool // one belongs to another cluster
	err   roundError
}

// take takes an attempt that has ended; late tells that it was not needed any more.
func (r *round) take(a attempt, late bool) {
	if !late || a.err == nil || time.Since(a.began) >= hedge {
		r.dir.outcome(a.address, a.err)
	}
	switch {
	case a.err != nil:
	case r.won != nil:
		a.link.close()
		return
	case a.link.welcome.Node == r.avoid && !r.dir.alone():
		a.link.close()
		a.err = fmt.Errorf("%s is the node that is connected already", a.address)
	default:
		r.won = a.link
		return
	}
	if e, ok := errors.AsType[*Error](a.err); !ok || wire.Code(e.Code).Advice() != wire.Final {
		r.err.refused = false
	} else if wire.Code(e.Code) == wire.WrongCluster {
		r.wrong = true
	}
	r.err.errs = append(r.err.errs, a.err)
}

// alone reports whether the cluster has but one node.
func (d *directory) alone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.nodes) <= 1
}

// prefer returns a link to the leader in place of l, if l knows one that answers at once.
func (d *directory) prefer(ctx context.Context, l *link, avoid uint64) *link {
	w := l.welcome
	if w.Leader == 0 || w.Leader == w.Node || w.Leader == avoid {
		return l
	}
	i := slices.IndexFunc(w.Nodes, func(n wire.Node) bool { return n.ID == w.Leader })
	if i < 0 || w.Nodes[i].Address == "" || d.held(w.Nodes[i].Address) {
		return l
	}
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	leader, err := d.open(ctx, w.Nodes[i].Address)
	d.outcome(w.Nodes[i].Address, err)
	if err != nil {
		return l
	}
	l.close()
	return leader
}

// reaches reports whether a node has an address that has not failed of late.
func (d *directory) reaches(node uint64) bool {
	nodes, _ := d.list()
	i := slices.IndexFunc(nodes, func(n wire.Node) bool { return n.ID == node })
	return i >= 0 && nodes[i].Address != "" && !d.held(nodes[i].Address)
}

// held reports whether an address did not answer of late.
func (d *directory) held(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, bad := d.failed[address]
	return bad
}

// roundError says that no node could be connected to.
type roundError struct {
	errs    []error
	refused bool // all of them said so, for good
}

func (e *roundError) Error() string {
	if len(e.errs) == 0 {
		return "no address is known"
	}
	return errors.Join(e.errs...).Error()
}

func (e *roundError) Unwrap() []error { return e.errs }

// secured speaks TLS.
func secured(ctx context.Context, raw net.Conn, cfg *tls.Config, endpoint string) (net.Conn, error) {
	if cfg.ServerName == "" && !cfg.InsecureSkipVerify {
		host, _, err := net.SplitHostPort(endpoint)
		if err != nil {
			return nil, err
		}
		cfg = cfg.Clone()
		cfg.ServerName = host
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return conn, nil
}

// pause waits before the next attempt: full jitter up to a bound that doubles with each.
func pause(ctx context.Context, attempt int, first, most time.Duration) {
	bound := min(first<<min(attempt, 16), most)
	sleep(ctx, time.Duration(rand.Int64N(int64(bound)))+time.Millisecond)
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
