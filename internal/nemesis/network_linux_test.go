package nemesis

import (
	"slices"
	"time"

	"github.com/lockd/lockd/internal/netlab"
)

// link is one direction between two hosts.
type link struct{ from, to int }

// disturbance is a fault of the network while it is in force.
type disturbance struct {
	links  []link
	change func(*netlab.Link)
}

// network puts together what several faults do to the same links.
type network struct {
	lab   *netlab.Lab
	hosts int
	now   map[link]netlab.Link
	all   []*disturbance
}

func newNetwork(lab *netlab.Lab, hosts int) *network {
	return &network{lab: lab, hosts: hosts, now: map[link]netlab.Link{}}
}

// disturb begins a fault. The function that it returns ends it and counts the packets that it hit, by what count says of each link.
func (n *network) disturb(links []link, count func(netlab.Stats) int64, change func(*netlab.Link)) (heal func() int64) {
	d := &disturbance{links, change}
	sum := func() (all int64) {
		for _, l := range links {
			all += count(n.lab.Between(l.from, l.to))
		}
		return all
	}
	before := sum()
	n.all = append(n.all, d)
	n.refresh()
	return func() int64 {
		n.all = slices.DeleteFunc(n.all, func(o *disturbance) bool { return o == d })
		n.refresh()
		return sum() - before
	}
}

func (n *network) refresh() {
	next := map[link]netlab.Link{}
	for _, d := range n.all {
		for _, l := range d.links {
			k := next[l]
			d.change(&k)
			next[l] = k
		}
	}
	for from := range n.hosts {
		for to := range n.hosts {
			if l := (link{from, to}); from != to && n.now[l] != next[l] {
				n.lab.Set(from, to, next[l])
			}
		}
	}
	n.now = next
}

// between returns both directions between two sets of hosts, which have none in common.
func between(a, b []int) []link {
	var links []link
	for _, x := range a {
		for _, y := range b {
			links = append(links, link{x, y}, link{y, x})
		}
	}
	return links
}

// among returns both directions between all of some hosts.
func among(hosts []int) []link {
	var links []link
	for i, x := range hosts {
		links = append(links, between([]int{x}, hosts[i+1:])...)
	}
	return links
}

// without returns the hosts but some.
func without(hosts []int, some ...int) []int {
	return slices.DeleteFunc(slices.Clone(hosts), func(h int) bool { return slices.Contains(some, h) })
}

func cutPackets(s netlab.Stats) int64 { return s.Cut }

func (a *arena) cut(links []link) func() int64 {
	return a.network.disturb(links, cutPackets, func(k *netlab.Link) { k.Cut = true })
}

// scope draws which links a fault of quality hits: all, those of one node, or what one node sends.
func (a *arena) scope(f fault) []link {
	one := int(f.pick>>8) % clusterSize
	around := between([]int{one}, without(a.exposed(), one))
	switch f.pick % 3 {
	case 0:
		return among(a.exposed())
	case 1:
		return around
	default:
		return slices.DeleteFunc(around, func(l link) bool { return l.from != one })
	}
}

// degrade makes links pass packets badly.
func (a *arena) degrade(f fault) (func() int64, error) {
	links := a.scope(f)
	disturb := func(count func(netlab.Stats) int64, change func(*netlab.Link)) (func() int64, error) {
		return a.network.disturb(links, count, change), nil
	}
	share := func(least, most float64) float64 { return least + f.size*(most-least) }
	switch f.kind {
	case loss:
		return disturb(func(s netlab.Stats) int64 { return s.Lost }, func(k *netlab.Link) { k.Loss = share(0.02, 0.25) })
	case delay:
		return disturb(func(s netlab.Stats) int64 { return s.Delayed }, func(k *netlab.Link) {
			k.Delay = time.Duration(share(float64(2*time.Millisecond), float64(80*time.Millisecond)))
			k.Jitter = k.Delay / 2
		})
	case duplicate:
		return disturb(func(s netlab.Stats) int64 { return s.Doubled }, func(k *netlab.Link) { k.Duplicate = share(0.05, 0.5) })
	case reorder:
		return disturb(func(s netlab.Stats) int64 { return s.Reordered }, func(k *netlab.Link) { k.Reorder = share(0.02, 0.3) })
	case corrupt:
		return disturb(func(s netlab.Stats) int64 { return s.Corrupted }, func(k *netlab.Link) { k.Corrupt = share(0.01, 0.1) })
	default: // bandwidth
		return disturb(func(s netlab.Stats) int64 { return s.Delayed }, func(k *netlab.Link) { k.Rate = int64(share(200_000, 20_000)) })
	}
}

// resetAll ends all connections of one host, a node's or a worker's, with all others.
func (a *arena) resetAll(f fault) (func() int64, error) {
	all := a.exposed()
	for n := range all {
		one := all[(f.pick+uint64(n))%uint64(len(all))]
		before := a.lab.Stats().Resets
		for _, other := range without(all, one) {
			a.lab.Reset(one, other)
		}
		if hits := a.lab.Stats().Resets - before; hits > 0 {
			return func() int64 { return hits }, nil
		}
	}
	return nil, errNobody
}

// sever cuts links.
func (a *arena) sever(f fault) (func() int64, error) {
	members := a.order(f)
	one := members[0]
	if leader, err := a.leader(); err == nil && f.pick%3 == 0 {
		one = leader
	}
	switch f.kind {
	case split: // the workers fall to the sides by the bits of pick
		sides := [2][]int{members[:2], members[2:]}
		for i, w := range a.workerHosts() {
			side := f.pick >> (10 + i) & 1
			sides[side] = append(slices.Clone(sides[side]), w)
		}
		return a.cut(between(sides[0], sides[1])), nil
	case oneWay:
		links := between([]int{one}, without(a.exposed(), one))
		if f.pick>>9&1 == 0 {
			links = between([]int{one}, without(members, one))
		}
		sends := f.pick>>10&1 == 0
		return a.cut(slices.DeleteFunc(links, func(l link) bool { return (l.from == one) != sends })), nil
	case isolation:
		return a.cut(between([]int{one}, without(a.exposed(), one))), nil
	case partial: // the last of them reaches both sides
		return a.cut(between(members[:2], members[2:4])), nil
	default: // clientCut
		w := a.workerHosts()[f.pick%workerCount]
		return a.cut(between([]int{w}, members)), nil
	}
}

// killBehindACut leaves its peers and clients with connections that nobody ends.
func (a *arena) killBehindACut(f fault) (func() int64, error) {
	one, err := a.free(f)
	if err != nil {
		return nil, err
	}
	heal := a.cut(between([]int{one}, without(a.exposed(), one)))
	restart := a.kill(one)
	return func() int64 {
		hits := heal()
		restart()
		return hits
	}, nil
}
