package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/raft/tcp"
	"github.com/lockd/lockd/raft/wal"
)

// member is one node of the fixed list that every node is started with.
type member struct {
	name, raft, http string
}

// parseMembers reads name=raft-address,http-address;… .
func parseMembers(s string) ([]member, error) {
	var list []member
	for item := range strings.SplitSeq(s, ";") {
		name, addresses, _ := strings.Cut(item, "=")
		raftAddr, httpAddr, ok := strings.Cut(addresses, ",")
		if !ok || name == "" {
			return nil, fmt.Errorf("member %q is not name=raft-address,http-address", item)
		}
		list = append(list, member{name, raftAddr, httpAddr})
	}
	slices.SortFunc(list, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return list, nil
}

// nodeID is the same at every start of a listed node; its incarnation is not, once its directory is lost.
func nodeID(name string) raft.NodeID {
	sum := sha256.Sum256([]byte("node " + name))
	return raft.NodeID(binary.LittleEndian.Uint64(sum[:]) | 1)
}

func clusterID(members []member) (id [16]byte) {
	h := sha256.New()
	for _, m := range members {
		_, _ = fmt.Fprintf(h, "%q %q\n", m.name, m.raft)
	}
	copy(id[:], h.Sum(nil))
	return id
}

// nodeConfig says which node to run.
type nodeConfig struct {
	name    string
	dir     string
	members []member
	hints   bool // whether lost connections bring an election forward
	log     *slog.Logger
}

// runNode runs a node until ctx ends or the node fails.
func runNode(ctx context.Context, c nodeConfig) error {
	i := slices.IndexFunc(c.members, func(m member) bool { return m.name == c.name })
	if i < 0 {
		return fmt.Errorf("node %q is not in the list of members", c.name)
	}
	self := c.members[i]
	log, err := openLog(filepath.Join(c.dir, "log"), wal.Identity{Cluster: clusterID(c.members), Peer: raft.PeerID{Node: nodeID(c.name)}})
	if err != nil {
		return err
	}
	id := log.Identity().Peer
	machine, err := openMachine(c.dir)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	network, err := openNetwork(c, self.raft, id, cancel)
	if err != nil {
		return errors.Join(err, log.Close())
	}
	if err := found(ctx, c, network, log, id); err != nil {
		return errors.Join(err, network.Close(), log.Close())
	}
	var plug raft.Transport = network
	if !c.hints {
		plug = deaf{network}
	}
	node, err := raft.Start(raft.NodeOptions{
		Core:    raft.Options{ID: id, Seed: uint64(id.Node) ^ id.Incarnation},
		Storage: log, Transport: plug, Machine: machine,
		Events: raft.Events{
			Standing: func(s raft.Standing) {
				c.log.Info("standing", "role", s.Role.String(), "term", s.Term, "leader", s.Leader.String())
			},
			Failed: func(err error) { c.log.Error("node failed", "error", err) },
		},
	})
	if err != nil {
		return errors.Join(err, network.Close(), log.Close())
	}
	return errors.Join(serve(ctx, self.http, &server{node, machine, c.members}), node.Close())
}

// openNetwork listens for the other nodes. A node that is a copy of one that runs must end: they would vote twice.
func openNetwork(c nodeConfig, address string, id raft.PeerID, end context.CancelCauseFunc) (*tcp.Transport, error) {
	return tcp.New(tcp.Options{
		Cluster: clusterID(c.members), Self: id, Listen: address, Logger: c.log,
		Events: tcp.Events{Refused: func(r tcp.RefusedError) {
			if r.Code == tcp.CodeClone {
				end(fmt.Errorf("another process runs with a copy of this data directory: %w", &r))
			}
		}},
	})
}

// openLog opens the log of a directory, or begins one under an incarnation of its own.
func openLog(dir string, identity wal.Identity) (*wal.Log, error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, err
	}
	disk, err := wal.DirFS(dir)
	if err != nil {
		return nil, err
	}
	found, exists, err := wal.Inspect(disk)
	switch {
	case err != nil:
		return nil, errors.Join(err, disk.Close())
	case exists:
		identity.Peer.Incarnation = found.Peer.Incarnation
		return wal.Open(wal.Options{FS: disk, Identity: identity})
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	identity.Peer.Incarnation = binary.LittleEndian.Uint64(b[:])
	return wal.Create(wal.Options{FS: disk, Identity: identity})
}

// found makes the first configuration. Of the listed nodes only the first does so, once all the others have told it
// their incarnation and that they belong to no cluster; the others learn the configuration from the log.
func found(ctx context.Context, c nodeConfig, network *tcp.Transport, log *wal.Log, self raft.PeerID) error {
	state, err := log.Load()
	if err != nil || state.Last > 0 || state.Hard.Term > 0 {
		return err
	}
	network.SetStatus(tcp.Status{Empty: true})
	if c.name != c.members[0].name {
		return nil
	}
	config := raft.Config{}
	for _, m := range c.members {
		peer := raft.Peer{ID: self, Address: m.raft}
		if m.name != c.name {
			other, err := waitForEmpty(ctx, network, m)
			if err != nil {
				return err
			}
			peer.ID = other
		}
		config.Voters = append(config.Voters, peer)
	}
	return raft.Bootstrap(log, config)
}

func waitForEmpty(ctx context.Context, network *tcp.Transport, m member) (raft.PeerID, error) {
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	for {
		id, err := network.Probe(ctx, m.raft)
		switch {
		case err == nil && !id.Status.Empty:
			return raft.PeerID{}, fmt.Errorf("node %s belongs to a cluster already: this node was wiped and cannot found it again", m.name)
		case err == nil && id.ID.Node != nodeID(m.name):
			return raft.PeerID{}, fmt.Errorf("the node at %s is %v, not %s", m.raft, id.ID, m.name)
		case err == nil:
			return id.ID, nil
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return raft.PeerID{}, fmt.Errorf("wait for %s at %s: %w", m.name, m.raft, err)
		}
	}
}

// deaf takes no hints from the transport.
type deaf struct{ raft.Transport }

func (d deaf) Start(h raft.Handler) error { return d.Transport.Start(deafHandler{h}) }

type deafHandler struct{ raft.Handler }

func (deafHandler) Hint(raft.Hint) {}

// serve answers HTTP until ctx ends or the node stops.
func serve(ctx context.Context, address string, s *server) error {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return err
	}
	h := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- h.Serve(listener) }()
	select {
	case <-ctx.Done():
	case <-s.node.Done():
	}
	err = h.Close()
	if e := <-failed; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(err, cause)
	}
	return errors.Join(err, s.node.Err())
}
