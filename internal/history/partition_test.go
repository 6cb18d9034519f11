package history

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// parted is a run of five nodes in which n1 and n2 are cut off for ten seconds, and the process "away" with them.
type parted struct {
	h      *History
	audits []*Audit // n1 to n5
	w      *witness
	o      Options
}

const second = int64(time.Second)

// at returns a time in the run in milliseconds. The partition is from 10,000 to 20,000.
func at(ms int64) int64 { return second + ms*int64(time.Millisecond) }

var homeLife, awayLife = session.Life{ID: session.ID{1}, Index: 1}, session.Life{ID: session.ID{2}, Index: 1}

// newParted returns a run that is as it should be: "away" holds a when it is cut off, until its validity ends; then "home" is granted it.
func newParted() *parted {
	p := &parted{h: &History{}, w: &witness{r: &report{kept: map[string]int{}}, ended: map[session.Life]end{}, grants: map[uint64]*grant{}}}
	p.o = Options{Served: 5 * time.Second, Partitions: []Partition{{From: at(10_000), To: at(20_000), Nodes: []string{"n1", "n2"}, Processes: []string{"away"}}}}
	for _, name := range []string{"n1", "n2", "n3", "n4", "n5"} {
		p.audits = append(p.audits, &Audit{Node: name})
	}
	p.entry(8900, 8910, 8920)
	p.grant("a", "away", 8800, 9000, 12_000)
	p.op(Operation{Process: "away", Kind: Lost, Token: 1, Call: at(12_000), Return: at(12_000), Outcome: OK})
	p.op(Operation{Process: "away", Kind: Release, Token: 1, Call: at(12_010)})
	p.entry(14_000, 14_010, 20_300)
	p.grant("a", "home", 9500, 14_050, 18_000)
	p.op(Operation{Process: "home", Kind: Release, Token: 2, Call: at(14_500), Return: at(14_600), Outcome: OK})
	p.entry(20_400, 20_410, 20_500)
	p.grant("b", "away", 11_000, 20_700, 24_000)
	p.entry(20_800, 20_810, 20_900)
	p.grant("c", "home", 20_100, 21_000, 24_000)
	p.w.t = &traffic{
		commands: []*request{{process: "home", message: &wire.Open{Session: wire.ID(homeLife.ID)}, answers: []answer{{index: 1}}}},
		renewals: map[session.Life][]renewal{awayLife: {{process: "away", sent: at(9900), at: at(9950), verdict: wire.Renewed}}},
	}
	return p
}

func (p *parted) op(o Operation) { p.h.Operations = append(p.h.Operations, o) }

// entry adds an entry of the log: applied by the first node, by the others of the majority, and by the minority.
func (p *parted) entry(first, majority, minority int64) {
	e := Entry{Entry: lockd.Entry{Index: uint64(len(p.w.log) + 1), Term: 1}, At: at(first)}
	p.w.log = append(p.w.log, e)
	for i, a := range p.audits {
		if e.At = at(majority); i < 2 {
			e.At = at(minority)
		}
		a.Entries = append(a.Entries, e)
	}
}

// grant adds the grant of the last entry, with the next token.
func (p *parted) grant(key, process string, call, back, until int64) {
	token := uint64(len(p.w.grants) + 1)
	p.w.grants[token] = &grant{index: uint64(len(p.w.log)), names: []string{key}}
	p.op(Operation{
		Process: process, Kind: Acquire, Keys: []string{key}, Mode: Exclusive, Token: token, Call: at(call), Return: at(back), Until: at(until), Outcome: OK,
	})
}

func (p *parted) check() *Verdict {
	p.h.sort()
	p.w.partitions(p.h, p.audits, p.o)
	enough(p.o, p.w.r)
	return &p.w.r.Verdict
}

// acquire returns the Acquire of a token.
func (p *parted) acquire(token uint64) *Operation {
	return &p.h.Operations[slices.IndexFunc(p.h.Operations, func(o Operation) bool { return o.Kind == Acquire && o.Token == token })]
}

func TestPartition(t *testing.T) {
	p := newParted()
	p.o.Minimum.HandOvers = 1
	v := p.check()
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	want := Parted{Tried: 1, Lost: 1, HandOvers: 1, Soonest: 2 * time.Second, Grants: 1, Served: time.Second}
	if got := v.Partitions[0]; got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestPartitionNews: who hears the majority may learn that it was granted something, and who has just been cut off what was decided before.
func TestPartitionNews(t *testing.T) {
	p := newParted()
	p.o.Partitions[0].Heard = true
	p.entry(15_000, 15_010, 15_020)
	p.grant("d", "away", 9000, 15_030, 16_000)
	p.entry(10_200, 13_000, 10_200)
	p.grant("e", "away", 9000, 10_300, 11_000)
	v := p.check()
	if err := v.Err(); err != nil {
		t.Fatal(err)
	}
	if got := v.Partitions[0]; got.News != 1 || got.Late != 1 {
		t.Errorf("%+v, want one grant of each kind", got)
	}
}

func TestPartitionPlanted(t *testing.T) {
	for _, c := range []struct {
		name, text string
		plant      func(p *parted)
	}{
		{"the minority commits", "applied by them alone", func(p *parted) { p.entry(15_000, 20_200, 15_000) }},
		{"the minority commits for ever", "applied by them alone", func(p *parted) {
			p.entry(15_000, 0, 15_000)
			for _, a := range p.audits[2:] {
				a.Entries = a.Entries[:len(a.Entries)-1]
			}
		}},
		{"the minority grants", "granted something", func(p *parted) { p.acquire(3).Return = at(15_000) }},
		{"the minority is told without hearing", "granted something", func(p *parted) {
			p.entry(15_000, 15_010, 20_200)
			p.grant("d", "away", 9000, 15_030, 16_000)
		}},
		{"the minority grants what the majority has not", "granted something", func(p *parted) {
			p.o.Partitions[0].Heard = true
			p.acquire(3).Return = at(15_000)
		}},
		{"the minority confirms", "was renewed", func(p *parted) {
			p.w.t.renewals[awayLife] = append(p.w.t.renewals[awayLife], renewal{process: "away", sent: at(9900), at: at(15_000), verdict: wire.Renewed})
		}},
		{"the minority confirms what was sent later", "was renewed", func(p *parted) {
			p.o.Partitions[0].Heard = true
			p.w.t.renewals[awayLife] = append(p.w.t.renewals[awayLife], renewal{process: "away", sent: at(10_500), at: at(15_000), verdict: wire.Renewed})
		}},
		{"handed over too early", "while one of their clients held it", func(p *parted) {
			p.acquire(1).Until = at(14_001)
			p.h.Operations[slices.IndexFunc(p.h.Operations, func(o Operation) bool { return o.Kind == Lost })].Call = at(14_001)
			p.h.Operations[slices.IndexFunc(p.h.Operations, func(o Operation) bool { return o.Kind == Release })].Call = at(14_001)
		}},
		{"handed over to nobody", "0 hand-overs", func(p *parted) { delete(p.w.grants, 2) }},
		{"handed over after the healing", "0 hand-overs", func(p *parted) { p.w.grants[2].index = 3 }},
		{"handed over among themselves", "0 hand-overs", func(p *parted) { p.acquire(2).Process = "away"; p.o.Partitions[0].Heard = true }},
		{"released and handed over", "0 hand-overs", func(p *parted) { p.op(Operation{Process: "away", Kind: Release, Token: 1, Call: at(11_000)}) }},
		{"served too late", "nothing within", func(p *parted) { p.acquire(3).Return = at(25_001) }},
		{"never served", "nothing within", func(p *parted) { p.acquire(4).Outcome = Unknown }},
		{"a client of the majority has lost", "has lost what it held", func(p *parted) {
			p.op(Operation{Process: "home", Kind: Lost, Token: 2, Call: at(14_200), Return: at(14_200), Outcome: OK})
		}},
		{"a session of the majority expires", "has expired", func(p *parted) { p.w.ended[homeLife] = end{entry: 1, how: locktable.Expired} }},
		{"nobody of the minority asks", "asked for anything", func(p *parted) { p.acquire(3).Call = at(20_001) }},
		{"the majority grants nothing", "granted nothing to their own", func(p *parted) { p.acquire(2).Return = at(20_001) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newParted()
			p.o.Minimum.HandOvers = 1
			c.plant(p)
			v := p.check()
			if !slices.ContainsFunc(v.Violations, func(x Violation) bool { return strings.Contains(x.Text, c.text) }) {
				t.Errorf("it is not found; found is %v", v.Err())
			}
		})
	}
}
