package session_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lockd/lockd/session"
)

// TestScripts runs testdata/scripts/*.txt: one leader's Keeper, driven as the owner's loop drives it. The answers are rewritten with
// -rewrite.
//
//	leader term=1            this node becomes leader: a new Keeper, the old one is dropped
//	start S,T                its own first entry is applied; these sessions live
//	session S ttl=15s [grace=2s]  what S is, from here on
//	run 15s                  let the loop turn for so long, every 100 ms
//	turn                     one turn now
//	stop 10s                 the process stands still
//	quorum off               rounds are begun but not acknowledged; on: in the turn after they began
//	ack                      the last round begun is acknowledged now, whatever quorum says
//	applied 7                the log is applied here up to 7; rounds have the read index that "read 9" sets
//	ka S 1 [age=100ms] [from=2]   KeepAlive 1 of S is taken in
//	disconnect S · opened S · ended S
//	apply on                 proposed Expires are applied at once (off by default: they are on their way)
//	work [left] [next=5s] [clock=1s]   what the applied state has for the clock to do
//	stamp                    the cluster time that the leader would stamp now
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		w := &world{t: t, sessions: make(map[string]session.Terms), quorum: true}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			w.t = t
			w.out.Reset()
			for line := range strings.SplitSeq(d.Input, "\n") {
				fmt.Fprintf(&w.out, "%s\n", line)
				w.line(strings.Fields(line))
			}
			return w.out.String()
		})
	})
}

// world is a leader and its loop.
type world struct {
	t        *testing.T
	out      strings.Builder
	now      time.Duration
	keeper   *session.Keeper
	sessions map[string]session.Terms
	quorum   bool
	apply    bool
	round    uint64
	read     uint64
	applied  uint64
	work     session.Work
}

func (w *world) terms(name string) session.Terms {
	w.t.Helper()
	s, ok := w.sessions[name]
	if !ok {
		s = session.Terms{Life: session.Life{Index: uint64(len(w.sessions) + 1)}, TTL: 15 * time.Second}
		copy(s.Life.ID[:], name)
		w.sessions[name] = s
	}
	return s
}

func (w *world) duration(s string) time.Duration {
	w.t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) number(s string) uint64 {
	w.t.Helper()
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func pair(words []string, key string) string {
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, key+"="); ok {
			return value
		}
	}
	return ""
}

func (w *world) line(a []string) {
	w.t.Helper()
	switch a[0] {
	case "leader":
		w.keeper = session.NewKeeper(w.number(pair(a, "term")), w.now)
		w.round = 0
	case "start":
		var living []session.Terms
		for name := range strings.SplitSeq(strings.Join(a[1:], ""), ",") {
			if name != "" {
				living = append(living, w.terms(name))
			}
		}
		w.keeper.Start(w.now, w.work.Clock, slices.Values(living))
	case "session":
		s := w.terms(a[1])
		s.TTL = w.duration(pair(a, "ttl"))
		if grace := pair(a, "grace"); grace != "" {
			s.Grace = w.duration(grace)
		}
		w.sessions[a[1]] = s
	case "run":
		for end := w.now + w.duration(a[1]); w.now < end; {
			w.now += 100 * time.Millisecond
			w.turn()
		}
	case "turn":
		w.turn()
	case "stop":
		w.now += w.duration(a[1])
	case "quorum":
		w.quorum = a[1] == "on"
	case "ack":
		w.keeper.RoundDone(w.round, w.read)
	case "applied":
		w.applied = w.number(a[1])
	case "read":
		w.read = w.number(a[1])
	case "apply":
		w.apply = a[1] == "on"
	case "work":
		w.setWork(a)
	case "stamp":
		fmt.Fprintf(&w.out, "  %s\n", w.keeper.Stamp(w.now))
	default:
		w.message(a)
	}
}

func (w *world) setWork(a []string) {
	clock := w.work.Clock
	w.work = session.Work{Clock: clock, Left: slices.Contains(a, "left")}
	if next := pair(a, "next"); next != "" {
		w.work.Pending, w.work.Next = true, w.duration(next)
	}
	if clock := pair(a, "clock"); clock != "" {
		w.work.Clock = w.duration(clock)
	}
}

func (w *world) message(a []string) {
	w.t.Helper()
	s := w.terms(a[1])
	switch a[0] {
	case "ka":
		ka := session.KeepAlive{Life: s.Life, Number: w.number(a[2])}
		if age := pair(a, "age"); age != "" {
			ka.Age = w.duration(age)
		}
		if from := pair(a, "from"); from != "" {
			ka.From = w.number(from)
		}
		w.keeper.KeepAlive(w.now, ka)
	case "disconnect":
		w.keeper.Disconnected(w.now, s.Life)
	case "opened":
		w.keeper.Opened(w.now, s)
	case "ended":
		w.keeper.Ended(s.Life)
	default:
		w.t.Fatalf("no such line: %q", a)
	}
}

// turn is one turn of the loop. A round that began in the turn before is acknowledged in this one.
func (w *world) turn() {
	w.keeper.Turn(w.now)
	if w.quorum {
		w.keeper.RoundDone(w.round, w.read)
	}
	out := w.keeper.Output(w.now, w.applied, w.work)
	say := func(format string, args ...any) {
		fmt.Fprintf(&w.out, "  %s "+format+"\n", append([]any{w.now}, args...)...)
	}
	for _, a := range out.Answers {
		verdict := [...]string{session.Renewed: "renewed", session.NotRenewed: "not renewed", session.Unknown: "unknown"}[a.Verdict]
		say("%s %d from %d: %s at %d", w.name(a.Life), a.Number, a.From, verdict, a.ReadIndex)
	}
	for _, l := range out.Expire {
		say("expire %s in term %d", w.name(l), w.keeper.Term())
		if w.apply {
			w.keeper.Ended(l)
		}
	}
	if out.Round != 0 {
		w.round = out.Round
		say("round %d", out.Round)
	}
	if out.Tick {
		say("tick %s", w.keeper.Stamp(w.now))
		if w.apply {
			w.work.Clock = w.keeper.Stamp(w.now)
		}
	}
	if out.Unfit {
		say("unfit to lead")
	}
	if out.Wake < w.now || out.Wake > w.now+session.TurnMax {
		w.t.Fatalf("at %s the next turn is asked for at %s", w.now, out.Wake)
	}
}

func (w *world) name(l session.Life) string {
	for name, s := range w.sessions {
		if s.Life == l {
			return name
		}
	}
	return l.String()
}
