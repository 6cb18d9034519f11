package lockd

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

// vow keeps what a node without a cluster has promised. It owns the identity until the node has a cluster; other nodes ask it while
// the node's own search goes on. Whoever has the turn may write to the disk, and nobody waits for a mutex meanwhile.
type vow struct {
	turn chan struct{}
	home home
	id   *identity
	wish <-chan wish // what an operator asks for
}

// wish asks for a cluster to be founded by this node alone.
type wish struct{ done chan error }

func newVow(h home, id *identity, wishes <-chan wish) *vow {
	return &vow{turn: make(chan struct{}, 1), home: h, id: id, wish: wishes}
}

func (v *vow) do(f func() error) error {
	v.turn <- struct{}{}
	defer func() { <-v.turn }()
	return f()
}

// change saves a changed identity before it counts. Only the fields that it assigns may be changed. The caller has the turn.
func (v *vow) change(f func(*identity)) error {
	next := *v.id
	f(&next)
	if err := v.home.save(next); err != nil {
		return err
	}
	// Only what has changed: the search reads the other fields without the turn.
	v.id.Promise = next.Promise
	if next.ClusterID != v.id.ClusterID {
		v.id.ClusterID = next.ClusterID
	}
	if next.Founded != v.id.Founded {
		v.id.Founded, v.id.Restored = next.Founded, next.Restored
	}
	return nil
}

var errHasCluster = errors.New("this node belongs to a cluster already")

// promise binds the node to a founding, its own or another one's, unless it is bound to another or has a cluster.
func (v *vow) promise(from tcp.Asker, p *promise) error {
	if from.ID != p.Founder {
		return fmt.Errorf("%v asks for a promise to %v", from.ID, p.Founder)
	}
	if err := p.check(); err != nil {
		return err
	}
	return v.do(func() error {
		switch {
		case v.id.Founded || !v.id.Joins || !v.id.ClusterID.IsZero():
			return errHasCluster
		case v.id.Promise.same(p):
			return nil
		case v.id.Promise != nil && !slices.Contains(p.Frees, v.id.Promise.Cluster):
			return fmt.Errorf("%q takes part in the founding by the node at %s", v.id.Name, v.id.Promise.Address)
		}
		return v.change(func(id *identity) { id.Promise = p })
	})
}

// promiseAs is promise, if this is the node that was asked for it, or nobody was named.
func (v *vow) promiseAs(asked raft.PeerID, from tcp.Asker, p *promise) error {
	if self := v.id.peer(); !asked.IsZero() && asked != self {
		return fmt.Errorf("this is %v, and the promise of %v was asked for", self, asked)
	}
	return v.promise(from, p)
}

// release forgets a promise.
func (v *vow) release(c clusterID) error {
	return v.do(func() error {
		if v.id.Promise == nil || v.id.Promise.Cluster != c {
			return nil
		}
		return v.change(func(id *identity) { id.Promise = nil })
	})
}

// bound returns the promise of the node, if there is one.
func (v *vow) bound() (p *promise) {
	_ = v.do(func() error {
		p = v.id.Promise
		return nil
	})
	return p
}

// settle saves that the node has a cluster.
func (v *vow) settle() error {
	return v.do(func() error {
		return v.change(func(id *identity) { id.Founded, id.Restored, id.Promise = true, nil, nil })
	})
}

// stands reports whether the founding of a cluster by this node goes on or has come to its end.
func (v *vow) stands(founder raft.PeerID, c clusterID) (stands bool, err error) {
	err = v.do(func() error {
		if founder != v.id.peer() {
			return fmt.Errorf("this is %v, and only %v knows what became of its founding", v.id.peer(), founder)
		}
		own := v.id.Promise != nil && v.id.Promise.Founder == v.id.peer() && v.id.Promise.Cluster == c
		stands = own || v.id.ClusterID == c
		return nil
	})
	return stands, err
}

// join makes the node one of a cluster that exists, unless it has promised another one.
func (v *vow) join(c clusterID) error {
	return v.do(func() error {
		if p := v.id.Promise; p != nil && p.Cluster != c {
			return fmt.Errorf("this node has promised to found the cluster %s with the node at %s, and found the cluster %s: if the first was "+
				"never founded, move the data directory away and start again", p.Cluster, p.Address, c)
		}
		return v.change(func(id *identity) { id.ClusterID, id.Promise = c, nil })
	})
}

// names returns who is to vote in a founding, for people.
func (p *promise) names() []string {
	var list []string
	for _, v := range p.Voters {
		list = append(list, v.Address)
	}
	slices.Sort(list)
	return list
}
