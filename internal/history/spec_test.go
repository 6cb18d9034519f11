package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// TestSpec runs random logs through the real lock table and the specification: every reply, every decided wait, every end, and what readers
// see must be the same. The two were written independently; where they differ one of them is wrong.
func TestSpec(t *testing.T) {
	met := map[locktable.Code]int{}
	for seed := range uint64(histories(2000)) {
		randomLog(t, seed, 120, met)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for code := locktable.OK; code <= locktable.Ignored; code++ {
		limit := code == locktable.Embargo || code >= locktable.TooManyHolds && code <= locktable.TooManyHere
		if met[code] == 0 && !limit {
			t.Errorf("no entry was answered with %q", code)
		}
	}
}

type logMaker struct {
	r      *rand.Rand
	clock  time.Duration
	lives  []session.Life
	seqs   map[session.Life]uint64
	tokens []uint64
	past   []locktable.Command
}

var specNames = []string{"a", "b", "c"}

func randomLog(t *testing.T, seed uint64, entries int, met map[locktable.Code]int) {
	t.Helper()
	table, model := locktable.NewTable(), newSpec(1000)
	begin := locktable.Encode(&locktable.Incarnate{Incarnation: [16]byte{1}, Seed: 1000})
	if _, err := table.Apply(1, 1, begin); err != nil {
		t.Fatal(err)
	}
	m := &logMaker{r: rand.New(rand.NewPCG(seed, 1)), lives: []session.Life{{}}, seqs: map[session.Life]uint64{}, tokens: []uint64{0}}
	term := uint64(1)
	for index := uint64(2); index < uint64(entries) && !t.Failed(); index++ {
		if m.r.IntN(30) == 0 {
			term++
		}
		if m.r.IntN(4) == 0 {
			m.clock += time.Duration(m.r.IntN(2500)) * time.Millisecond
		}
		cmd := m.command(term)
		if m.r.IntN(10) == 0 && len(m.past) > 0 {
			cmd = m.past[m.r.IntN(len(m.past))]
		}
		m.past = append(m.past, cmd)
		data := locktable.Encode(cmd)
		locktable.SetStamp(data, m.clock)
		cmd, err := locktable.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		applied, err := table.Apply(index, term, data)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := model.apply(index, term, cmd)
		if err != nil {
			t.Fatal(err)
		}
		met[reply.Code]++
		m.learn(cmd, reply)
		if reply != applied.Reply {
			t.Errorf("entry %d, %s: the specification says %+v, the table %+v", index, commandLine(data), reply, applied.Reply)
		}
		compareEffects(t, index, model, applied.Effects)
		for _, over := range model.overs {
			m.tokens = append(m.tokens, over.reply.Token)
		}
		compareLooks(t, index, model, table, m.tokens)
		if table.Counter() != model.counter {
			t.Errorf("entry %d: the specification's last token is %d, the table's %d", index, model.counter, table.Counter())
		}
	}
}

func compareEffects(t *testing.T, index uint64, model *spec, effects []locktable.Effect) {
	t.Helper()
	var overs []over
	var ends []ending
	for _, e := range effects {
		switch e.Kind {
		case locktable.WaitOver:
			overs = append(overs, over{e.Session, e.Seq, e.Reply})
		case locktable.Ended:
			ends = append(ends, ending{e.Session, e.How})
		case locktable.Opened, locktable.Revoked, locktable.Changed:
		}
	}
	if !slices.Equal(overs, model.overs) {
		t.Errorf("entry %d: the specification decides %+v, the table %+v", index, model.overs, overs)
	}
	if !slices.Equal(ends, model.ends) {
		t.Errorf("entry %d: the specification ends %+v, the table %+v", index, model.ends, ends)
	}
}

func compareLooks(t *testing.T, index uint64, model *spec, table *locktable.Table, tokens []uint64) {
	t.Helper()
	for _, name := range specNames {
		v, ok := table.Lock(name, 100)
		want := look{found: ok}
		if ok {
			want.queue, want.floor = v.Queue, v.Floor
			for _, h := range v.Holders {
				want.tokens = append(want.tokens, h.Token)
			}
		}
		if got := model.look(name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("entry %d: the specification sees %s as %+v, the table %+v", index, name, got, want)
		}
		for _, token := range tokens[max(0, len(tokens)-4):] {
			if got, want := model.worth(name, token), table.CheckToken(name, token).Validity; got != want {
				t.Errorf("entry %d: the specification calls token %d of %s %v, the table %v", index, token, name, got, want)
			}
		}
	}
}

// learn remembers what later commands may refer to.
func (m *logMaker) learn(cmd locktable.Command, r locktable.Reply) {
	if o, ok := cmd.(*locktable.Open); ok && r.Code == locktable.OK {
		m.lives = append(m.lives, session.Life{ID: o.ID, Index: r.Index})
	}
	if r.Token != 0 {
		m.tokens = append(m.tokens, r.Token)
	}
}

func (m *logMaker) one(n int) bool { return m.r.IntN(n) == 0 }

func (m *logMaker) name() string { return specNames[m.r.IntN(len(specNames))] }

func (m *logMaker) life() session.Life {
	return m.lives[max(0, len(m.lives)-1-m.r.IntN(min(4, len(m.lives))))]
}

func (m *logMaker) token() uint64 { return m.tokens[max(0, len(m.tokens)-1-m.r.IntN(4))] }

func (m *logMaker) lease() session.ID { return session.ID{9, byte(m.r.IntN(3))} }

func (m *logMaker) ttl() time.Duration {
	return []time.Duration{0, time.Second, 3 * time.Second, 3 * time.Second, time.Hour}[m.r.IntN(5)]
}

func (m *logMaker) request() locktable.Request {
	life := m.life()
	q := locktable.Request{Session: life, Seq: m.seqs[life] + 1}
	switch m.r.IntN(20) {
	case 0:
		q.Seq += session.WindowMax + 5
	case 1, 2:
		q.Seq = uint64(m.r.IntN(int(q.Seq + 1)))
	default:
		m.seqs[life]++
	}
	if m.one(3) {
		q.Acked = uint64(m.r.IntN(int(m.seqs[life] + 1)))
	}
	if m.one(3) {
		q.Seen = []uint64{1 + uint64(m.r.IntN(int(m.seqs[life]+1)))}
	}
	return q
}

func (m *logMaker) command(term uint64) locktable.Command {
	decided := term
	if m.one(6) {
		decided--
	}
	switch n := m.r.IntN(100); {
	case n < 6 || len(m.lives) < 3:
		return &locktable.Open{ID: session.ID{1, byte(m.r.IntN(4))}, TTL: []time.Duration{time.Second, time.Minute, 1}[m.r.IntN(3)]}
	case n < 8:
		return &locktable.Close{Session: m.life()}
	case n < 12:
		return &locktable.Expire{Term: decided, Lives: []session.Life{m.life(), m.life()}[:1+m.r.IntN(2)]}
	case n < 18:
		return &locktable.Tick{Term: decided}
	case n < 38:
		return &locktable.Release{Request: m.request(), Name: m.name(), Token: m.token()}
	case n < 48:
		c := &locktable.Cancel{Request: m.request(), Name: m.name()}
		c.Target = c.Seq + 1 - min(c.Seq+1, uint64(m.r.IntN(6)))
		return c
	case n < 50:
		return &locktable.SetValue{Request: m.request(), Name: m.name(), Token: m.token(), LeaseID: m.lease(), Value: []byte{1}}
	case n < 53:
		return &locktable.RenewLease{Name: m.name(), ID: m.lease(), Token: m.token(), TTL: m.ttl()}
	case n < 56:
		return &locktable.ReleaseLease{Name: m.name(), ID: m.lease(), Token: m.token()}
	case n < 60:
		return &locktable.TakeLease{Name: m.name(), ID: m.lease(), Token: m.token(), NewID: m.lease(), TTL: m.ttl()}
	default:
		return m.acquire()
	}
}

func (m *logMaker) acquire() locktable.Command {
	a := &locktable.Acquire{
		Request: m.request(), Owner: 1 + uint64(m.r.IntN(2)), Mode: locktable.Exclusive, Names: []string{m.name()},
		Wait: []time.Duration{0, time.Second, 3 * time.Second, locktable.Forever, locktable.Forever}[m.r.IntN(5)],
	}
	if m.one(4) {
		a.Names = [][]string{{"a", "b"}, {"b", "a"}, {"b", "c"}, {"a", "b", "c"}, {"a", "a"}, {}}[m.r.IntN(6)]
	}
	if m.one(3) {
		a.Mode = locktable.Shared
	}
	if (len(a.Names) > 0 && slices.Contains(a.Names, "c")) != m.one(10) {
		a.Mode, a.Limit = locktable.Slot, uint32(1+m.r.IntN(2))
	}
	switch m.r.IntN(8) {
	case 0, 1:
		a.Reentrant = true
	case 2, 3:
		a.Delay = time.Duration(1+m.r.IntN(20)) * 100 * time.Millisecond
	case 4:
		if a.LeaseTTL = m.ttl(); a.LeaseTTL > 0 {
			a.LeaseID = m.lease()
		}
	}
	return a
}
