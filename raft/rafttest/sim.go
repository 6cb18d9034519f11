package rafttest

import (
	"fmt"
	"runtime/debug"
	"time"

	"github.com/lockd/lockd/raft"
)

// Sim is one seed's run: a World, the Workload that uses it, the administrator that changes its configuration, and the
// faults it meets.
type Sim struct {
	Swarm Swarm
	World *World

	load   Workload
	lost   bool
	places []*Node // who lives in each place now; place i has NodeID i+1
	calm   bool    // no faults any more
	quiet  bool    // no requests any more
	value  uint64
}

// Report is what came of a run.
type Report struct {
	Swarm    Swarm
	Steps    int
	Hash     uint64
	Time     time.Duration // virtual
	Index    raft.Index    // committed
	Answered int           // requests
	Coverage Coverage
	Trace    []string
	Err      error
}

// Run runs a Swarm: some time with faults, then the repair of all that is broken, after which the cluster must work
// again and all nodes must become equal.
func Run(s Swarm) Report {
	return RunWith(s, &registerLoad{swarm: s}, SimOptions{CommandID: RegisterCommandID})
}

// SimOptions say how a Workload is run. CommandID and Beside are those of WorldOptions.
type SimOptions struct {
	CommandID func(data []byte) (id uint64, ok bool)
	Beside    Timeline
	// Lost ends the cluster for good after the time with faults, instead of its repair.
	Lost bool
}

// RunWith runs a Swarm with any Workload.
func RunWith(s Swarm, load Workload, o SimOptions) Report {
	sim := &Sim{Swarm: s, load: load, lost: o.Lost}
	sim.World = s.world(sim.crashAt, load, o)
	err := sim.run()
	w := sim.World
	report := Report{
		Swarm: s, Steps: w.Steps(), Hash: w.Hash(), Time: w.Now(), Index: w.Committed().Index, Answered: load.Answered(),
		Coverage: w.Coverage(), Err: err,
	}
	if err != nil {
		report.Trace = w.Trace()
	}
	return report
}

func (s *Sim) run() (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: at %v: panic: %v\n%s", ErrViolation, s.World.now, r, debug.Stack())
		}
	}()
	if err := s.found(); err != nil {
		return err
	}
	s.load.Begin(s)
	s.nemesis()
	s.administrate()
	s.supervise()
	if err := s.World.Run(s.Swarm.Duration); err != nil {
		return err
	}
	if s.lost {
		for _, n := range s.places {
			n.Crash(true)
		}
		return nil
	}
	return s.settle()
}

// found makes the first nodes of the cluster.
func (s *Sim) found() error {
	var first raft.Config
	for i := range s.Swarm.Voters + s.Swarm.Spares {
		n := s.bear(i, 1)
		s.places = append(s.places, n)
		if i < s.Swarm.Voters {
			first.Voters = append(first.Voters, raft.Peer{ID: n.id})
		}
	}
	founder, founds := s.load.(Founder)
	for i, n := range s.places {
		var err error
		switch {
		case founds && i == 0:
			err = n.found(founder, first)
		case !founds && (i == 0 || i < s.Swarm.Voters && !s.Swarm.Alone):
			err = n.Bootstrap(first)
		}
		if err != nil {
			return fmt.Errorf("bootstrap: %w", err)
		}
		if err := n.Start(); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	return nil
}

func (s *Sim) bear(place int, incarnation uint64) *Node {
	n := s.World.AddNode(raft.PeerID{Node: raft.NodeID(place + 1), Incarnation: incarnation})
	if d := s.Swarm.Drift; d > 0 {
		n.SetDrift(s.World.rand.Int64N(2*d+1) - d)
	}
	return n
}

// supervise starts again who has stopped, sooner or later.
func (s *Sim) supervise() {
	s.World.After(s.World.about(4*s.Swarm.FaultLasts), "supervisor", func() {
		s.start(s.anyone())
		s.supervise()
	})
}

// settle ends all faults and demands that the cluster comes to order.
func (s *Sim) settle() error {
	w := s.World
	s.calm = true
	w.net.Heal()
	brief := s.Swarm.Heartbeat / 20
	w.net.SetOptions(NetworkOptions{Delay: brief, Jitter: brief})
	t := &w.opt.Times
	t.Loop, t.Sync, t.Apply, t.Snapshot = min(t.Loop, brief), min(t.Sync, brief), min(t.Apply, brief), min(t.Snapshot, s.Swarm.Election)
	for _, n := range s.places {
		s.heal(n)
	}
	s.load.Calm()
	// A window of one message of one entry is slow, so who lags far behind gets more time.
	bound := 40*s.Swarm.Election + 20*time.Second + time.Duration(s.lag())*10*brief
	if err := s.await("a leader", 20*s.Swarm.Election, func() error {
		if n := w.Leader(); n == nil || !n.ready() {
			return fmt.Errorf("the leader is %v", n)
		}
		return nil
	}); err != nil {
		return err
	}
	answered := s.load.Answered()
	if err := s.await("an answer to a new request", bound, func() error {
		if s.load.Answered() <= answered {
			return fmt.Errorf("%d answers before and after", answered)
		}
		return nil
	}); err != nil {
		return err
	}
	if err := s.await("an orderly configuration", bound, s.orderly); err != nil {
		return err
	}
	if err := s.await("the end of all work", bound+quietMost, s.load.Quiet); err != nil {
		return err
	}
	if err := s.await("an orderly configuration", bound, s.orderly); err != nil { // old damage may have been found meanwhile
		return err
	}
	s.quiet = true
	return s.await("equal nodes", bound, s.equal)
}

// quietMost is how long the end of all work may take beyond what any other step may.
const quietMost = 5 * time.Minute

// Places returns who lives in each place now. The slice must not be changed.
func (s *Sim) Places() []*Node { return s.places }

// heal lets a node run undisturbed.
func (s *Sim) heal(n *Node) {
	n.store.stalledTill, n.store.failSync = 0, false
	n.store.setFull(false)
	n.Resume()
	if !n.Running() {
		s.start(n)
	}
}

// lag returns how many entries the slowest node lacks.
func (s *Sim) lag() (entries raft.Index) {
	for _, n := range s.places {
		entries = max(entries, s.World.check.commit.Index-min(s.World.check.commit.Index, n.store.ledger.last()))
	}
	return entries
}

// await lets time pass until a condition holds.
func (s *Sim) await(what string, bound time.Duration, missing func() error) error {
	w := s.World
	began := w.now
	for {
		err := missing()
		if err == nil {
			return nil
		}
		if w.now-began > bound {
			w.Fail("liveness: no sight of %s within %v of the end of all faults: %v", what, bound, err)
		}
		if err := w.Run(w.now + s.Swarm.Heartbeat); err != nil {
			return err
		}
	}
}

// ready reports whether the node leads, and has committed an entry of its own.
func (n *Node) ready() bool {
	if !n.Leads() {
		return false
	}
	status, _ := n.engine.Status()
	return status.Ready
}

// orderly reports what the configuration still lacks: those who live in the places and no others, in one step.
func (s *Sim) orderly() error {
	l := s.World.Leader()
	if l == nil {
		return fmt.Errorf("no leader")
	}
	config := l.engine.Config()
	if config.Joint() {
		return fmt.Errorf("%+v is joint", config)
	}
	for _, p := range config.Peers() {
		if s.World.nodes[p.ID].retired {
			return fmt.Errorf("%v is retired and takes part", p.ID)
		}
	}
	return nil
}

// equal reports which node that takes part differs from the leader, in its log or its state.
func (s *Sim) equal() error {
	l := s.World.Leader()
	if l == nil {
		return fmt.Errorf("no leader")
	}
	want, applied := l.engine.Status()
	if want.Commit != want.Last.Index || applied != want.Commit {
		return fmt.Errorf("%v: log to %d, committed %d, applied %d", l, want.Last.Index, want.Commit, applied)
	}
	_, sum := l.machine.Applied()
	for _, p := range l.engine.Config().Peers() {
		n := s.World.nodes[p.ID]
		if n.engine == nil {
			return fmt.Errorf("%v does not run", n)
		}
		have, applied := n.engine.Status()
		_, state := n.machine.Applied()
		if have.Last != want.Last || have.Commit != want.Commit || applied != want.Commit || state != sum || have.Stateless {
			return fmt.Errorf("%v has the log to %+v, committed %d, applied %d, state %x; %v has it to %+v, applied %d, state %x",
				n, have.Last, have.Commit, applied, state, l, want.Last, want.Commit, sum)
		}
		if chain := n.store.ledger.sum(); chain != l.store.ledger.sum() {
			return fmt.Errorf("the log of %v differs from that of %v", n, l)
		}
	}
	return nil
}
