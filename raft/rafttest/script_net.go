package rafttest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/lockd/lockd/raft"
)

// send puts messages on their way; a broken link swallows them. Of very many it shows the first and the last.
func (w *scriptWorld) send(ms []raft.Message) {
	const many = 20
	for i, m := range ms {
		what := showMessage(m)
		if w.broken[scriptLink{m.From.Node, m.To.Node}] {
			what += " (cut off)"
		} else {
			w.net = append(w.net, m)
		}
		switch {
		case len(ms) <= many || i == 0 || i == len(ms)-1:
			w.detail("%s", what)
		case i == 1:
			w.detail("...")
		}
	}
}

// hand gives messages to the node they are for, in one turn.
func (w *scriptWorld) hand(ms []raft.Message) {
	for _, n := range w.nodes {
		if n.id == ms[0].To && n.engine != nil {
			n.engine.Receive(n.now(), ms)
			n.pump()
		}
	}
}

// pick takes the messages out of list that the arguments describe.
func (a scriptArgs) pick(list []raft.Message) (picked, rest []raft.Message, err error) {
	limit, err := a.number("n", len(list))
	if err != nil {
		return nil, list, err
	}
	for _, m := range list {
		fits := (a.value("from") == "" || a.value("from") == m.From.String()) &&
			(a.value("to") == "" || a.value("to") == m.To.String()) &&
			(a.value("type") == "" || a.value("type") == messageName(m))
		if fits && len(picked) < limit {
			picked = append(picked, m)
		} else {
			rest = append(rest, m)
		}
	}
	if len(picked) == 0 {
		err = errors.New("no such message")
	}
	return picked, rest, err
}

func (w *scriptWorld) deliver(a scriptArgs) error {
	picked, rest, err := a.pick(w.net)
	w.net = rest
	for len(picked) > 0 {
		turn := picked[:1]
		if a.flag("together") {
			to := picked[0].To
			turn = slices.Clone(picked)
			turn = slices.DeleteFunc(turn, func(m raft.Message) bool { return m.To != to })
			picked = slices.DeleteFunc(picked, func(m raft.Message) bool { return m.To == to })
		} else {
			picked = picked[1:]
		}
		w.indent = ""
		for _, m := range turn {
			w.printf("%s", showMessage(m))
		}
		w.indent = "  "
		w.hand(turn)
	}
	return err
}

func (w *scriptWorld) drop(a scriptArgs) error {
	picked, rest, err := a.pick(w.net)
	w.net = rest
	w.showMessages(picked)
	return err
}

func (w *scriptWorld) duplicate(a scriptArgs) error {
	picked, _, err := a.pick(w.net)
	w.net = append(w.net, picked...)
	w.showMessages(picked)
	return err
}

func (w *scriptWorld) hold(a scriptArgs) error {
	picked, rest, err := a.pick(w.net)
	w.net, w.held = rest, append(w.held, picked...)
	w.showMessages(picked)
	return err
}

func (w *scriptWorld) release(a scriptArgs) error {
	picked, rest, err := a.pick(w.held)
	w.held, w.net = rest, append(w.net, picked...)
	w.showMessages(picked)
	return err
}

func (w *scriptWorld) reverse(scriptArgs) error {
	slices.Reverse(w.net)
	w.showMessages(w.net)
	return nil
}

func (w *scriptWorld) network(scriptArgs) error {
	w.showMessages(w.net)
	for _, m := range w.held {
		w.printf("%s (held)", showMessage(m))
	}
	return nil
}

func (w *scriptWorld) showMessages(ms []raft.Message) {
	for _, m := range ms {
		w.printf("%s", showMessage(m))
	}
}

// cut breaks one direction (->) or both (--) between two nodes. What is on its way arrives.
func (w *scriptWorld) cut(a scriptArgs) error {
	links, err := a.links()
	for _, l := range links {
		w.broken[l] = true
	}
	return err
}

// links reads N -> M or N -- M.
func (a scriptArgs) links() ([]scriptLink, error) {
	from, err1 := a.peer(a.word(0))
	to, err2 := a.peer(a.word(2))
	there, back := scriptLink{from.Node, to.Node}, scriptLink{to.Node, from.Node}
	switch {
	case err1 != nil || err2 != nil:
		return nil, errors.Join(err1, err2)
	case a.word(1) == "->":
		return []scriptLink{there}, nil
	case a.word(1) == "--":
		return []scriptLink{there, back}, nil
	}
	return nil, fmt.Errorf("%q is neither -> nor --", a.word(1))
}

// isolate cuts nodes off from all others, in both directions. What is on its way arrives.
func (w *scriptWorld) isolate(a scriptArgs) error {
	nodes, err := w.chosen(a, 0)
	for _, n := range nodes {
		for _, other := range w.nodes {
			if other.id.Node != n.id.Node {
				w.broken[scriptLink{n.id.Node, other.id.Node}] = true
				w.broken[scriptLink{other.id.Node, n.id.Node}] = true
			}
		}
	}
	return err
}

// heal mends the named link, or all.
func (w *scriptWorld) heal(a scriptArgs) error {
	if len(a.words()) == 0 {
		clear(w.broken)
		return nil
	}
	links, err := a.links()
	for _, l := range links {
		delete(w.broken, l)
	}
	return err
}
