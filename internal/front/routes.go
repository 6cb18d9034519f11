package front

import (
	"context"
	"sync"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/raft"
)

// routes bring commands to the leader: into the log if this node leads, else over the link to the node that does. While there is
// neither, commands wait.
type routes struct {
	f    *Front
	kick chan struct{} // has room for one: the leader, a link or what waits has changed

	mu      sync.Mutex // guards the fields below; taken before that of a link
	leader  raft.PeerID
	to      *link                    // to the leader; nil while there is none
	links   map[raft.PeerID]*link    // all that are up: former leaders still answer
	chased  map[raft.PeerID]struct{} // there is a goroutine that connects to it, or serves its link
	waiting []*command
	stopped bool
}

func (r *routes) init(f *Front) {
	r.f, r.kick = f, make(chan struct{}, 1)
	r.links, r.chased = make(map[raft.PeerID]*link), make(map[raft.PeerID]struct{})
}

// lead tells who leads. Those who did have some time to answer what they were sent.
func (r *routes) lead(leader raft.PeerID) {
	r.mu.Lock()
	r.leader, r.to = leader, r.links[leader]
	if !leader.IsZero() {
		for peer, l := range r.links {
			if peer != leader {
				l.retire()
			}
		}
	}
	if r.to != nil {
		r.to.recall()
	}
	r.mu.Unlock()
	signal(r.kick)
}

// submit passes a command of a client on. It does not block.
func (r *routes) submit(cmd *command) {
	r.mu.Lock()
	own := !r.stopped && r.leads()
	taken := !own && !r.stopped && r.forward(cmd)
	r.mu.Unlock()
	switch {
	case own:
		r.f.propose(cmd)
	case !taken:
		r.wait(cmd)
	}
}

// again takes back a command that was not sent, and not proposed. It is passed on again in a moment, or answered.
func (r *routes) again(cmd *command) {
	cmd.rests = time.Now().Add(retryEvery)
	r.wait(cmd)
}

// wait lets a command wait for a way.
func (r *routes) wait(cmd *command) {
	r.mu.Lock()
	stopped := r.stopped
	if !stopped {
		r.waiting = append(r.waiting, cmd)
	}
	r.mu.Unlock()
	if stopped {
		r.f.finish(cmd, refusal(wire.ShuttingDown, 0, "the node is shutting down"))
	}
	signal(r.kick)
}

// leads reports whether this node does; the caller holds mu.
func (r *routes) leads() bool { return r.leader == r.f.o.Peer }

// forward passes a command on to another node if that leads and is reached; the caller holds mu.
func (r *routes) forward(cmd *command) bool { return r.to != nil && r.to.take(cmd) }

// way returns how the leader is reached: directly, or over a link, or not at all.
func (r *routes) way() (self bool, l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leads(), r.to
}

// run keeps a link to the leader, and passes on what waits, until ctx ends.
func (r *routes) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			r.stop()
			return
		case <-r.kick:
		case <-timer.C:
		}
		late, own, left := r.turn(ctx)
		for _, cmd := range own {
			r.f.propose(cmd)
		}
		for _, cmd := range late {
			r.f.finish(cmd, refusal(wire.NoLeader, leaderless, "no leader within "+leaderWait.String()))
		}
		if left {
			timer.Reset(retryEvery)
		}
		r.f.beats.resume()
	}
}

// turn passes on what waits, in its order. It returns what has waited too long, what this node is to propose, and whether more is
// left.
func (r *routes) turn(ctx context.Context) (late, own []*command, left bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chase(ctx)
	now := time.Now()
	waiting := r.waiting
	r.waiting = nil
	for _, cmd := range waiting {
		switch {
		case now.Sub(cmd.arrived) >= leaderWait:
			late = append(late, cmd)
		case now.Before(cmd.rests):
			r.waiting = append(r.waiting, cmd)
		case r.leads():
			own = append(own, cmd)
		case !r.forward(cmd):
			r.waiting = append(r.waiting, cmd)
		}
	}
	return late, own, len(r.waiting) > 0
}

// chase begins to connect to the leader, if it is another node and nobody does.
func (r *routes) chase(ctx context.Context) {
	leader := r.leader
	if _, chased := r.chased[leader]; chased || leader.IsZero() || leader == r.f.o.Peer {
		return
	}
	r.chased[leader] = struct{}{}
	r.f.wg.Go(func() { r.follow(ctx, leader) })
}

// follow keeps a link to a node for as long as it leads, and serves it.
func (r *routes) follow(ctx context.Context, leader raft.PeerID) {
	defer signal(r.kick)
	pause := linkPauseMin
	for r.chases(leader) && ctx.Err() == nil {
		l, err := r.f.dialLink(ctx, leader)
		if err != nil {
			r.f.o.Logger.Debug("the leader is not reached", "leader", leader.String(), "error", err)
			rest(ctx, pause)
			pause = min(2*pause, linkPauseMax)
			continue
		}
		pause = linkPauseMin
		r.up(l)
		r.f.o.Logger.Debug("connected to the leader", "leader", leader.String())
		err = l.serve()
		r.down(l)
		l.fail()
		r.f.o.Logger.Debug("the connection to the leader is over", "leader", leader.String(), "reason", err)
	}
}

// chases reports whether the node still leads, as far as is known here; if not, its goroutine ends.
func (r *routes) chases(leader raft.PeerID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.leader == leader && !r.stopped {
		return true
	}
	delete(r.chased, leader)
	return false
}

func (r *routes) up(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[l.peer] = l
	if r.leader == l.peer {
		r.to = l
	} else {
		l.retire()
	}
	signal(r.kick)
}

func (r *routes) down(l *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.links, l.peer)
	if r.to == l {
		r.to = nil
	}
}

// stop answers what waits; nothing is passed on from here on.
func (r *routes) stop() {
	r.mu.Lock()
	waiting := r.waiting
	r.waiting, r.stopped = nil, true
	r.mu.Unlock()
	for _, cmd := range waiting {
		r.f.finish(cmd, refusal(wire.ShuttingDown, 0, "the node is shutting down"))
	}
}
