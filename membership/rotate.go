package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// order is what a member asks of another about its keys.
type order struct {
	what orderKind
	key  Key        // to install
	id   KeyID      // to use or to remove
	done chan error // of the node's own: has room for what came of it
}

type orderKind byte

const (
	orderInstall orderKind = 'i'
	orderUse     orderKind = 'u'
	orderRemove  orderKind = 'r'
)

func (o order) encode() []byte {
	b := []byte{messageOrder, byte(o.what)}
	if o.what == orderInstall {
		return append(b, o.key...)
	}
	return append(b, o.id[:]...)
}

func decodeOrder(b []byte) (o order, err error) {
	if len(b) < 2 || b[0] != messageOrder {
		return order{}, errors.New("no order")
	}
	o.what, b = orderKind(b[1]), b[2:]
	switch o.what {
	case orderInstall:
		o.key = slices.Clone(b)
		return o, memberlist.ValidateKey(o.key)
	case orderUse, orderRemove:
		if len(b) != len(o.id) {
			return order{}, errors.New("no key is named")
		}
		o.id = KeyID(b)
		return o, nil
	}
	return order{}, fmt.Errorf("unknown order %q", byte(o.what))
}

// follow does what was ordered, by this node or another one, and tells the result through the metadata.
func (g *Gossip) follow(list *memberlist.Memberlist, o order) {
	var err error
	switch o.what {
	case orderInstall:
		err = g.o.Keyring.install(o.key)
	case orderUse:
		err = g.o.Keyring.use(o.id)
	case orderRemove:
		err = g.o.Keyring.remove(o.id)
	}
	g.mu.Lock()
	g.keysTold()
	g.mu.Unlock()
	spread(list)
	if o.done != nil {
		o.done <- err
	} else if err != nil {
		g.o.Logger.Warn("an order about the gossip keys was not followed", slog.String("order", string(o.what)), slog.Any("error", err))
	}
}

// order lets Run follow an order.
func (g *Gossip) order(ctx context.Context, o order) error {
	o.done = make(chan error, 1)
	select {
	case g.orders <- o:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keysTold brings the metadata up to the ring; mu is held, or nobody else is there.
func (g *Gossip) keysTold() {
	if g.o.Keyring != nil {
		g.self.Primary, g.self.Keys = g.o.Keyring.Primary(), g.o.Keyring.IDs()
	}
}

// Errors of a rotation.
var (
	// ErrNotEncrypted is returned when keys are to be changed where there are none.
	ErrNotEncrypted = errors.New("gossip is not encrypted: give every node a key at its start")
	// ErrMembersMissing is wrapped when a node that should take part in a rotation is not there: it would be locked out.
	ErrMembersMissing = errors.New("not all nodes are there")
	// ErrKeyOrder is wrapped when a step of a rotation comes before the one that it needs.
	ErrKeyOrder = errors.New("one step of a rotation after the other: install everywhere, use everywhere, remove")
)

// InstallKey gives every member a key to decrypt with, the first step of a rotation. It returns when all tell that they have it, or
// with the error of ctx and the names of those who do not. Those of required who are no members are an error, before anything is
// changed: they would be locked out later. So is one of them who goes before he has followed; the same step again is safe.
func (g *Gossip) InstallKey(ctx context.Context, k Key, required []Peer) error {
	if err := memberlist.ValidateKey(k); err != nil {
		return err
	}
	return g.rotate(ctx, order{what: orderInstall, key: k}, required, nil,
		func(m *Meta) bool { return slices.Contains(m.Keys, k.ID()) })
}

// UseKey makes every member encrypt with a key that all of them have, the second step. Otherwise as InstallKey.
func (g *Gossip) UseKey(ctx context.Context, id KeyID, required []Peer) error {
	return g.rotate(ctx, order{what: orderUse, id: id}, required,
		func(m *Meta) error {
			if !slices.Contains(m.Keys, id) {
				return fmt.Errorf("%w: %s does not have the key %s yet", ErrKeyOrder, m.Name, id)
			}
			return nil
		},
		func(m *Meta) bool { return m.Primary == id })
}

// RemoveKey drops a key that nobody encrypts with any more, the last step. Otherwise as InstallKey.
func (g *Gossip) RemoveKey(ctx context.Context, id KeyID, required []Peer) error {
	return g.rotate(ctx, order{what: orderRemove, id: id}, required,
		func(m *Meta) error {
			if m.Primary == id {
				return fmt.Errorf("%w: %s still encrypts with the key %s", ErrKeyOrder, m.Name, id)
			}
			return nil
		},
		func(m *Meta) bool { return !slices.Contains(m.Keys, id) })
}

// rotate sends an order to every member that has not followed it, once it may, and waits until all tell that they have.
func (g *Gossip) rotate(ctx context.Context, o order, required []Peer, may func(*Meta) error, done func(*Meta) bool) error {
	if g.o.Keyring == nil {
		return ErrNotEncrypted
	}
	g.mu.Lock()
	list := g.list
	g.mu.Unlock()
	if list == nil {
		return errors.New("gossip has not begun")
	}
	members, err := g.ready(ctx, required, func(m *Meta) error {
		if may == nil || done(m) {
			return nil
		}
		return may(m)
	})
	if err != nil {
		return err
	}
	if err := g.order(ctx, o); err != nil {
		return err
	}
	for _, m := range members {
		if m.Peer == g.o.Self.Peer || done(&m.Meta) {
			continue
		}
		if err := list.SendReliable(&memberlist.Node{Name: m.Peer.name(), Addr: m.Address.Addr().AsSlice(), Port: m.Address.Port()}, o.encode()); err != nil {
			return fmt.Errorf("%s was not reached; the same command again is safe: %w", m.Name, err)
		}
	}
	return g.await(ctx, required, done)
}

// settleTime is how long the members are given to tell what the step before has done: it may have been ordered at another node.
const settleTime = 3 * time.Second

// ready returns the members once all of them may take the step.
func (g *Gossip) ready(ctx context.Context, required []Peer, may func(*Meta) error) ([]Member, error) {
	limit := time.NewTimer(settleTime)
	defer limit.Stop()
	for {
		g.mu.Lock()
		news := g.news
		g.mu.Unlock()
		members, err := g.everybody(required)
		if err != nil {
			return nil, err
		}
		for _, m := range members {
			if err = may(&m.Meta); err != nil {
				break
			}
		}
		if err == nil {
			return members, nil
		}
		select {
		case <-news:
		case <-limit.C:
			return nil, err
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}

// everybody returns the members that are alive, if all who are required are among them.
func (g *Gossip) everybody(required []Peer) (alive []Member, err error) {
	var missing []string
	for _, m := range g.Members() {
		switch {
		case m.Status == Alive:
			alive = append(alive, m)
		case slices.Contains(required, m.Peer):
			missing = append(missing, m.Name)
		}
	}
	for _, p := range required {
		if !slices.ContainsFunc(g.Members(), func(m Member) bool { return m.Peer == p }) {
			missing = append(missing, p.name())
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%w: %s is missing, and would not be heard any more after the rotation: start it, or remove it from the cluster",
			ErrMembersMissing, strings.Join(missing, ", "))
	}
	return alive, nil
}

// await returns when all have followed. Who has gone before that has not, and must not be locked out by the next step.
func (g *Gossip) await(ctx context.Context, required []Peer, done func(*Meta) bool) error {
	for {
		g.mu.Lock()
		news := g.news
		g.mu.Unlock()
		alive, err := g.everybody(required)
		if err != nil {
			return fmt.Errorf("the others have their order; give it again later: %w", err)
		}
		var behind []string
		for _, m := range alive {
			if !done(&m.Meta) {
				behind = append(behind, m.Name)
			}
		}
		if len(behind) == 0 {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("%w: %s has not followed yet; the same command again is safe", context.Cause(ctx), strings.Join(behind, ", "))
		}
	}
}
