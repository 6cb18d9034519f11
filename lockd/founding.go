package lockd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"slices"
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// How often the others are asked while a cluster is founded, and how often it is said who is missing.
const (
	askSoonest = 50 * time.Millisecond
	askLatest  = time.Second
	sayMissing = 10 * time.Second
)

// ErrWiped is wrapped by the error of a node whose cluster knows it as another one: its data directory was lost or replaced.
var ErrWiped = errors.New("this node was wiped")

// founding brings a node into its cluster: it opens the log and the Raft port, and, if the cluster does not exist yet, takes part in
// its beginning. Of the listed nodes the first one founds, once all the others have told it that they are empty; the others wait
// until it tells them that they are voters. So a node that was wiped can neither found its cluster again nor pass for what it was,
// and a cluster that was restored on its first node takes the others along, as long as they are empty.
//
// It comes after identify, home.openStore and replica.Open, and before raft.Start. A cluster's incarnation is in its state from its
// first entry on, also after a restore: nobody has to propose it, and nothing can be granted before.
type founding struct {
	config *Config // with its defaults set
	home   home
	id     *identity
	state  *replica.Replica
	// transport is what the Raft port is made of, but for Cluster, Self, Listener and Advertise.
	transport tcp.Options
	client    string             // the address of the client port, for the others to know
	gossip    *membership.Gossip // nil: there is none
	vow       *vow
	wish      *wish       // of an operator, to found a cluster alone
	givenUp   []clusterID // foundings of this node that failed
	waits     *reason     // for others to know
	log       *slog.Logger
}

// founded is a node that has everything to start raft.
type founded struct {
	id        identity
	transport *tcp.Transport
	address   string // of it, for the others
	log       raft.Storage
	voters    []raft.Peer
	detail    nodeDetail // what it tells of itself
}

func (f *founded) close() error { return errors.Join(f.transport.Close(), f.log.Close()) }

// run blocks while nodes that are needed are missing, until ctx ends.
func (f *founding) run(ctx context.Context) (_ *founded, err error) {
	p, err := f.open(ctx, f.config.ListenRaft)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.transport.Close())
		}
		f.deny(err) // or tell that there is a cluster now
	}()
	if err := f.tellGossip(p.advertise); err != nil {
		return nil, err
	}
	voters, err := f.voters(ctx, p)
	if err != nil {
		return nil, err
	}
	done := &founded{id: *f.id, transport: p.transport, address: p.advertise, voters: voters}
	if f.id.Founded {
		done.log, done.voters, err = f.continued()
	} else {
		done.log, err = f.begun(voters)
		done.id = *f.id
	}
	if err != nil {
		return nil, err
	}
	done.detail = f.tell(p.transport, done.voters)
	return done, f.tellGossip(p.advertise)
}

// port is the Raft port of a node.
type port struct {
	transport *tcp.Transport
	advertise string
}

// open listens on the Raft port as a node of the cluster that the identity names.
func (f *founding) open(ctx context.Context, address string) (*port, error) {
	listener, err := f.config.Listen(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("listen on the Raft port: %w", err)
	}
	o := f.transport
	o.Cluster, o.Self, o.Listener = f.id.cluster(), f.id.peer(), listener
	o.Advertise = f.advertise(listener.Addr())
	t, err := tcp.New(o)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	f.tell(t, nil)
	return &port{t, o.Advertise}, nil
}

func (f *founding) advertise(listens net.Addr) string {
	if f.config.AdvertiseRaft != "" {
		return f.config.AdvertiseRaft
	}
	for _, m := range f.id.Members {
		if m.Name == f.id.Name {
			return m.Raft
		}
	}
	return listens.String()
}

// tell says what probes are answered.
func (f *founding) tell(t *tcp.Transport, voters []raft.Peer) nodeDetail {
	d := nodeDetail{name: f.id.Name, client: f.client, nonce: f.id.Nonce}
	for _, v := range voters {
		d.voters = append(d.voters, v.ID)
	}
	t.SetStatus(tcp.Status{Empty: !f.id.Founded, Detail: d.encode()})
	return d
}

// tellGossip says where this node is, and to which cluster it belongs, if to any.
func (f *founding) tellGossip(raftAddress string) error {
	if f.gossip == nil {
		return nil
	}
	return f.gossip.SetSelf(func(m *membership.Meta) {
		m.Raft, m.Joining = raftAddress, f.id.Joins && !f.id.Admitted
		if f.id.Founded {
			m.Cluster = f.id.cluster()
		}
	})
}

// voters returns those of a cluster that begins; they are of no account for a node that has a log.
func (f *founding) voters(ctx context.Context, p *port) ([]raft.Peer, error) {
	self := raft.Peer{ID: f.id.peer(), Address: p.advertise}
	switch {
	case f.id.Founded:
		return nil, nil
	case f.id.alone():
		return []raft.Peer{self}, nil
	case f.id.Joins && f.id.ClusterID.IsZero():
		return f.seek(ctx, p)
	case f.id.Joins:
		return nil, nil
	case f.id.founds():
		return f.gather(ctx, p.transport, self)
	default:
		return nil, f.join(ctx, p)
	}
}

// begun makes the log of a node whose cluster begins: with the state of the founder, or empty.
func (f *founding) begun(voters []raft.Peer) (raft.Storage, error) {
	log, err := f.home.openLog(*f.id)
	if err != nil {
		return nil, err
	}
	if f.id.founds() {
		err = f.found(log, voters)
	}
	if err == nil {
		err = f.vow.settle()
	}
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return log, nil
}

// found begins the cluster's history. Its first entry is no entry of a log: it is in the state that every node gets.
func (f *founding) found(log raft.Storage, voters []raft.Peer) error {
	if r := f.id.Restored; r != nil && f.state.AppliedIndex() < r.Index {
		return errors.Join(errors.New("the restored state is gone: move the data directory away and restore the snapshot again"), f.state.Damaged())
	}
	begin, err := f.incarnation(time.Now())
	if err != nil {
		return err
	}
	mark, err := f.state.Found(raft.Config{Voters: voters}, begin)
	if err != nil {
		return err
	}
	f.log.Info("the cluster is founded", slog.Uint64("entry", uint64(mark.Index)), slog.Uint64("token", begin.Seed))
	return log.Write([]raft.Write{{Seq: 1, Reset: mark, Hard: raft.HardState{Term: mark.Term}}})
}

// incarnation returns what a cluster begins with. Only here is a wall clock believed, as far as it can be right.
func (f *founding) incarnation(wall time.Time) (*locktable.Incarnate, error) {
	begin := &locktable.Incarnate{Seed: f.config.TokenFloor}
	_, _ = rand.Read(begin.Incarnation[:]) // never fails
	if r := f.id.Restored; r != nil {
		begin.Seed = max(begin.Seed, r.Seed)
		if !f.config.NoWait {
			begin.Wait = r.Wait
		}
		return begin, nil
	}
	if begin.Seed > 0 {
		return begin, nil
	}
	var err error
	if begin.Seed, err = locktable.TokenSeed(wall, builtAt(), time.Time{}, 0); err != nil {
		return nil, fmt.Errorf("found the cluster: %w; set the clock, or give a token floor above all tokens there ever were", err)
	}
	return begin, nil
}

// builtAt returns when this program's source was committed; zero if it does not say.
func builtAt() (built time.Time) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			built, _ = time.Parse(time.RFC3339, s.Value)
		}
	}
	return built
}

// continued opens the log of a node that has one, and returns the voters it knows.
func (f *founding) continued() (raft.Storage, []raft.Peer, error) {
	log, err := f.home.openLog(*f.id)
	if err != nil {
		return nil, nil, err
	}
	config, err := f.rejoin(log)
	if err != nil {
		return nil, nil, errors.Join(err, log.Close())
	}
	return log, config.Voters, nil
}

// rejoin returns the configuration in force in the log. A node that has lost its state has to get it from another one.
func (f *founding) rejoin(log raft.Storage) (raft.Config, error) {
	state, err := log.Load()
	if err != nil {
		return raft.Config{}, err
	}
	config := state.Base.Config
	if n := len(state.Configs); n > 0 {
		if config, err = raft.DecodeConfig(state.Configs[n-1].Index(), state.Configs[n-1].Data()); err != nil {
			return raft.Config{}, err
		}
	}
	if f.state.Mark().Index >= state.Base.Index {
		return config, nil
	}
	if _, err := f.state.Recover(); err != nil {
		return raft.Config{}, err
	}
	lost := f.state.Mark().Index < state.Base.Index
	if lost && len(config.Voters) == 1 && config.IsVoter(f.id.peer()) {
		return raft.Config{}, errors.Join(errStateLost, f.state.Damaged())
	}
	return config, nil
}

var errStateLost = errors.New("the state of this node is lost, there is no copy that its log continues, and no other node to get it " +
	"from: move the data directory away, and restore a saved snapshot with \"lockd snapshot restore\"")

// gather asks the others until all of them are empty and of this cluster, and returns all voters. Nobody is left out: who is
// missing may hold the cluster's data.
func (f *founding) gather(ctx context.Context, t *tcp.Transport, self raft.Peer) ([]raft.Peer, error) {
	var voters []raft.Peer
	err := f.ask(ctx, func() (wait, fatal error) {
		voters = voters[:0]
		for _, m := range f.id.Members {
			if m.Name == f.id.Name {
				voters = append(voters, self)
				continue
			}
			other, err := t.Probe(ctx, m.Raft)
			if err != nil {
				return fmt.Errorf("%s does not answer: %w", m.Name, err), nil
			}
			if err := f.isMember(m, other); err != nil {
				return nil, err
			}
			if _, err := decodeDetail(other.Status.Detail); err != nil { // it listens, and has not said yet what it has
				return fmt.Errorf("%s has only begun to start: %w", m.Name, err), nil
			}
			if !other.Status.Empty {
				return nil, f.refuseFounding(m)
			}
			if other.Cluster != f.id.cluster() {
				return fmt.Errorf("%s belongs to another cluster: it has another list or another name of the cluster, or has not "+
					"followed the restored one yet", m.Name), nil
			}
			voters = append(voters, raft.Peer{ID: other.ID, Address: m.Raft})
		}
		return nil, nil
	})
	return voters, err
}

func (f *founding) refuseFounding(m Member) error {
	if f.id.Restored != nil {
		return fmt.Errorf("%s holds the data of a cluster, and a restored one begins with empty nodes: stop it and move its data "+
			"directory away", m.Name)
	}
	return fmt.Errorf("%w: %s belongs to a cluster already, and this node, which is empty, cannot found it again. The cluster goes on "+
		"without it as long as a majority is left", ErrWiped, m.Name)
}

func (f *founding) isMember(m Member, other tcp.Identity) error {
	if want := nodeIDOf(f.id.ClusterName, m.Name); other.ID.Node != want {
		return fmt.Errorf("the node at %s is not %q of the cluster %q: check the names and addresses of the initial cluster", m.Raft,
			m.Name, f.id.ClusterName)
	}
	return nil
}

// join asks the first node until that tells that this one is a voter, and follows it into the cluster of a restored state.
func (f *founding) join(ctx context.Context, p *port) error {
	first := f.id.first()
	return f.ask(ctx, func() (wait, fatal error) {
		by, err := p.transport.Probe(ctx, first.Raft)
		if err != nil {
			return fmt.Errorf("%s, which founds the cluster, does not answer: %w", first.Name, err), nil
		}
		if err := f.isMember(first, by); err != nil {
			return nil, err
		}
		told, err := decodeDetail(by.Status.Detail)
		if err != nil {
			return fmt.Errorf("%s has only begun to start: %w", first.Name, err), nil
		}
		if by.Cluster != clusterIDOf(f.id.ClusterName, f.id.Members, told.nonce) {
			return nil, fmt.Errorf("%s was started with another initial cluster than %v", first.Name, f.id.Members)
		}
		if told.nonce != f.id.Nonce {
			return errFollowed, f.follow(ctx, p, told.nonce)
		}
		switch {
		case by.Status.Empty || len(told.voters) == 0:
			return fmt.Errorf("%s has not founded the cluster yet", first.Name), nil
		case !slices.Contains(told.voters, f.id.peer()):
			return nil, fmt.Errorf("%w: the cluster of %s knows %s with another data directory, and this one is empty", ErrWiped,
				first.Name, f.id.Name)
		}
		return nil, nil
	})
}

var errFollowed = errors.New("this node has just joined a restored cluster")

// follow makes this node, which is empty, one of another cluster with the same list.
func (f *founding) follow(ctx context.Context, p *port, n nonce) error {
	f.id.Nonce = n
	if err := f.home.save(*f.id); err != nil {
		return err
	}
	if err := f.reopen(ctx, p); err != nil {
		return err
	}
	f.log.Info("the first node has a restored cluster; this one follows", slog.String("cluster", fmt.Sprintf("%x", f.id.cluster())))
	return nil
}

// ask calls try until it returns neither error, or a fatal one. Now and then it says what it waits for.
func (f *founding) ask(ctx context.Context, try func() (wait, fatal error)) error {
	pause := time.NewTimer(0)
	defer pause.Stop()
	<-pause.C
	var said time.Time
	for every := askSoonest; ; every = min(2*every, askLatest) {
		wait, fatal := try()
		if wait == nil || fatal != nil {
			return fatal
		}
		f.waits.set(wait)
		if now := time.Now(); now.Sub(said) >= sayMissing {
			f.log.Info("the cluster is not complete yet", slog.Any("wait", wait))
			said = now
		}
		pause.Reset(every)
		select {
		case <-pause.C:
		case w := <-f.vow.wish:
			f.deny(errors.New("another wish of the same kind has come"))
			f.wish = &w
		case <-ctx.Done():
			return fmt.Errorf("%w, while the cluster was not complete: %w", context.Cause(ctx), wait)
		}
	}
}
