package lockd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/membership"
)

// keyringName is the file of a data directory with the gossip keys.
const keyringName = "gossip.keyring"

// openGossip makes the node's part in the gossip ready; it begins with the node's run.
func (n *node) openGossip(ctx context.Context) error {
	c := n.config
	if c.ListenGossip == Off {
		return nil
	}
	ring, err := n.keyring()
	if err != nil {
		return err
	}
	packets, streams, err := n.listenGossip(ctx)
	if err != nil {
		return fmt.Errorf("listen on the gossip port: %w", err)
	}
	o := membership.Options{
		Self: membership.Meta{
			Peer: membership.Peer{Node: uint64(n.id.ID), Incarnation: n.id.Incarnation}, Name: n.id.Name, Client: n.advertised(),
			Zone: c.Zone, Build: shortVersion(), FormatMin: locktable.CommandVersion, FormatMax: locktable.CommandVersion, NonVoter: c.NonVoter,
			Expect: uint8(c.BootstrapExpect),
		},
		ClusterName: c.ClusterName, Packets: packets, Streams: streams, Dial: c.Dial, Keyring: ring, Profile: c.GossipProfile,
		Logger: n.log,
		Events: membership.Events{Suspect: n.suspect},
	}
	for _, s := range c.Join {
		seed, err := membership.ParseSeed(s)
		if err != nil {
			return err // Validate has seen it
		}
		o.Seeds = append(o.Seeds, seed)
	}
	if c.AdvertiseGossip != "" {
		if o.Advertise, err = netip.ParseAddrPort(c.AdvertiseGossip); err != nil {
			return err // Validate has seen it
		}
	}
	if n.gossip, err = membership.New(o); err != nil {
		return errors.Join(err, packets.Close(), streams.Close())
	}
	return nil
}

// listenGossip opens the socket and the listener at one port. A port that is drawn for one may be taken for the other, so it is drawn
// again a few times.
func (n *node) listenGossip(ctx context.Context) (packets net.PacketConn, streams net.Listener, err error) {
	host, port, err := net.SplitHostPort(n.config.ListenGossip)
	if err != nil {
		return nil, nil, err
	}
	const draws = 10
	for range draws {
		if streams, err = n.config.Listen(ctx, n.config.ListenGossip); err != nil {
			return nil, nil, err
		}
		at := netip.MustParseAddrPort(streams.Addr().String()) // a listener's address is one
		packets, err = n.config.ListenPacket(ctx, net.JoinHostPort(host, strconv.Itoa(int(at.Port()))))
		if err == nil {
			return packets, streams, nil
		}
		err = errors.Join(err, streams.Close())
		if port != "0" {
			break
		}
	}
	return nil, nil, err
}

// keyring returns the keys of the node; nil if it gossips in the clear.
func (n *node) keyring() (*membership.Keyring, error) {
	var first membership.Key
	if n.config.GossipKey != "" {
		var err error
		if first, err = membership.ParseKey(n.config.GossipKey); err != nil {
			return nil, err
		}
	}
	if n.config.Memory {
		if first == nil {
			return nil, nil //nolint:nilnil // no key, no ring
		}
		return membership.NewKeyring(first)
	}
	ring, err := membership.OpenKeyring(filepath.Join(n.config.DataDir, keyringName), first)
	if errors.Is(err, fs.ErrNotExist) {
		n.log.Warn("gossip is not encrypted: whoever reaches the port can pretend to be a node; see \"lockd keyring\"")
		return nil, nil //nolint:nilnil // no key, no ring
	}
	return ring, err
}

// suspect passes a doubt on to raft, which decides for itself. A node that cannot keep up with its own probes doubts everybody.
func (n *node) suspect(m membership.Member) {
	if n.hasJoined() && n.gossip.Health() == 0 {
		n.raft.Suspect(peerOf(m.Peer))
	}
}

// shortVersion fits the metadata.
func shortVersion() string {
	const most = 31
	v := version()
	return v[:min(len(v), most)]
}
