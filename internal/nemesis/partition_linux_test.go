package nemesis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/history"
	"github.com/lockd/lockd/internal/netlab"
	"github.com/lockd/lockd/internal/reliability"
)

const (
	shortCut     = 4 * time.Second  // each, if no longer one is asked for
	longCut      = 20 * time.Second // from here on the clients that are cut off have sessions as long as in the scenarios
	steadyTTL    = 5 * time.Second  // of clients that are never cut off: an election and a new connection fit into it
	contendLimit = time.Minute      // until locks are held and waited for on both sides
)

// severance is a way to cut a minority off: some nodes, and the first worker with them.
type severance struct {
	name       string
	nodes      int
	leads      bool // the leader is among them
	mute, deaf bool // nothing that they send is heard; they hear nothing
	fault      kind
}

// severances are the cuts of TestHostPartition.
func severances() []severance {
	return []severance{
		{name: "two with the leader, and three", nodes: 2, leads: true, mute: true, deaf: true, fault: split},
		{name: "two, and three with the leader", nodes: 2, mute: true, deaf: true, fault: split},
		{name: "a leader that nobody hears", nodes: 1, leads: true, mute: true, fault: oneWay},
		{name: "a leader that hears nobody", nodes: 1, leads: true, deaf: true, fault: oneWay},
		{name: "two that hear nobody", nodes: 2, deaf: true, fault: oneWay},
	}
}

// partitions is the course of TestHostPartition.
type partitions struct {
	*arena
	reader *client.Client // from the host that is never cut off
	last   time.Duration  // of each cut
	done   []history.Partition
	hits   map[string]int64 // packets, by the severance
}

// TestHostPartition cuts minorities off one after the other, both ways and one way, for LOCKD_PARTITION each, while clients on both sides
// hold locks and wait for them. Nobody helps: the minority may grant nothing, what its clients hold has to end for them before somebody else
// gets it, the others have to go on, and whoever was cut off has to find back.
func TestHostPartition(t *testing.T) {
	netlab.Need(t)
	last := shortCut
	if text := os.Getenv("LOCKD_PARTITION"); text != "" {
		var err error
		if last, err = time.ParseDuration(text); err != nil || last < shortCut {
			t.Fatalf("LOCKD_PARTITION=%q is no duration of at least %v", text, shortCut)
		}
	}
	dir := keep(t)
	p := &partitions{last: last, hits: map[string]int64{}}
	t.Cleanup(func() { // after all that the arena leaves to be done
		if p.arena == nil {
			return
		}
		if err := errors.Join(mounted(p.disks), children(), namespaces()); err != nil {
			t.Error(err)
		}
	})
	p.arena = newArena(t, dir, 1, true, func(c *workerConfig) { occupying(c, last) })
	var err error
	if p.reader, err = client.New(client.Config{Endpoints: p.cluster.Endpoints(), Dial: p.lab.Dial(resource)}); err != nil {
		t.Fatal(err)
	}
	pids := p.pids()
	for _, s := range severances() {
		if err := p.apart(s); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	if after := p.pids(); !slices.Equal(pids, after) {
		t.Errorf("the nodes were processes %v, and are %v", pids, after)
	}
	if err := errors.Join(p.reader.Close(t.Context()), p.recover(), p.logs()); err != nil {
		t.Fatal(err)
	}
	p.verdict()
}

// occupying makes a worker's clients hold for long. Those that will be cut off have sessions so short that they end within the cut.
func occupying(c *workerConfig, last time.Duration) {
	c.Only, c.Group, c.TTL = occupation, 0, steadyTTL
	short := 1500 * time.Millisecond
	if last >= longCut {
		short = ttl
	}
	c.Hold, c.Epoch, c.Clients = 3*short, 10*short, 4
	if c.Name == "w1" {
		c.TTL, c.Clients = short, 2*occupied
	}
}

func (p *partitions) pids() []int {
	var list []int
	for i := range clusterSize {
		list = append(list, p.cluster.PID(i))
	}
	return list
}

// minority returns the nodes to be cut off: the leader if it is to be among them, and others from the first on.
func (p *partitions) minority(s severance) ([]int, error) {
	leader, err := p.leader()
	if err != nil {
		return nil, err
	}
	var list []int
	if s.leads {
		list = append(list, leader)
	}
	for i := range clusterSize {
		if len(list) < s.nodes && i != leader {
			list = append(list, i)
		}
	}
	return list, nil
}

// apart cuts a minority off for a while, and waits until all nodes agree again.
func (p *partitions) apart(s severance) error {
	if err := p.converge(); err != nil {
		return err
	}
	if err := p.await("locks are held and waited for on both sides", contendLimit, p.contended); err != nil {
		return err
	}
	nodes, err := p.minority(s)
	if err != nil {
		return err
	}
	away := append(slices.Clone(nodes), p.workers[0].host)
	links := between(away, without(p.exposed(), away...))
	links = slices.DeleteFunc(links, func(l link) bool {
		leaves := slices.Contains(away, l.from)
		return leaves && !s.mute || !leaves && !s.deaf
	})
	part := history.Partition{Processes: []string{p.workers[0].config.Name}, Heard: !s.deaf}
	for _, i := range nodes {
		part.Nodes = append(part.Nodes, fmt.Sprintf("n%d", i+1))
	}
	heal := p.cut(links)
	part.From = history.Now()
	p.event("cut off %v: %s", part.Nodes, s.name)
	pause(p.t.Context(), p.last)
	part.To = history.Now()
	p.hits[s.name] = heal()
	p.event("healed: %d packets", p.hits[s.name])
	p.done = append(p.done, part)
	begun := time.Now()
	err = p.converge()
	p.t.Logf("%s: %v cut off, %d packets lost; all nodes agree again after %v", s.name, part.Nodes, p.hits[s.name], time.Since(begun).Round(time.Millisecond))
	return err
}

// contended reports whether clients that will be cut off hold two locks at least for which others wait, and wait for one themselves.
func (p *partitions) contended() bool {
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Second)
	defer cancel()
	mine := func(who client.Person) bool { return strings.HasPrefix(who.Identity, p.workers[0].config.Name+"/") }
	held, waited := 0, 0
	for l, err := range p.reader.List(ctx, "") {
		if err != nil {
			return false
		}
		info, err := p.reader.Get(ctx, l.Name, client.Most(1000))
		if err != nil {
			continue // it has gone meanwhile
		}
		own := func(w client.Waiter) bool { return mine(w.Person) }
		if slices.ContainsFunc(info.Waiters, own) {
			waited++
		}
		if slices.ContainsFunc(info.Holders, func(h client.Holder) bool { return mine(h.Person) }) &&
			slices.ContainsFunc(info.Waiters, func(w client.Waiter) bool { return !own(w) }) {
			held++
		}
	}
	return held >= 2 && waited >= 1
}

// verdict decides whether what was recorded can be, and shows what is demanded.
func (p *partitions) verdict() {
	t := p.t
	t.Helper()
	rounds := int64(len(p.done))
	v, err := judge(p.dir, func([]string) history.Options {
		return history.Options{
			Minimum: history.Minimum{
				Operations: 40 * rounds, Grants: 12 * rounds, Writes: 12 * rounds, Searched: 1, HandOvers: rounds / 2,
				Kinds: map[history.Kind]int64{history.Acquire: 20 * rounds, history.Release: 12 * rounds},
			},
			Faults: p.hits, Partitions: p.done, Served: finalLimit,
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Err(); err != nil {
		t.Error(err)
	}
	writes, lost, stale := p.registers.lost()
	if lost != 0 {
		t.Errorf("%d of %d writes of the counters are lost", lost, writes)
	}
	faults := map[string]int64{}
	for i, part := range v.Partitions {
		s := severances()[i]
		faults[s.fault.info().fault]++
		t.Logf("%s: the minority's clients asked %d times, were granted %d late and %d by the majority, lost %d holds by their validity, %d of which were handed "+
			"over, the soonest %v later; the majority's were granted %d; all were served %v after the healing", s.name, part.Tried, part.Late, part.News, part.Lost,
			part.HandOvers, part.Soonest.Round(time.Millisecond), part.Grants, part.Served.Round(time.Millisecond))
	}
	t.Logf("%d operations, %d unknown, %d grants, %d writes, %d stale accesses refused; %d entries, %d expiries, %d locks searched, %d too long",
		v.Operations, v.Unknown, v.Grants, writes, stale, v.Entries, v.Expiries, v.Searched, v.TooLong)
	reliability.Record(t, reliability.Each(reliability.Run{
		Target: "partition", Layer: "nemesis", Runs: 1, Operations: v.Operations, Violations: v.Count, Command: fmt.Sprintf("make partition TIME=%v", p.last),
	}, faults)...)
}
