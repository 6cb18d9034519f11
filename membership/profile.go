package membership

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile says how soon a silent member is taken for dead.
type Profile string

// Profiles. Times are from the moment a process dies until everybody knows, measured with five nodes; pauses are how long a process
// may stand still before it is declared dead by mistake.
const (
	// Default knows after 2 to 3 s and bears pauses of 2 s.
	Default Profile = "default"
	// LAN knows after 6 to 13 s and bears pauses of 4 s: memberlist's own values for one site.
	LAN Profile = "lan"
	// WAN is for nodes far from each other: memberlist's own values for several sites.
	WAN Profile = "wan"
	// Fast knows after about 1 s and bears pauses of half a second; a busy machine makes it flap.
	Fast Profile = "fast"
)

// timing are the settings of a profile, by memberlist's names.
type timing struct {
	probe, probeTimeout, gossip, pushPull, toTheDead, stream time.Duration
	suspicion, suspicionMax                                  int
}

// timing returns the settings. A suspicion ends early with each member that confirms it; suspicionMax bounds it where nobody does,
// which is the rule in small clusters.
func (p Profile) timing() (timing, error) {
	switch p {
	case Default, "":
		return timing{
			probe: 500 * time.Millisecond, probeTimeout: 250 * time.Millisecond, gossip: 100 * time.Millisecond,
			pushPull: 15 * time.Second, toTheDead: 30 * time.Second, stream: 3 * time.Second, suspicion: 3, suspicionMax: 3,
		}, nil
	case LAN:
		return timing{
			probe: time.Second, probeTimeout: 500 * time.Millisecond, gossip: 200 * time.Millisecond,
			pushPull: 30 * time.Second, toTheDead: 30 * time.Second, stream: 10 * time.Second, suspicion: 4, suspicionMax: 3,
		}, nil
	case WAN:
		return timing{
			probe: 5 * time.Second, probeTimeout: 3 * time.Second, gossip: 500 * time.Millisecond,
			pushPull: time.Minute, toTheDead: time.Minute, stream: 30 * time.Second, suspicion: 6, suspicionMax: 3,
		}, nil
	case Fast:
		return timing{
			probe: 200 * time.Millisecond, probeTimeout: 100 * time.Millisecond, gossip: 50 * time.Millisecond,
			pushPull: 10 * time.Second, toTheDead: 30 * time.Second, stream: 2 * time.Second, suspicion: 3, suspicionMax: 2,
		}, nil
	default:
		return timing{}, fmt.Errorf("the gossip profile %q is none of default, lan, wan and fast", string(p))
	}
}

// Validate reports whether the profile is known.
func (p Profile) Validate() error {
	_, err := p.timing()
	return err
}

func (t timing) set(c *memberlist.Config) {
	c.ProbeInterval, c.ProbeTimeout = t.probe, t.probeTimeout
	c.GossipInterval, c.GossipNodes = t.gossip, 3
	c.PushPullInterval, c.GossipToTheDeadTime = t.pushPull, t.toTheDead
	c.TCPTimeout = t.stream
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = t.suspicion, t.suspicionMax
	c.IndirectChecks, c.RetransmitMult, c.AwarenessMaxMultiplier = 3, 4, 8
}
