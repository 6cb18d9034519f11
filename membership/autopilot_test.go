package membership_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/lockd/lockd/membership"
)

const hour = time.Hour

// servers reads a line such as "n1* n2 n3! l4 l5-": a leader, a healthy voter, one that is dead for an hour, a stable learner that
// wants to be a voter, and one that does not. "?" is one that is silent for a minute, "~" a learner that has only come.
func servers(line string) (list []membership.Server) {
	for word := range strings.FieldsSeq(line) {
		name := strings.TrimRight(word, "*!?~-")
		s := membership.Server{ID: name, Name: name, Voter: name[0] == 'n', Healthy: hour}
		switch {
		case strings.HasSuffix(word, "*"):
			s.Leader = true
		case strings.HasSuffix(word, "!"):
			s.Contact, s.Gossip, s.Healthy, s.Silent = hour, membership.Failed, 0, hour
		case strings.HasSuffix(word, "?"):
			s.Contact, s.Gossip, s.Healthy, s.Silent = time.Minute, membership.Failed, 0, time.Minute
		case strings.HasSuffix(word, "~"):
			s.Healthy = time.Second
		case strings.HasSuffix(word, "-"):
			s.NonVoter = true
		}
		list = append(list, s)
	}
	return list
}

func TestAdvise(t *testing.T) {
	for _, test := range []struct {
		size int
		line string
		want string
		why  string
	}{
		{0, "n1* n2 n3", "nothing", ""},
		{0, "n1* n2 n3 l4", "promote l4", "l4 has been healthy for 1h"},
		{0, "n1* n2 n3 l4-", "nothing", ""},
		{0, "n1* n2 n3 l4~", "nothing", ""},
		{0, "n1* n2 n3! l4", "promote l4", ""}, // no size is declared: nobody is replaced
		{0, "n1* n2 n3! l4!", "nothing", ""},   // nor removed
		{3, "n1* n2 n3 l4", "nothing", ""},     // it stands by
		{3, "n1* n2 l4", "promote l4", ""},     // a seat is free
		{3, "n1* n2 n3!", "nothing", "no learner is there"},
		{3, "n1* n2 n3! l4", "replace n3 by l4", "n3 has been silent for 1h"},
		{3, "n1* n2 n3! l4-", "nothing", "no learner is there"},
		{3, "n1* n2 n3! l4~", "nothing", "no learner is there"},
		{3, "n1* n2 n3? l4", "nothing", ""}, // a restart of the machine takes minutes
		{3, "n1* n2! n3! l4", "nothing", "1 of 3 voters are healthy and 2 are needed (n2, n3 down)"},
		{3, "n1* n2 n3 n4!", "remove n4", "4 voters are more than the 3 declared"},
		{3, "n1* n2 n3 n4! l5", "remove n4", ""},
		{5, "n1* n2 n3 n4! n5! l6 l7", "replace n4 by l6", ""}, // one after the other
		{3, "n1* n2 n3 l4!", "remove l4", "the learner l4"},
		{3, "n1* n2 n3! l4!", "remove l4", ""}, // the voter keeps its seat
	} {
		p := membership.DefaultPolicy()
		p.Size = test.size
		got := membership.Advise(p, hour, servers(test.line))
		if text := describe(got); text != test.want || !strings.Contains(got.Why, test.why) {
			t.Errorf("%d declared, %s: %s (%s), want %s (%s)", test.size, test.line, text, got.Why, test.want, test.why)
		}
		if early := membership.Advise(p, time.Second, servers(test.line)); early.Action != membership.Nothing {
			t.Errorf("%s: a leader of one second advises %s", test.line, describe(early))
		}
	}
}

func describe(a membership.Advice) string {
	switch a.Action {
	case membership.Promote:
		return "promote " + a.In
	case membership.Replace:
		return "replace " + a.Out + " by " + a.In
	case membership.Remove:
		return "remove " + a.Out
	default:
		return a.Action.String()
	}
}

// Whatever the cluster looks like: the advice can be decided, keeps the declared size and the healthy, and comes to an end.
func TestAdviseNeverShrinksNorStrands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := membership.DefaultPolicy()
		p.Size = rapid.IntRange(0, 7).Draw(t, "size")
		words := []string{"n1*"}
		for i := range rapid.IntRange(0, 8).Draw(t, "servers") {
			kind := rapid.SampledFrom([]string{"n", "l"}).Draw(t, "kind")
			mark := rapid.SampledFrom([]string{"", "!", "?", "~", "-"}).Draw(t, "mark")
			words = append(words, fmt.Sprintf("%s%d%s", kind, i+2, mark))
		}
		list := servers(strings.Join(words, " "))
		for step := 0; ; step++ {
			if step > 20 {
				t.Fatalf("%v: no end of advice", words)
			}
			a := membership.Advise(p, hour, list)
			if a.Action == membership.Nothing {
				return
			}
			next := follow(t, list, a)
			before, after := count(p, list), count(p, next)
			if err := membership.CheckQuorum(before, after); err != nil {
				t.Fatalf("%v: %s: %v", words, describe(a), err)
			}
			if p.Size > 0 && len(after) < min(p.Size, len(before)) {
				t.Fatalf("%v: %s leaves %d voters of %d declared", words, describe(a), len(after), p.Size)
			}
			if membership.Margin(after) < membership.Margin(before) {
				t.Fatalf("%v: %s takes the margin from %d to %d", words, describe(a), membership.Margin(before), membership.Margin(after))
			}
			list = next
		}
	})
}

func follow(t *rapid.T, list []membership.Server, a membership.Advice) (next []membership.Server) {
	for _, s := range list {
		switch s.ID {
		case a.Out:
			if s.Leader || p0.Fit(s) {
				t.Fatalf("%s removes one that is well", describe(a))
			}
			continue
		case a.In:
			if s.Voter || s.NonVoter {
				t.Fatalf("%s promotes what it should not", describe(a))
			}
			s.Voter = true
		}
		next = append(next, s)
	}
	return next
}

var p0 = membership.DefaultPolicy()

func count(p membership.Policy, list []membership.Server) (voters []membership.Voter) {
	for _, s := range list {
		if s.Voter {
			voters = append(voters, membership.Voter{Name: s.Name, Healthy: p.Fit(s)})
		}
	}
	return voters
}

func TestCheckQuorum(t *testing.T) {
	voters := func(line string) []membership.Voter { return count(p0, servers(line)) }
	for _, test := range []struct{ before, after, want string }{
		{"n1* n2 n3", "n1* n2", ""},
		{"n1* n2 n3!", "n1* n2", ""},
		{"n1* n2 n3!", "n1* n3!", "now 2 of 3 voters are healthy and 2 are needed (n3 down); after the change 1 of 2 voters are healthy and 2 are needed (n3 down)"},
		{"n1* n2! n3!", "n1*", "already 1 of 3 voters are healthy and 2 are needed (n2, n3 down)"},
		{"n1*", "", "no voter would be left"},
	} {
		err := membership.CheckQuorum(voters(test.before), voters(test.after))
		if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, membership.ErrQuorum) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s to %s: %v, want %q", test.before, test.after, err, test.want)
		}
	}
}
