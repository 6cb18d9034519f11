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

// Join asks the nodes that a seed stands for, now and once, to be members with this one. It returns when one has agreed, or with what keeps
// them from it. Who was a member once is not lost any more; a seed that is to be asked after a restart belongs into Options.
func (g *Gossip) Join(ctx context.Context, s Seed) error {
	g.mu.Lock()
	list := g.list
	g.mu.Unlock()
	if list == nil {
		return errors.New("this node does not gossip yet")
	}
	at, err := s.resolve(ctx, g.o.Resolver)
	if err != nil {
		return err
	}
	at = slices.DeleteFunc(at, func(a netip.AddrPort) bool { return a == g.address })
	if len(at) == 0 {
		return fmt.Errorf("%s is this node itself, or nobody", s)
	}
	var errs []error
	for _, a := range at {
		_, err := list.Join([]string{a.String()})
		if err == nil {
			return nil
		}
		_, reason := g.whyNot(a.String(), err)
		errs = append(errs, fmt.Errorf("%s: %w", a, reason))
	}
	return errors.Join(errs...)
}

// failedJoin keeps the reason, if there is one that people can do something about: who is down is the rule.
func (g *Gossip) failedJoin(address string, err error) {
	down, reason := g.whyNot(address, err)
	if down {
		g.o.Logger.Debug("gossip: no answer", slog.String("address", address), slog.Any("error", reason))
		return
	}
	g.refuse(address, "", reason)
}

// whyNot says for people why somebody is no member, and whether it is only down, or cannot be reached.
func (g *Gossip) whyNot(address string, err error) (down bool, reason error) {
	text := err.Error() // memberlist wraps nothing
	if _, first, ok := strings.Cut(text, "\t* "); ok {
		text = strings.TrimSpace(first)
	}
	text = strings.TrimPrefix(text, "failed to join "+address+": ")
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	_, reason = g.unheard(text)
	switch {
	case reason != nil:
		return false, reason
	case has("EOF", "reset by peer"):
		return false, fmt.Errorf("it closed the connection without a word, as a node does that has another cluster name or other "+
			"gossip keys than this one (cluster name %q, %s); its log says which", g.o.ClusterName, g.keyName())
	}
	return has("timeout", "deadline exceeded", "refused", "unreachable", "no route"), errors.New(text)
}
