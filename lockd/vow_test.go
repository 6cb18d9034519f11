package lockd

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/checkpoint"
	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
)

func seeker(t *testing.T) (*vow, raft.PeerID) {
	t.Helper()
	id := newIdentity(&Config{Name: "n1", ClusterName: "c", BootstrapExpect: 3})
	return newVow(&memoryHome{}, &id, nil), id.peer()
}

func foundingBy(founder raft.PeerID, c byte) *promise {
	return &promise{Cluster: clusterID{c}, Founder: founder, Address: "a:1", Voters: []raft.Peer{{ID: founder, Address: "a:1"}}}
}

// Who lives at the founder's address now may be another node, and must not free those who have promised.
func TestOnlyTheFounderKnowsOfItsFounding(t *testing.T) {
	v, self := seeker(t)
	p := foundingBy(self, 1)
	if err := v.promise(tcp.Asker{ID: self}, p); err != nil {
		t.Fatal(err)
	}
	if stands, err := v.stands(self, p.Cluster); err != nil || !stands {
		t.Errorf("its own founding: %v, %v", stands, err)
	}
	if stands, err := v.stands(self, clusterID{2}); err != nil || stands {
		t.Errorf("one that it has given up: %v, %v", stands, err)
	}
	if _, err := v.stands(raft.PeerID{Node: 7, Incarnation: 7}, p.Cluster); err == nil {
		t.Error("it tells of the founding by another node")
	}
}

// Who lives at a node's address now may be another one. Its promise must not count as that of the first, which may give its own to another
// founder.
func TestPromiseIsOfWhoWasAsked(t *testing.T) {
	v, self := seeker(t)
	n := &node{vow: v}
	founder := raft.PeerID{Node: 7, Incarnation: 7}
	ask := func(to raft.PeerID, cluster byte) error {
		b, err := json.Marshal(question{Promise: foundingBy(founder, cluster), To: to})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.answer(t.Context(), tcp.Asker{ID: founder}, b)
		return err
	}
	if err := ask(raft.PeerID{Node: self.Node, Incarnation: self.Incarnation + 1}, 1); err == nil || v.bound() != nil {
		t.Errorf("a promise in the name of another node: %v, bound by %+v", err, v.bound())
	}
	if err := ask(self, 1); err != nil || v.bound() == nil {
		t.Errorf("its own promise: %v", err)
	}
	v, _ = seeker(t)
	n = &node{vow: v}
	if err := ask(raft.PeerID{}, 2); err != nil || v.bound() == nil {
		t.Errorf("asked by a build that names nobody: %v", err)
	}
}

// What is promised is kept in a file of bounded size, which has to be read again.
func TestNonsenseIsNotPromised(t *testing.T) {
	founder := raft.PeerID{Node: 7, Incarnation: 7}
	for what, spoil := range map[string]func(*promise){
		"no cluster":       func(p *promise) { p.Cluster = clusterID{} },
		"no voters":        func(p *promise) { p.Voters = nil },
		"too many voters":  func(p *promise) { p.Voters = make([]raft.Peer, raft.MaxVoters+1) },
		"a long address":   func(p *promise) { p.Address = strings.Repeat("a", raft.MaxAddressBytes+1) },
		"a voter far away": func(p *promise) { p.Voters[0].Address = strings.Repeat("a", raft.MaxAddressBytes+1) },
		"too much freed":   func(p *promise) { p.Frees = make([]clusterID, maxGivenUp+1) },
	} {
		v, _ := seeker(t)
		p := foundingBy(founder, 1)
		spoil(p)
		if err := v.promise(tcp.Asker{ID: founder}, p); err == nil || v.bound() != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A node that has heard of a cluster founds none beside it, be its nodes alive or not.
func TestNoneIsFoundedBesideACluster(t *testing.T) {
	free := membership.Member{Meta: membership.Meta{Name: "n2"}}
	if err := unheardOf([]membership.Member{free}); err != nil {
		t.Error(err)
	}
	for _, s := range []membership.Status{membership.Alive, membership.Failed, membership.Left} {
		taken := membership.Member{Meta: membership.Meta{Name: "n3", Cluster: membership.ClusterID{1}}, Status: s}
		if err := unheardOf([]membership.Member{free, taken}); err == nil || !strings.Contains(err.Error(), s.String()) {
			t.Errorf("beside one that is %v: %v", s, err)
		}
	}
}

// A founder that ended between the state and the log of its cluster may join another one.
func TestStateOfAnUnfinishedFounding(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	c := Config{Name: "n1", ClusterName: "c", BootstrapExpect: 3}
	for name, anew := range map[string]func() home{
		"memory": func() home { return &memoryHome{} },
		"disk": func() home {
			d, err := openDataDir(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := anew()
			defer func() { _ = h.close() }()
			id, err := identify(h, &c)
			if err != nil {
				t.Fatal(err)
			}
			open := func() (checkpoint.Store, *replica.Replica) {
				store, err := h.openStore(id, quiet)
				if err != nil {
					t.Fatal(err)
				}
				state, err := replica.Open(replica.Options{Store: store})
				if err != nil {
					t.Fatal(err)
				}
				return store, state
			}
			begin := &locktable.Incarnate{Seed: 1 << 30}
			copy(begin.Incarnation[:], bytes.Repeat([]byte{1}, len(begin.Incarnation)))
			store, state := open()
			if _, err := state.Found(raft.Config{Voters: []raft.Peer{{ID: id.peer(), Address: "a:1"}}}, begin); err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
			store, state = open()
			if i := state.Mark().Index; i != 0 {
				t.Errorf("the state of a node that looks for its cluster begins with entry %d", i)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}
