package machine_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/lockd/lockd/internal/machine"
)

// TestScripts runs the scenarios of testdata. A script is a list of lines
//
//	TIME VERB [ARGUMENT] [KEY=VALUE...]
//
// and its output is every line with the effects it had, and the validity after it where that changed.
// `go test ./internal/machine/ -run TestScripts -rewrite` records the output anew.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		var s *script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "session":
				s = newScript(t, d)
				return s.effects()
			case "run":
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					line = strings.TrimSpace(line)
					effects := s.line(t, d.Pos, line)
					if d.HasArg("quiet") {
						effects = fmt.Sprintf("  %d effects\n", strings.Count(effects, "\n"))
					}
					fmt.Fprintf(&out, "%s\n%s", line, effects)
				}
				return out.String()
			default:
				t.Fatalf("%s: no directive %q", d.Pos, d.Cmd)
				return ""
			}
		})
	})
}

type script struct {
	m     *machine.Machine
	names map[machine.CallID]string // the names the script gave to calls
	lives []machine.Life            // all that were opened, oldest first
	id    machine.SessionID         // of the last Open that was sent
	valid string
}

func newScript(t *testing.T, d *datadriven.TestData) *script {
	cfg := machine.Config{ID: machine.SessionID{0xff, 0xff, 0xab}, TTL: 15 * time.Second}
	for _, arg := range d.CmdArgs {
		span, err := time.ParseDuration(arg.Vals[0])
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		switch arg.Key {
		case "ttl":
			cfg.TTL = span
		case "grace":
			cfg.Grace = span
		default:
			t.Fatalf("%s: no argument %q", d.Pos, arg.Key)
		}
	}
	m, err := machine.New(cfg)
	if err != nil {
		t.Fatalf("%s: %v", d.Pos, err)
	}
	return &script{m: m, names: map[machine.CallID]string{}, valid: "never"}
}

// arguments are the words of a line after the verb.
type arguments struct {
	t     *testing.T
	where string
	words []string
	pairs map[string]string
}

func (a *arguments) fail(format string, args ...any) {
	a.t.Helper()
	a.t.Fatalf("%s: %s", a.where, fmt.Sprintf(format, args...))
}

func (a *arguments) word(i int) string {
	if i >= len(a.words) {
		a.fail("argument %d is missing", i+1)
	}
	return a.words[i]
}

func (a *arguments) slot(s string) machine.Slot { return machine.Slot(a.uint(cmp.Or(s, "0"))) }

func (a *arguments) uint(s string) uint64 {
	n, err := strconv.ParseUint(cmp.Or(s, "0"), 10, 64)
	if err != nil {
		a.fail("%v", err)
	}
	return n
}

func (a *arguments) duration(s string) time.Duration {
	d, err := time.ParseDuration(cmp.Or(s, "0s"))
	if err != nil {
		a.fail("%v", err)
	}
	return d
}

func (a *arguments) code(s string, otherwise machine.Code) machine.Code {
	if s == "" {
		return otherwise
	}
	for c := machine.Code(1); c.String() != "?"; c++ {
		if c.String() == s {
			return c
		}
	}
	a.fail("no code %q", s)
	return 0
}

// line carries out one line of a script.
func (s *script) line(t *testing.T, pos, line string) string {
	words := strings.Fields(line)
	a := &arguments{t: t, where: pos + ": " + line, pairs: map[string]string{}}
	if len(words) < 2 {
		a.fail("not a line of a script")
	}
	now := a.duration(words[0])
	for _, w := range words[2:] {
		if key, value, ok := strings.Cut(w, "="); ok {
			a.pairs[key] = value
		} else {
			a.words = append(a.words, w)
		}
	}
	var out string
	if err := s.verb(now, words[1], a); err != nil {
		out = "  error: " + err.Error() + "\n"
	}
	return out + s.effects() + s.validity()
}

func (s *script) verb(now time.Duration, verb string, a *arguments) error {
	m := s.m
	switch verb {
	case "wake":
		m.Wake(now)
	case "pass": // wakes the machine whenever it asks for it
		for last := time.Duration(-1); ; {
			at, ok := m.Deadline()
			if !ok || at > now {
				break
			}
			if at <= last {
				a.fail("woken at %v, it wants to be woken at %v", last, at)
			}
			m.Wake(at)
			last = at
		}
		m.Wake(now)
	case "connected":
		m.Connected(now, a.slot(a.word(0)))
	case "disconnected":
		m.Disconnected(now, a.slot(a.word(0)))
	case "suspended":
		m.Suspended(now, a.duration(a.word(0)))
	case "close":
		m.Close(now)
	case "acquire", "try", "do":
		kind := map[string]machine.OpKind{"acquire": machine.OpAcquire, "try": machine.OpTry, "do": machine.OpOther}[verb]
		op := machine.Op{Kind: kind, Wait: a.duration(a.pairs["wait"]), Lease: slices.Contains(a.words, "lease"), Body: a.word(0)}
		id, err := m.Do(now, op)
		s.names[id] = a.word(0)
		return err
	case "acquire-many":
		for i := range a.uint(a.word(0)) {
			if _, err := m.Do(now, machine.Op{Kind: machine.OpAcquire, Body: fmt.Sprint("many-", i)}); err != nil {
				return err
			}
		}
	case "release":
		id, err := m.Release(now, s.call(a))
		s.names[id] = "release-of-" + a.word(0)
		return err
	case "abandon":
		return m.Abandon(now, s.call(a))
	default:
		m.Receive(now, a.slot(a.pairs["slot"]), s.message(verb, a))
	}
	return nil
}

func (s *script) call(a *arguments) machine.CallID {
	var found machine.CallID
	for id, name := range s.names {
		if name == a.word(0) {
			found = max(found, id)
		}
	}
	if found == 0 {
		a.fail("no call %q", a.word(0))
	}
	return found
}

// life is the newest life, or the one before it with life=old.
func (s *script) life(a *arguments) machine.Life {
	back := 1
	if a.pairs["life"] == "old" {
		back = 2
	}
	if len(s.lives) < back {
		a.fail("no such life")
	}
	return s.lives[len(s.lives)-back]
}

func (s *script) message(verb string, a *arguments) machine.Message {
	cluster := a.duration(a.pairs["cluster"])
	switch verb {
	case "open-answer":
		return machine.OpenAnswer{
			ID: s.id, Code: a.code(a.pairs["code"], machine.Done), Index: a.uint(a.pairs["index"]), Cluster: cluster, Body: a.pairs["why"],
			Wait: a.duration(a.pairs["wait"]),
		}
	case "keepalive-answer":
		return machine.KeepAliveAnswer{
			Life: s.life(a), Number: a.uint(a.word(0)), Code: a.code(a.pairs["code"], machine.Done), Cluster: cluster,
		}
	case "answer":
		return machine.Answer{
			Life: s.life(a), Seq: a.uint(a.word(0)), Code: a.code(a.word(1), 0), Token: a.uint(a.pairs["token"]), Cluster: cluster,
			Wait: a.duration(a.pairs["wait"]),
		}
	case "close-answer":
		return machine.CloseAnswer{Life: s.life(a)}
	case "no-quorum":
		return machine.NoQuorum{}
	default:
		a.fail("no verb %q", verb)
		return nil
	}
}

func (s *script) validity() string {
	valid := "never"
	if until, ok := s.m.ValidUntil(); ok {
		valid = until.String()
	}
	if valid == s.valid {
		return ""
	}
	s.valid = valid
	return "  valid until " + valid + "\n"
}

func (s *script) effects() string {
	var out strings.Builder
	for _, e := range s.m.Output() {
		fmt.Fprintf(&out, "  %s\n", s.effect(e))
	}
	return out.String()
}

func (s *script) effect(e machine.Effect) string {
	switch e := e.(type) {
	case machine.Send:
		return fmt.Sprintf("send over %d: %s", e.Slot, s.sent(e.Message))
	case machine.Dial:
		return fmt.Sprint("dial ", e.Slot)
	case machine.Hang:
		return fmt.Sprint("hang up ", e.Slot)
	case machine.Opened:
		s.lives = append(s.lives, e.Life)
		return "OPENED " + life(e.Life)
	case machine.Jeopardy:
		return fmt.Sprint("JEOPARDY until ", e.ValidUntil)
	case machine.Safe:
		return fmt.Sprint("SAFE until ", e.ValidUntil)
	case machine.Lost:
		var holds []string
		for _, id := range e.Holds {
			holds = append(holds, s.name(id))
		}
		return fmt.Sprintf("LOST %s by %s, holds [%s]", life(e.Life), e.Cause, strings.Join(holds, " "))
	case machine.Acquired:
		return fmt.Sprintf("ACQUIRED %s token %d", s.name(e.Call), e.Token)
	case machine.Finished:
		return fmt.Sprintf("FINISHED %s: %s", s.name(e.Call), e.Code)
	case machine.Ended:
		return fmt.Sprintf("ENDED %s token %d", s.name(e.Call), e.Token)
	case machine.Closed:
		if e.Reason != nil {
			return fmt.Sprint("CLOSED: ", e.Reason)
		}
		return "CLOSED"
	default:
		return fmt.Sprintf("%T", e)
	}
}

func (s *script) name(id machine.CallID) string { return cmp.Or(s.names[id], fmt.Sprint("call ", id)) }

func life(l machine.Life) string { return fmt.Sprintf("%x/%d@%d", l.ID[:3], l.ID[15], l.Index) }

func (s *script) sent(msg machine.Message) string {
	switch msg := msg.(type) {
	case machine.OpenRequest:
		s.id = msg.ID
		return fmt.Sprintf("open %x/%d ttl %v grace %v", msg.ID[:3], msg.ID[15], msg.TTL, msg.Grace)
	case machine.KeepAlive:
		return fmt.Sprintf("keepalive %d of %s", msg.Number, life(msg.Life))
	case machine.Request:
		out := fmt.Sprintf("%s seq %d acked %d", operation(msg.Op), msg.Seq, msg.Acked)
		if len(msg.Seen) > 0 {
			out += fmt.Sprint(" seen ", msg.Seen)
		}
		return out + " of " + life(msg.Life)
	case machine.CloseRequest:
		return "close " + life(msg.Life)
	default:
		return fmt.Sprintf("%T", msg)
	}
}

func operation(op machine.Op) string {
	switch op.Kind {
	case machine.OpAcquire:
		if op.Wait > 0 {
			return fmt.Sprintf("acquire %v wait %v", op.Body, op.Wait)
		}
		return fmt.Sprint("acquire ", op.Body)
	case machine.OpTry:
		return fmt.Sprint("try ", op.Body)
	case machine.OpRelease:
		return fmt.Sprintf("release %v token %d", op.Body, op.Token)
	case machine.OpCancel:
		return fmt.Sprintf("cancel %d", op.Target)
	case machine.OpOther:
		return fmt.Sprint("do ", op.Body)
	default:
		return fmt.Sprintf("kind %d", op.Kind)
	}
}
