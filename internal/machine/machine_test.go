package machine_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockd/lockd/internal/machine"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name       string
		ttl, grace time.Duration
		ok         bool
	}{
		{"shortest", machine.MinTTL, 0, true},
		{"longest", machine.MaxTTL, machine.MaxTTL, true},
		{"no ttl", 0, 0, false},
		{"short ttl", machine.MinTTL - 1, 0, false},
		{"long ttl", machine.MaxTTL + 1, 0, false},
		{"short grace", machine.MinTTL, machine.MinTTL - 1, false},
		{"long grace", machine.MinTTL, machine.MinTTL + 1, false}, // the cluster would refuse it
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := machine.New(machine.Config{TTL: c.ttl, Grace: c.grace})
			if (err == nil) != c.ok {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// TestReach checks the formula of the guarantee: TTL × 0.99 − min(TTL/10, 1 s), from the first sending of Open.
func TestReach(t *testing.T) {
	for ttl, want := range map[time.Duration]time.Duration{
		time.Second:      890 * time.Millisecond,
		10 * time.Second: 8900 * time.Millisecond,
		15 * time.Second: 13850 * time.Millisecond,
		10 * time.Minute: 593 * time.Second,
	} {
		m, err := machine.New(machine.Config{TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		m.Connected(time.Hour, 0)
		m.Receive(time.Hour, 0, machine.OpenAnswer{Code: machine.Done, Index: 1})
		if until, ok := m.ValidUntil(); !ok || until != time.Hour+want {
			t.Errorf("TTL %v: valid until %v, %t; want %v", ttl, until, ok, time.Hour+want)
		}
	}
}

// TestBacklog fills the backlog of a client without a connection. What was given up takes no room.
func TestBacklog(t *testing.T) {
	m, err := machine.New(machine.Config{TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var id machine.CallID
	for range 2 * machine.MaxBacklog {
		if id, err = m.Do(0, machine.Op{Kind: machine.OpTry}); err != nil {
			t.Fatal(err)
		}
		if err := m.Abandon(0, id); err != nil {
			t.Fatal(err)
		}
		m.Output()
	}
	for range machine.MaxBacklog {
		if _, err = m.Do(0, machine.Op{Kind: machine.OpTry}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err = m.Do(0, machine.Op{Kind: machine.OpTry}); !errors.Is(err, machine.ErrBacklog) {
		t.Errorf("one more than the limit: %v", err)
	}
	for _, kind := range []machine.OpKind{machine.OpRelease, machine.OpCancel, 99} {
		if _, err = m.Do(0, machine.Op{Kind: kind}); err == nil {
			t.Errorf("Do takes an operation of kind %d", kind)
		}
	}
}

// watcher checks what a machine says and sends against the guarantees of the package.
type watcher struct {
	t        *rapid.T
	m        *machine.Machine
	now      time.Duration
	reach    time.Duration
	life     machine.Life // the last that was opened
	opens    map[machine.SessionID]time.Duration
	beats    map[uint64]time.Duration // of life: when each KeepAlive was sent
	sent     map[uint64]string        // of life: what was sent under each number
	answered map[uint64]bool          // of life: numbers whose outcome, or whose cancel's answer, was delivered
	cancels  map[uint64]uint64        // of life: number of a cancel → its target
	lost     map[machine.Life]bool
	valid    time.Duration
	calls    []machine.CallID
}

func (w *watcher) renew(life machine.Life) {
	w.life, w.valid = life, 0
	w.beats, w.sent, w.answered, w.cancels = map[uint64]time.Duration{}, map[uint64]string{}, map[uint64]bool{}, map[uint64]uint64{}
}

func (w *watcher) check() {
	for _, e := range w.m.Output() {
		switch e := e.(type) {
		case machine.Opened:
			w.renew(e.Life)
		case machine.Lost:
			w.lost[e.Life] = true
		case machine.Send:
			w.message(e.Message)
		}
	}
	until, ok := w.m.ValidUntil()
	if !ok {
		return
	}
	if until < w.valid {
		w.t.Fatalf("validity went back from %v to %v", w.valid, until)
	}
	if until <= w.now {
		w.t.Fatalf("valid at %v, until %v", w.now, until)
	}
	w.valid = until
	for _, at := range w.beats {
		if until == at+w.reach {
			return
		}
	}
	if until != w.opens[w.life.ID]+w.reach {
		w.t.Fatalf("valid until %v, which nothing sent in %v carries", until, w.life)
	}
}

func (w *watcher) message(msg machine.Message) {
	switch msg := msg.(type) {
	case machine.OpenRequest:
		if _, ok := w.opens[msg.ID]; !ok {
			w.opens[msg.ID] = w.now
		}
	case machine.KeepAlive:
		if w.lost[msg.Life] {
			w.t.Fatalf("a KeepAlive of the lost %v", msg.Life)
		}
		if _, ok := w.beats[msg.Number]; ok {
			w.t.Fatalf("KeepAlive %d goes out twice", msg.Number)
		}
		w.beats[msg.Number] = w.now
	case machine.Request:
		w.request(msg)
	}
}

func (w *watcher) request(r machine.Request) {
	op := fmt.Sprint(r.Op.Kind, r.Op.Token, r.Op.Target, r.Op.Body)
	switch was, ok := w.sent[r.Seq]; {
	case w.lost[r.Life]:
		w.t.Fatalf("a request of the lost %v", r.Life)
	case ok && was != op:
		w.t.Fatalf("number %d is used for %q and for %q", r.Seq, was, op)
	case r.Seq > r.Acked+machine.Window:
		w.t.Fatalf("number %d is too far above acked %d", r.Seq, r.Acked)
	}
	w.sent[r.Seq] = op
	if r.Op.Kind == machine.OpCancel {
		w.cancels[r.Seq] = r.Op.Target
	}
	for seq := uint64(1); seq <= r.Acked; seq++ {
		if !w.answered[seq] {
			w.t.Fatalf("acked %d passes %d, whose outcome is not known", r.Acked, seq)
		}
	}
	for _, seq := range r.Seen {
		if !w.answered[seq] {
			w.t.Fatalf("%d is named as seen, and its outcome is not known", seq)
		}
	}
}

// deliver hands the machine an answer and notes what it makes known.
func (w *watcher) deliver(s machine.Slot, a machine.Answer) {
	_, known := w.sent[a.Seq]
	w.m.Receive(w.now, s, a)
	if !known || a.Code == machine.Retry || a.Life != w.life {
		return
	}
	w.answered[a.Seq] = true
	if target, ok := w.cancels[a.Seq]; ok && a.Code != machine.Queued {
		w.answered[target] = true
	}
}

func (w *watcher) step(t *rapid.T) {
	// Now and then a long jump, so that validity ends.
	w.now += time.Duration(rapid.OneOf(rapid.Int64Range(0, 300), rapid.Int64Range(0, 12_000)).Draw(t, "pass")) * time.Millisecond
	slot := machine.Slot(rapid.IntRange(0, 2).Draw(t, "slot"))
	life := w.life
	if rapid.IntRange(0, 9).Draw(t, "other life") == 0 {
		life.Index++
	}
	switch rapid.IntRange(0, 11).Draw(t, "what") {
	case 0:
		w.m.Connected(w.now, slot)
	case 1:
		w.m.Disconnected(w.now, slot)
	case 2:
		id := w.life.ID
		for other := range w.opens {
			id[15] = max(id[15], other[15])
		}
		w.m.Receive(w.now, slot, machine.OpenAnswer{
			ID: id, Code: rapid.SampledFrom([]machine.Code{machine.Done, machine.Done, machine.Retry}).Draw(t, "open"),
			Index: rapid.Uint64Range(0, 9).Draw(t, "index"),
		})
	case 3, 4:
		w.m.Receive(w.now, slot, machine.KeepAliveAnswer{
			Life: life, Number: rapid.Uint64Range(0, uint64(len(w.beats))+1).Draw(t, "number"),
			Code: rapid.SampledFrom([]machine.Code{machine.Done, machine.Done, machine.Done, machine.Retry}).Draw(t, "kept"),
		})
	case 5, 6:
		w.deliver(slot, machine.Answer{
			Life: life, Seq: rapid.Uint64Range(0, uint64(len(w.sent))+1).Draw(t, "seq"),
			Code: machine.Code(rapid.IntRange(int(machine.Done), int(machine.Retry)).Draw(t, "code")), Token: 1,
		})
	case 7, 8:
		kind := rapid.SampledFrom([]machine.OpKind{machine.OpOther, machine.OpAcquire, machine.OpAcquire, machine.OpTry}).Draw(t, "kind")
		id, err := w.m.Do(w.now, machine.Op{Kind: kind, Body: len(w.calls)})
		if err != nil {
			t.Fatal(err)
		}
		w.calls = append(w.calls, id)
	case 9, 10:
		if len(w.calls) > 0 {
			id := rapid.SampledFrom(w.calls).Draw(t, "call")
			if rapid.Bool().Draw(t, "release") {
				_, _ = w.m.Release(w.now, id) // it need not hold anything
			} else {
				_ = w.m.Abandon(w.now, id) // it may be finished
			}
		}
	case 11:
		w.m.Receive(w.now, slot, machine.NoQuorum{})
	}
	w.m.Wake(w.now)
	w.check()
	if at, ok := w.m.Deadline(); ok && at <= w.now {
		t.Fatalf("woken at %v, it wants to be woken at %v", w.now, at)
	}
}

// TestRandomInputs feeds a machine whatever an owner, a network and a cluster may come up with, in any order.
func TestRandomInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := machine.Config{TTL: 10 * time.Second}
		if rapid.Bool().Draw(t, "grace") {
			cfg.Grace = 3 * time.Second
		}
		m, err := machine.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		span := cfg.TTL
		if cfg.Grace > 0 {
			span = cfg.Grace
		}
		w := &watcher{
			t: t, m: m, reach: span/100*99 - span/10,
			opens: map[machine.SessionID]time.Duration{}, lost: map[machine.Life]bool{},
		}
		w.renew(machine.Life{})
		m.Connected(0, 0)
		w.check()
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			w.step(t)
		}
	})
}

// TestDrift lets the cluster's clock run 1 % faster than the client's for a whole validity of the longest TTL, where 1 %
// is more than the margin: that is no stop of the client.
func TestDrift(t *testing.T) {
	m, err := machine.New(machine.Config{TTL: machine.MaxTTL})
	if err != nil {
		t.Fatal(err)
	}
	life := machine.Life{Index: 1}
	m.Connected(0, 0)
	m.Receive(0, 0, machine.OpenAnswer{Code: machine.Done, Index: 1, Cluster: time.Hour})
	for now := time.Duration(0); now < 590*time.Second; now += time.Second {
		m.Receive(now, 0, machine.Answer{Life: life, Seq: 1, Code: machine.Done, Cluster: time.Hour + now + now/100})
		if _, ok := m.ValidUntil(); !ok {
			t.Fatalf("lost at %v", now)
		}
	}
}
