package lockd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/lockd/lockd/membership"
	"github.com/lockd/lockd/raft"
)

// joins reports whether a node with an empty directory looks for a cluster, instead of being one.
func (c *Config) joins() bool {
	return len(c.InitialCluster) == 0 && (len(c.Join) > 0 || c.BootstrapExpect > 0)
}

// several reports whether there are, or may be, other nodes.
func (c *Config) several() bool { return len(c.InitialCluster) > 1 || c.joins() }

func (c *Config) fillMembership() {
	c.ReplaceAfter = cmp.Or(c.ReplaceAfter, DefaultReplaceAfter)
	if c.ListenGossip == "" {
		c.ListenGossip = Off
		if len(c.Join) > 0 || c.BootstrapExpect > 0 {
			c.ListenGossip = DefaultListenGossip
		}
	}
	if c.ListenPacket == nil {
		c.ListenPacket = func(ctx context.Context, address string) (net.PacketConn, error) {
			return new(net.ListenConfig).ListenPacket(ctx, "udp", address)
		}
	}
}

func (c *Config) checkMembership() error {
	var errs []error
	for _, s := range c.Join {
		if _, err := membership.ParseSeed(s); err != nil {
			errs = append(errs, fmt.Errorf("in Join: %w", err))
		}
	}
	if c.BootstrapExpect != 0 && (c.BootstrapExpect < 1 || c.BootstrapExpect > raft.MaxVoters) {
		errs = append(errs, fmt.Errorf("BootstrapExpect %d is not between 1 and %d", c.BootstrapExpect, raft.MaxVoters))
	}
	if c.BootstrapExpect > 0 && len(c.InitialCluster) > 0 {
		errs = append(errs, errors.New("BootstrapExpect and InitialCluster exclude each other: a list says already who founds the cluster"))
	}
	if c.DeclaredSize < 0 || c.DeclaredSize > raft.MaxVoters || c.ReplaceAfter < 0 {
		errs = append(errs, fmt.Errorf("DeclaredSize %d is not between 0 and %d, or ReplaceAfter %v is negative", c.DeclaredSize, raft.MaxVoters, c.ReplaceAfter))
	}
	errs = append(errs, c.checkGossip())
	if c.joins() {
		errs = append(errs, checkReachable("AdvertiseRaft", c.AdvertiseRaft, c.ListenRaft))
	}
	return errors.Join(errs...)
}

// checkReachable refuses an address at which nobody can connect.
func checkReachable(name, advertised, listens string) error {
	switch {
	case advertised != "" && everywhere(advertised):
		return fmt.Errorf("%s %q is no address at which anybody can connect", name, advertised)
	case advertised == "" && everywhere(listens):
		return fmt.Errorf("%s is needed: nobody can connect to %q, where this node listens", name, listens)
	}
	return nil
}

func (c *Config) checkGossip() error {
	if c.ListenGossip == Off {
		if c.joins() {
			return errors.New("ListenGossip is off: without gossip a node finds no cluster to join")
		}
		return nil
	}
	errs := []error{checkAddress("ListenGossip", c.ListenGossip), c.GossipProfile.Validate()}
	if c.AdvertiseGossip != "" {
		if _, err := netip.ParseAddrPort(c.AdvertiseGossip); err != nil {
			errs = append(errs, fmt.Errorf("AdvertiseGossip %q is not an IP address and a port", c.AdvertiseGossip))
		}
	} else if everywhere(c.ListenGossip) {
		errs = append(errs, fmt.Errorf("AdvertiseGossip is needed: nobody can reach %q, where this node listens", c.ListenGossip))
	}
	if c.GossipKey != "" {
		if _, err := membership.ParseKey(c.GossipKey); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
