package membership

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
)

// Times of the loop that looks for members that are not there. memberlist forgets who has been dead for half a minute, so that two
// halves of a cluster that were cut from each other for longer would never meet again by themselves.
const (
	rejoinAlone = time.Second // nobody is there
	rejoinEvery = 5 * time.Second
	// rejoinMost bounds the addresses that are tried each time; the next ones get their turn.
	rejoinMost = 8
)

// rejoin asks seeds and lost members to be members, until ctx ends.
func (g *Gossip) rejoin(ctx context.Context, list *memberlist.Memberlist) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	g.seek(ctx, list, math.MaxInt)
	g.mu.Lock()
	g.asked = ctx.Err() == nil
	g.mu.Unlock()
	timer.Reset(rejoinAlone)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		g.seek(ctx, list, rejoinMost)
		every := rejoinEvery
		if g.aliveOthers() == 0 {
			every = rejoinAlone
		}
		timer.Reset(every*4/5 + rand.N(every*2/5))
	}
}

func (g *Gossip) aliveOthers() int {
	n := 0
	for _, m := range g.Members() {
		if m.Status == Alive && m.Peer != g.o.Self.Peer {
			n++
		}
	}
	return n
}

// Asked reports whether every seed has been asked since Run began, and has answered or not: before that, a node that knows nobody
// may be one of many.
func (g *Gossip) Asked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

// seek tries some of who is missing.
func (g *Gossip) seek(ctx context.Context, list *memberlist.Memberlist, most int) {
	missing := g.missing(ctx)
	rand.Shuffle(len(missing), func(i, j int) { missing[i], missing[j] = missing[j], missing[i] })
	for _, a := range missing[:min(len(missing), most)] {
		if ctx.Err() != nil {
			return
		}
		if _, err := list.Join([]string{a.String()}); err != nil && ctx.Err() == nil {
			g.failedJoin(a.String(), err)
		}
	}
}

// missing returns where members may be that are none now.
func (g *Gossip) missing(ctx context.Context) []netip.AddrPort {
	var want []netip.AddrPort
	for _, s := range g.o.Seeds {
		at, err := s.resolve(ctx, g.o.Resolver)
		if err != nil && ctx.Err() == nil {
			g.refuse(s.String(), "", err)
		}
		want = append(want, at...)
	}
	here := map[netip.AddrPort]bool{g.address: true}
	for _, m := range g.Members() {
		switch m.Status {
		case Alive:
			here[m.Address] = true
		case Failed:
			want = append(want, m.Address)
		case Left: // it did not mean to come back
		}
	}
	slices.SortFunc(want, netip.AddrPort.Compare)
	want = slices.Compact(want)
	return slices.DeleteFunc(want, func(a netip.AddrPort) bool { return here[a] })
}

// failedJoin keeps the reason, if there is one that people can do something about: who is down is the rule.
func (g *Gossip) failedJoin(address string, err error) {
	text := err.Error() // memberlist wraps nothing
	if _, first, ok := strings.Cut(text, "\t* "); ok {
		text = strings.TrimSpace(first)
	}
	text = strings.TrimPrefix(text, "failed to join "+address+": ")
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	_, reason := g.unheard(text)
	switch {
	case reason != nil:
		g.refuse(address, "", reason)
	case has("EOF", "reset by peer"):
		g.refuse(address, "", fmt.Errorf("it closed the connection without a word, as a node does that has another cluster name or other "+
			"gossip keys than this one (cluster name %q, %s); its log says which", g.o.ClusterName, g.keyName()))
	case has("timeout", "deadline exceeded", "refused", "unreachable", "no route"):
		g.o.Logger.Debug("gossip: no answer", slog.String("address", address), slog.String("error", text))
	default:
		g.refuse(address, "", errors.New(text))
	}
}
