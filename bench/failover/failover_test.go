package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func milliseconds(list ...int) (d []time.Duration) {
	for _, ms := range list {
		d = append(d, time.Duration(ms)*time.Millisecond)
	}
	return d
}

func TestQuantilesAreElements(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, c := range []struct {
		list []int
		q    float64
		want string
	}{
		{nil, 0.5, "-"},
		{[]int{7}, 0.5, "7"},
		{[]int{7}, 1, "7"},
		{[]int{3, 1}, 0.5, "1"},
		{[]int{3, 1, 2}, 0.5, "2"},
		{hundred, 0.5, "50"},
		{hundred, 0.9, "90"},
		{hundred, 0.99, "99"},
		{hundred, 1, "100"},
		{hundred[50:], 0.99, "50"},
		{hundred[50:], 0.9, "45"},
	} {
		if got := ms(milliseconds(c.list...), c.q); got != c.want {
			t.Errorf("quantile %v of %v is %s, want %s", c.q, c.list, got, c.want)
		}
	}
}

// service grants what it is told to.
type service struct {
	tokens []uint64
	err    error // of taking
	unlock error
}

func (s *service) try(context.Context, string) (grant, error) {
	if s.err != nil {
		return grant{}, s.err
	}
	token := s.tokens[0]
	s.tokens = s.tokens[1:]
	return grant{token, func(context.Context) error { return s.unlock }}, nil
}

func TestBookFindsWhatWentWrong(t *testing.T) {
	broken := errors.New("it broke\nat length")
	for _, c := range []struct {
		name              string
		turns             []service
		left              []string
		lost, late, twice int
		why               string
	}{
		{name: "all is well", turns: []service{{tokens: []uint64{1}}, {tokens: []uint64{2}}}},
		{name: "a token comes twice", turns: []service{{tokens: []uint64{2}}, {tokens: []uint64{2}}}, twice: 1, why: "token 2 after 2"},
		{name: "a token goes back", turns: []service{{tokens: []uint64{2}}, {tokens: []uint64{1}}}, twice: 1, why: "token 1 after 2"},
		{name: "a try fails", turns: []service{{err: broken}}, lost: 1, why: "1 × it broke"},
		{name: "a release fails", turns: []service{{tokens: []uint64{2}, unlock: broken}}, lost: 1, why: "1 × it broke"},
		{name: "a try takes too long", turns: []service{{err: errLate}}, late: 1},
		{name: "held by nobody", turns: []service{{tokens: []uint64{1}}, {err: errHeld}}, twice: 1, why: "a was held"},
		{name: "held by a try that failed", turns: []service{{err: broken}, {err: errHeld}}, lost: 1},
		{name: "left behind", turns: []service{{tokens: []uint64{1}}}, left: []string{"a"}, twice: 1, why: "a was left behind"},
		{name: "left behind by a try that failed", turns: []service{{err: broken}}, left: []string{"a"}, lost: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBook()
			for i := range c.turns {
				b.turn(t.Context(), c.turns[i].try, "a", nil)
			}
			b.left(c.left)
			tries, lost, late, twice := b.counts()
			if tries != len(c.turns) || lost != c.lost || late != c.late || twice != c.twice {
				t.Errorf("%d tries, %d lost, %d late, %d twice; want %d, %d, %d, %d", tries, lost, late, twice, len(c.turns), c.lost, c.late, c.twice)
			}
			if why := strings.Join(b.reasons(), "\n"); !strings.Contains(why, c.why) || strings.Contains(why, "length") {
				t.Errorf("the reasons are %q", why)
			}
		})
	}
}

func TestBookFindsTwoHolders(t *testing.T) {
	b := newBook()
	first, second, third := b.begin("a"), b.begin("a"), b.begin("a")
	first.granted(1)
	second.granted(2)
	first.releases()
	second.releases()
	third.granted(3)
	if _, _, _, twice := b.counts(); twice != 1 || !strings.Contains(b.twice[0], "try 2 while try 1") {
		t.Errorf("%d signs of two holders: %v", twice, b.reasons())
	}
}

func TestTimeOutsAreToldFromErrors(t *testing.T) {
	b := newBook()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Nanosecond, errLate)
	defer cancel()
	<-ctx.Done()
	b.begin("a").failed(late(ctx, errors.New("rpc error: deadline exceeded")))
	b.begin("a").failed(late(t.Context(), errors.New("rpc error: unavailable")))
	if _, lost, late, _ := b.counts(); lost != 1 || late != 1 {
		t.Errorf("%d lost, %d late", lost, late)
	}
}

func TestReport(t *testing.T) {
	at := func(first, waiter int, each ...int) result {
		d := milliseconds(first, waiter)
		return result{First: d[0], Waiter: d[1], Each: milliseconds(each...)}
	}
	good := &cell{fault: faults[0], system: lockd, book: newBook(), results: []result{at(100, 400, 100, 110, 120, 130), at(200, 500, 200, 210, 220, 230)}}
	slow := &cell{fault: faults[1], system: lockd, book: newBook(), results: []result{at(700, 700, 700, 700, 700, 700)}}
	theirs := &cell{fault: faults[1], system: etcd, book: newBook(), results: []result{at(0, 0)}}
	theirs.book.begin("a").failed(errors.New("unavailable"))
	for _, c := range []struct {
		cell *cell
		want string
	}{
		{good, "| kill -9 | lockd | **100** ✓ | 200 | 200 | 200 | 130 | 230 | 400 | 500 | 0 | 0 | 0 | 0 | 0 |"},
		{slow, "| SIGSTOP | lockd | **700** ✗ | 700 | 700 | 700 | 700 | 700 | 700 | 700 | 0 | 0 | 0 | 0 | 0 |"},
		{theirs, "| SIGSTOP | etcd | **-** | - | - | - | - | - | - | - | 1 | 1 | 0 | 0 | 0 |"},
	} {
		if got := c.cell.row(); got != c.want {
			t.Errorf("the row is\n%s, want\n%s", got, c.want)
		}
	}
	r := report{cells: []*cell{good, slow, theirs}}
	if err := r.verdict(); err != nil {
		t.Errorf("the verdict on what went well: %v", err)
	}
	for name, spoil := range map[string]func(c *cell){
		"a lost try":       func(c *cell) { c.book.begin("a").failed(errors.New("lost")) },
		"a late try":       func(c *cell) { c.book.begin("a").failed(errLate) },
		"a leftover":       func(c *cell) { c.book.left([]string{"a"}) },
		"an ended session": func(c *cell) { c.results[0].Ended = 1 },
		"a missing grant":  func(c *cell) { c.results[0].Each = c.results[0].Each[1:] },
		"a missing waiter": func(c *cell) { c.results[0].Waiter = 0 },
	} {
		bad := &cell{fault: faults[0], system: lockd, book: newBook(), results: []result{at(100, 400, 100, 110, 120, 130)}}
		spoil(bad)
		if err := (report{cells: []*cell{good, bad}}).verdict(); err == nil {
			t.Errorf("%s is not told", name)
		}
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, args := range [][]string{{"-systems", "etcd,none"}, {"-faults", "none"}, {"-kills", "0"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("%v is accepted", args)
		}
	}
	p, err := parse([]string{"-systems", "etcd,lockd", "-faults", "cut", "-kills", "3"})
	if err != nil || len(p.systems) != 2 || p.systems[0].name != "etcd" || len(p.faults) != 1 || p.kills != 3 {
		t.Errorf("%+v, %v", p, err)
	}
}
