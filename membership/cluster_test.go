package membership_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/memnet"
	"github.com/lockd/lockd/membership"
)

// bubble is some nodes that gossip over a network in memory.
type bubble struct {
	t   *testing.T
	net *memnet.Network
}

// member is one of them.
type member struct {
	*membership.Gossip
	t    *testing.T
	host string
	stop context.CancelFunc
	done chan error

	mu       sync.Mutex // guards the fields below
	suspects []string
	refusals []membership.Refusal
	failures []string // names of members that were seen to fail
}

func host(i int) string { return fmt.Sprintf("10.0.0.%d", i) }

// start runs node i, with every host below it as a seed.
func (b *bubble) start(i int, with ...func(*membership.Options)) *member {
	b.t.Helper()
	h := b.net.Host(host(i))
	m := &member{t: b.t, host: host(i), done: make(chan error, 1)}
	packets, err := h.ListenPacket(":7402")
	if err != nil {
		b.t.Fatal(err)
	}
	streams, err := h.Listen(":7402")
	if err != nil {
		b.t.Fatal(err)
	}
	o := membership.Options{
		Self: membership.Meta{
			Peer: membership.Peer{Node: uint64(i), Incarnation: 1}, Cluster: membership.ClusterID{7}, Name: fmt.Sprintf("n%d", i),
			Raft: host(i) + ":7401", FormatMin: 1, FormatMax: 2,
		},
		ClusterName: "test", Packets: packets, Streams: streams, Dial: h.Dial, Logger: slog.New(slog.DiscardHandler),
	}
	for j := 1; j < i; j++ {
		seed, err := membership.ParseSeed(host(j))
		if err != nil {
			b.t.Fatal(err)
		}
		o.Seeds = append(o.Seeds, seed)
	}
	o.Events = membership.Events{
		Suspect: func(s membership.Member) { m.note(func() { m.suspects = append(m.suspects, s.Name) }) },
		Refused: func(r membership.Refusal) { m.note(func() { m.refusals = append(m.refusals, r) }) },
		Changed: func() {
			for _, other := range m.Members() {
				if other.Status == membership.Failed {
					m.note(func() { m.failures = append(m.failures, other.Name) })
				}
			}
		},
	}
	for _, f := range with {
		f(&o)
	}
	if m.Gossip, err = membership.New(o); err != nil {
		b.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.t.Context())
	m.stop = stop
	go func() { m.done <- m.Run(ctx) }()
	return m
}

func (m *member) note(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// leave stops the node in peace.
func (m *member) leave() {
	m.t.Helper()
	m.stop()
	if err := <-m.done; err != nil {
		m.t.Errorf("%s: %v", m.host, err)
	}
}

// crash takes the node off the network, so that its goodbye reaches nobody, and stops it.
func (b *bubble) crash(m *member, others ...*member) {
	for _, o := range others {
		b.net.Cut(m.host, o.host)
	}
	m.leave()
	for _, o := range others {
		b.net.Heal(m.host, o.host)
	}
}

func (m *member) suspected() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.suspects)
}

func (m *member) reasons() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, r := range m.refusals {
		all = append(all, r.Reason.Error())
	}
	return strings.Join(all, "\n")
}

// view returns who is seen how, as in "n1 alive, n2 failed".
func (m *member) view() string {
	var list []string
	for _, o := range m.Members() {
		list = append(list, o.Name+" "+o.Status.String())
	}
	return strings.Join(list, ", ")
}

// want checks the view of members some time from now.
func want(t *testing.T, in time.Duration, view string, members ...*member) {
	t.Helper()
	time.Sleep(in)
	synctest.Wait()
	for _, m := range members {
		if got := m.view(); got != view {
			t.Errorf("%s sees %s; want %s", m.host, got, view)
		}
	}
}

func inBubble(t *testing.T, f func(t *testing.T, b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		f(t, &bubble{t, memnet.New()})
		time.Sleep(time.Minute) // memberlist's last probes end some seconds after it was shut down
	})
}

func TestMembersFindEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		n1, n2, n3 := b.start(1), b.start(2), b.start(3)
		want(t, 5*time.Second, "n1 alive, n2 alive, n3 alive", n1, n2, n3)
		if err := n2.SetSelf(func(m *membership.Meta) { m.Zone, m.LowDisk = "east", true }); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if m := n3.Members()[1]; m.Zone != "east" || !m.LowDisk || m.Raft != "10.0.0.2:7401" || m.Address.String() != "10.0.0.2:7402" {
			t.Errorf("n3 sees %+v", m)
		}
		if err := n2.SetSelf(func(m *membership.Meta) { m.Zone = strings.Repeat("x", 32) }); err == nil {
			t.Error("metadata that does not fit was taken")
		}
		for _, m := range []*member{n1, n2, n3} {
			m.leave()
		}
	})
}

func TestMemberLeavesInPeace(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		n1, n2, n3 := b.start(1), b.start(2), b.start(3)
		want(t, 5*time.Second, "n1 alive, n2 alive, n3 alive", n1, n2, n3)
		n3.leave()
		want(t, 500*time.Millisecond, "n1 alive, n2 alive, n3 left", n1, n2)
		if early := append(n1.suspected(), n2.suspected()...); len(early) > 0 {
			t.Errorf("suspected: %v", early)
		}
		n1.leave()
		n2.leave()
	})
}

// The suspicion comes first: memberlist tells it in its log alone, in words that this test holds on to.
func TestMemberIsSuspectedAndFails(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		n1, n2, n3 := b.start(1), b.start(2), b.start(3)
		want(t, 5*time.Second, "n1 alive, n2 alive, n3 alive", n1, n2, n3)
		b.net.Cut(n3.host, n1.host)
		b.net.Cut(n3.host, n2.host)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if early := append(n1.suspected(), n2.suspected()...); !slices.Contains(early, "n3") || n1.view() != "n1 alive, n2 alive, n3 alive" {
			t.Errorf("before it has failed: suspected %v, seen %s", early, n1.view())
		}
		want(t, 6*time.Second, "n1 alive, n2 alive, n3 failed", n1, n2)
		if c := n1.Counts(); c.Suspicions+n2.Counts().Suspicions == 0 || c.Failures != 1 || c.Refutations != 0 {
			t.Errorf("after a failure n1 counts %+v", c)
		}
		b.net.Heal(n3.host, n1.host)
		b.net.Heal(n3.host, n2.host)
		want(t, 20*time.Second, "n1 alive, n2 alive, n3 alive", n1, n2, n3)
		if c := n3.Counts(); c.Refutations == 0 {
			t.Errorf("n3 came back and counts %+v", c)
		}
		for _, m := range []*member{n3, n1, n2} {
			m.leave()
		}
	})
}

// memberlist alone never heals this one: both sides have forgotten the dead.
func TestLongPartitionHeals(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		introducer, err := membership.ParseSeed(host(6))
		if err != nil {
			t.Fatal(err)
		}
		only := func(o *membership.Options) { o.Seeds = []membership.Seed{introducer} }
		sixth := b.start(6, only)
		var all []*member
		for i := range 5 {
			all = append(all, b.start(i+1, only))
		}
		time.Sleep(time.Minute) // a rumour may pass somebody by; the exchange of everything every 15 s does not
		sixth.leave()           // nobody has a seed that answers any more
		const whole = "n1 alive, n2 alive, n3 alive, n4 alive, n5 alive, n6 left"
		want(t, 10*time.Second, whole, all...)
		for _, m := range all[:2] {
			for _, o := range all[2:] {
				b.net.Cut(m.host, o.host)
			}
		}
		want(t, 5*time.Minute, "n1 alive, n2 alive, n3 failed, n4 failed, n5 failed, n6 left", all[:2]...)
		want(t, 0, "n1 failed, n2 failed, n3 alive, n4 alive, n5 alive, n6 left", all[2:]...)
		for _, m := range all[:2] {
			for _, o := range all[2:] {
				b.net.Heal(m.host, o.host)
			}
		}
		want(t, 30*time.Second, whole, all...)
		for _, m := range all {
			m.leave()
		}
	})
}

func TestStopAllStartAll(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		n1, n2, n3 := b.start(1), b.start(2), b.start(3)
		want(t, 5*time.Second, "n1 alive, n2 alive, n3 alive", n1, n2, n3)
		for _, m := range []*member{n1, n2, n3} {
			b.crash(m, slices.DeleteFunc([]*member{n1, n2, n3}, func(o *member) bool { return o == m })...)
		}
		n3, n1, n2 = b.start(3), b.start(1), b.start(2)
		want(t, 30*time.Second, "n1 alive, n2 alive, n3 alive", n1, n2, n3)
		for _, m := range []*member{n1, n2, n3} {
			m.leave()
		}
	})
}

func TestForeignersAreRefusedOnBothSides(t *testing.T) {
	for name, test := range map[string]struct {
		change      func(*membership.Options)
		here, there string
	}{
		"cluster": {
			func(o *membership.Options) { o.Self.Cluster = membership.ClusterID{8} },
			"it belongs to the cluster 08", "it belongs to the cluster 07",
		},
		"formats": {
			func(o *membership.Options) { o.Self.FormatMin, o.Self.FormatMax, o.Self.Build = 3, 4, "v9" },
			"applies formats 3 to 4", "applies formats 1 to 2",
		},
		"name of the cluster": {
			func(o *membership.Options) { o.ClusterName = "other" },
			`it gossips for "lockd/other", this node for the cluster "test"`, "another cluster name or other gossip keys",
		},
		"key": {
			func(o *membership.Options) { o.Keyring = ringOf(t, membership.NewKey()) },
			"it encrypts its gossip, and this node has no gossip key", "it gossips in the clear, this node with the gossip key",
		},
		"loopback": {
			func(o *membership.Options) { o.Advertise = netip.MustParseAddrPort("127.0.0.1:7402") },
			"is a loopback address", "is a loopback address",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *bubble) {
				n1, n2 := b.start(1), b.start(2, test.change)
				want(t, 20*time.Second, "n1 alive", n1)
				want(t, 0, "n2 alive", n2)
				if got := n1.reasons(); !strings.Contains(got, test.here) {
					t.Errorf("n1 says %q, want %q", got, test.here)
				}
				if got := n2.reasons(); !strings.Contains(got, test.there) {
					t.Errorf("n2 says %q, want %q", got, test.there)
				}
				n1.leave()
				n2.leave()
			})
		})
	}
}

// A reason is told once, however often the foreigner comes back.
func TestRefusalIsToldOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		n1 := b.start(1)
		n2 := b.start(2, func(o *membership.Options) { o.Self.Cluster = membership.ClusterID{8} })
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		for _, m := range []*member{n1, n2} {
			if got := m.reasons(); got == "" || strings.Contains(got, "\n") {
				t.Errorf("%s tells %q", m.host, got)
			}
		}
		n1.leave()
		n2.leave()
	})
}

func TestOptionsAreChecked(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bubble) {
		h := b.net.Host(host(1))
		packets, err := h.ListenPacket(":7402")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = packets.Close() }()
		good := membership.Options{ClusterName: "c", Packets: packets}
		for want, change := range map[string]func(*membership.Options){
			"the gossip profile":        func(o *membership.Options) { o.Profile = "slow" },
			"a cluster's name has":      func(o *membership.Options) { o.ClusterName = "" },
			"gossip carries 63":         func(o *membership.Options) { o.Self.Name = strings.Repeat("n", 64) },
			"at which one others reach": func(o *membership.Options) { o.Packets = wildcard{packets} },
		} {
			o := good
			change(&o)
			if _, err := membership.New(o); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
		if _, err := membership.New(good); err != nil {
			t.Error(err)
		}
	})
}

// wildcard is a socket that listens everywhere.
type wildcard struct{ net.PacketConn }

func (wildcard) LocalAddr() net.Addr { return memnet.Addr("0.0.0.0:7402") }
