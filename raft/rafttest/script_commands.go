package rafttest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/lockd/lockd/raft"
)

// propose passes one proposal, or n numbered ones in one turn.
func (w *scriptWorld) propose(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	count, err1 := a.number("n", 1)
	size, err2 := a.number("size", 0)
	term, err3 := a.number("term", 0)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	for i := range count {
		name := a.word(1)
		if count > 1 {
			name = fmt.Sprintf("%s%d", name, i+1)
		}
		data := name + strings.Repeat(".", max(0, size-len(name)))
		r := &raft.Request{Proposal: raft.Proposal{Term: raft.Term(term), Own: a.flag("own"), Data: []byte(data)}}
		w.requests[r] = name
		n.engine.Propose(n.now(), r)
	}
	n.pump()
	return nil
}

func (w *scriptWorld) read(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	r := &raft.Request{}
	w.requests[r] = "read " + a.word(1)
	n.engine.Read(n.now(), r)
	n.pump()
	return nil
}

func (w *scriptWorld) reconfigure(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	next, err := a.config()
	if err != nil {
		return err
	}
	base, err := a.number("base", int(n.engine.Config().Index))
	if err != nil {
		return err
	}
	r := &raft.Request{}
	w.requests[r] = "config " + showConfig(next)
	n.engine.Reconfigure(n.now(), raft.Index(base), next, r)
	n.pump()
	return nil
}

func (w *scriptWorld) transfer(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	var to raft.PeerID
	if s := a.value("to"); s != "" {
		if to, err = a.peer(s); err != nil {
			return err
		}
	}
	err = n.engine.Transfer(n.now(), to)
	n.pump()
	return err
}

func (w *scriptWorld) suspect(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	of, err := a.peer(a.value("of"))
	if err != nil {
		return err
	}
	n.engine.Suspect(n.now(), of, raft.CauseConnection)
	n.pump()
	return nil
}

func (w *scriptWorld) manual(a scriptArgs) error { return w.setAuto(a, false) }

func (w *scriptWorld) auto(a scriptArgs) error { return w.setAuto(a, true) }

func (w *scriptWorld) setAuto(a scriptArgs, auto bool) error {
	nodes, err := w.chosen(a, 1)
	if err != nil {
		return err
	}
	for _, n := range nodes {
		switch a.word(0) {
		case "disk":
			n.autoDisk = auto
		case "apply":
			n.autoApply = auto
		case "snapshots":
			n.autoStream = auto
		case "fetches":
			n.autoFetch = auto
		default:
			return fmt.Errorf("%q is none of disk, apply, snapshots, fetches", a.word(0))
		}
		if auto {
			n.pump()
		}
	}
	return nil
}

// persist ends the write that the disk has.
func (w *scriptWorld) persist(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	switch {
	case err != nil:
		return err
	case len(n.writing) == 0:
		return fmt.Errorf("the disk of %v has nothing to write", n.id)
	case a.flag("full"):
		n.finishWrite(fmt.Errorf("write: %w", raft.ErrDiskFull))
	case a.flag("error"):
		n.finishWrite(errors.New("sync: input/output error"))
	default:
		n.finishWrite(nil)
	}
	n.pump()
	return nil
}

func (w *scriptWorld) apply(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	switch {
	case err != nil:
		return err
	case n.applying.Last > 0:
		n.finishApply()
	case n.installing != nil:
		n.finishInstall()
	default:
		return fmt.Errorf("the state machine of %v has nothing to do", n.id)
	}
	n.pump()
	return nil
}

// fetch ends the oldest reading of entries for a peer.
func (w *scriptWorld) fetch(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err == nil && len(n.fetches) == 0 {
		err = fmt.Errorf("%v has nothing to read", n.id)
	}
	if err != nil {
		return err
	}
	n.finishFetch()
	n.pump()
	return nil
}

func (w *scriptWorld) stream(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	to, err := a.peer(a.word(1))
	if err != nil {
		return err
	}
	for _, o := range n.orders {
		if o.To == to {
			n.stream(o, a.word(2))
			return nil
		}
	}
	return fmt.Errorf("%v is not to send a snapshot to %v", n.id, to)
}

// offer delivers the kept snapshot once more.
func (w *scriptWorld) offer(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err == nil && w.kept == nil {
		err = errors.New("no snapshot was kept")
	}
	if err != nil {
		return err
	}
	n.accept(w.kept)
	return nil
}

func (w *scriptWorld) checkpoint(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	n.machine.durable = n.machine.state.clone()
	n.engine.Durable(n.machine.durable.mark.Index)
	n.pump()
	return nil
}

func (w *scriptWorld) forget(a scriptArgs) error {
	n, err := w.down(a)
	if err == nil {
		n.machine = scriptMachine{}
	}
	return err
}

func (w *scriptWorld) damage(a scriptArgs) error {
	n, err := w.down(a)
	if err != nil {
		return err
	}
	from, err := a.number("from", 0)
	if i := raft.Index(from); err == nil && i > n.disk.base.Index && i <= n.disk.last() {
		n.disk.entries = n.disk.entries[:i-n.disk.base.Index-1]
		return nil
	}
	return errors.Join(err, fmt.Errorf("the disk holds no entry %d", from))
}

func (w *scriptWorld) down(a scriptArgs) (*scriptNode, error) {
	n, err := w.node(a, a.word(0))
	if err == nil && n.engine != nil {
		err = fmt.Errorf("node %v is up", n.id)
	}
	return n, err
}

// crash ends a process. Of the writes under way some may have reached the disk, though nobody was told.
func (w *scriptWorld) crash(a scriptArgs) error {
	n, err := w.running(a, a.word(0))
	if err != nil {
		return err
	}
	written, err := a.number("written", 0)
	if err != nil || written > len(n.writing) {
		return errors.Join(err, fmt.Errorf("%d writes are under way", len(n.writing)))
	}
	if bad := n.disk.write(n.writing[:written]); bad != nil {
		w.violate("%v: %v", n.id, bad)
	}
	n.stop()
	return nil
}

func (w *scriptWorld) restart(a scriptArgs) error {
	n, err := w.down(a)
	if err != nil {
		return err
	}
	return n.start()
}

// wipe gives the node an empty disk, so that it comes back as another peer.
func (w *scriptWorld) wipe(a scriptArgs) error {
	n, err := w.node(a, a.word(0))
	if err != nil {
		return err
	}
	id, err := a.peer(a.value("as"))
	if err != nil {
		return err
	}
	n.stop()
	n.id, n.opt.ID = id, id
	n.disk = scriptDisk{votes: make(map[raft.Term]raft.PeerID)}
	n.machine = scriptMachine{}
	w.sortNodes()
	return n.start()
}
