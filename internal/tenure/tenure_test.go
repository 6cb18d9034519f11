package tenure_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/replica"
	"github.com/lockd/lockd/internal/tenure"
	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/raft"
	"github.com/lockd/lockd/session"
)

const ttl = 10 * time.Second

// Model A4 and review S2: an entry of an earlier term may still end a session, so nothing is answered before the own first one.
func TestNewLeaderServesNothingBeforeItsFirstEntryIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		w.elect(2)
		w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 1}})
		proposed := make(chan error, 1)
		go func() {
			_, err := propose(w.tenure, locktable.Encode(&locktable.Close{Session: session.Life{Index: 99}}))
			proposed <- err
		}()
		w.apply(1, locktable.Encode(&locktable.Close{Session: session.Life{Index: 98}})) // of the term before
		time.Sleep(time.Second)
		if n := get(w, func() int { return len(w.answers) }); n != 0 {
			t.Errorf("%d KeepAlives were answered before the first entry was applied", n)
		}
		if len(proposed) > 0 {
			t.Fatalf("a command was answered before the first entry was applied: %v", <-proposed)
		}
		if clock, leads := w.tenure.Clock(); leads {
			t.Errorf("the clock says %v before the first entry was applied", clock)
		}
		w.apply(2, nil)
		time.Sleep(100 * time.Millisecond)
		if err := <-proposed; err != nil {
			t.Errorf("the command that waited got %v", err)
		}
		answers := get(w, func() []session.Answer { return w.answers })
		if len(answers) != 1 || answers[0].Verdict != session.Renewed || answers[0].Number != 1 {
			t.Errorf("the KeepAlive that was held back got %+v, want one answer: renewed", answers)
		}
	})
}

func TestRoundThatAnotherLeaderAnsweredIsNone(t *testing.T) {
	for name, now := range map[string]struct {
		role raft.Role
		term raft.Term
	}{
		"deposed":             {raft.Follower, 1},
		"leads a later term":  {raft.Leader, 3},
		"stands for election": {raft.PreCandidate, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				w.lead(1)
				life := w.open(1, 0)
				w.set(func() { w.role, w.term = now.role, now.term }) // and the Tenure has not heard of it yet
				w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 1}})
				time.Sleep(2 * ttl)
				if answers := get(w, func() []session.Answer { return w.answers }); len(answers) > 0 {
					t.Errorf("answered %+v by a round of another leader", answers)
				}
				if lists, _ := w.expires(); len(lists) > 0 {
					t.Errorf("expired %v by a round of another leader", lists)
				}
			})
		})
	}
}

// Model A8 and review L3.
func TestExpireIsProposedAgainUntilItIsApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		w.set(func() { w.refuse = raft.ErrTransferring })
		time.Sleep(ttl + 2*time.Second)
		w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 7}})
		time.Sleep(time.Second)
		lists, _ := w.expires()
		if len(lists) < 3 {
			t.Errorf("Expire was proposed %d times in three seconds of refusals, want it again and again", len(lists))
		}
		answers := get(w, func() []session.Answer { return w.answers })
		if len(answers) != 1 || answers[0].Verdict != session.NotRenewed {
			t.Errorf("a KeepAlive after the first Expire got %+v, want not renewed", answers)
		}
		w.set(func() { w.refuse = nil })
		time.Sleep(time.Second)
		if w.alive(life) {
			t.Error("the session lives, although its Expire is no longer refused")
		}
		_, proposals := w.expires()
		for _, p := range proposals {
			if p.Term != 1 || !p.Own {
				t.Errorf("Expire was proposed with %+v, want its term, as the leader's own", p)
			}
		}
	})
}

// Model A9: the time in which the loop stood still is not counted, whatever the loop was waiting for.
func TestStallIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		const stall = 30 * time.Second
		w.set(func() { w.viewDelay = stall })
		time.Sleep(session.TurnMax + time.Millisecond) // the next turn has begun
		w.set(func() { w.viewDelay = 0 })
		ended := w.endsAt(life, stall+2*ttl)
		if least := stall + ttl - session.StallMax - session.TurnMax; ended < least {
			t.Errorf("the session ended after %v, want at least %v: the loop was stopped for %v", ended, least, stall)
		}
		if most := stall + ttl + time.Second; ended > most {
			t.Errorf("the session ended after %v, want at most %v", ended, most)
		}
	})
}

// Review C1 and model A6.
func TestKeepAliveCountsFromItsReceiptLessItsAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		time.Sleep(5 * time.Second)
		const age = 2 * time.Second
		w.set(func() { w.readDelay = 3 * time.Second }) // the deadline moves at receipt, not when the round is done
		w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 1, Age: age}})
		due := w.since() - age + ttl
		if at := w.endsAt(life, 3*ttl); at < due || at > due+3*time.Second+time.Second {
			t.Errorf("the session ended after %v, want it between %v and a round of three seconds later", at, due)
		}
	})
}

// Review S1 and model A5: what one leadership decided does not enter the log of another, even of the same node.
func TestWhatAStaleTermDecidedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		w.set(func() { w.role, w.term = raft.Leader, 3 }) // elected again; the Tenure still thinks of term 1
		time.Sleep(ttl + 2*time.Second)
		if !w.alive(life) {
			t.Fatal("the Keeper of term 1 has ended a session in term 3")
		}
		_, err := propose(w.tenure, locktable.Encode(&locktable.Close{Session: life}))
		if notLeader := new(raft.NotLeaderError); !errors.As(err, &notLeader) {
			t.Errorf("a command stamped in term 1 got %v in term 3, want a NotLeaderError", err)
		}
		w.lead(3)
		began := w.since()
		if at := w.endsAt(life, began+2*ttl); at < began+ttl {
			t.Errorf("the session ended %v after the new leader began, want its full TTL", at-began)
		}
	})
}

func TestDeposedLeaderDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		w.depose(2)
		w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 1}})
		w.tenure.Disconnected([]session.Life{life})
		asked := get(w, func() int { return len(w.asked) })
		time.Sleep(3 * ttl)
		if n := get(w, func() int { return len(w.asked) }); n != asked {
			t.Errorf("a follower proposed %d commands of its own", n-asked)
		}
		if answers := get(w, func() []session.Answer { return w.answers }); len(answers) > 0 {
			t.Errorf("a follower answered %+v", answers)
		}
		var notLeader *raft.NotLeaderError
		if _, err := propose(w.tenure, locktable.Encode(&locktable.Close{Session: life})); !errors.As(err, &notLeader) {
			t.Errorf("Propose on a follower: %v, want a NotLeaderError", err)
		}
		if _, leads := w.tenure.Clock(); leads {
			t.Error("Clock says that a follower leads")
		}
	})
}

func TestMassExpiryGoesInBoundedEntriesWithoutRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		const sessions = 3*locktable.ExpireMax + 1
		for n := range uint64(sessions) {
			w.open(n+1, 0)
		}
		time.Sleep(ttl + 2*time.Second)
		lists, _ := w.expires()
		seen := make(map[session.Life]bool)
		for _, lives := range lists {
			if len(lives) > locktable.ExpireMax {
				t.Errorf("one Expire names %d lives, want at most %d", len(lives), locktable.ExpireMax)
			}
			for _, life := range lives {
				if seen[life] {
					t.Errorf("%v was expired twice", life)
				}
				seen[life] = true
			}
		}
		if len(seen) != sessions {
			t.Errorf("%d sessions were expired, want %d", len(seen), sessions)
		}
	})
}

func TestGraceEndsASessionWhoseConnectionClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		gone, moved := w.open(1, 2*time.Second), w.open(2, 2*time.Second)
		time.Sleep(time.Second)
		w.tenure.Disconnected([]session.Life{gone, moved})
		closed := w.since()
		time.Sleep(time.Second)
		w.tenure.KeepAlive([]session.KeepAlive{{Life: moved, Number: 1}}) // over another node
		if at := w.endsAt(gone, ttl); at < closed+2*time.Second || at > closed+3*time.Second {
			t.Errorf("the session ended %v after its connection, want 2 s", at-closed)
		}
		if !w.alive(moved) {
			t.Error("a session ended that came back within its grace")
		}
	})
}

func TestKeepAlivesShareRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		before := get(w, func() int { return w.reads })
		const kas = 1000
		for n := range uint64(kas) {
			w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: n + 1}})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		rounds := get(w, func() int { return w.reads }) - before
		if answers := get(w, func() int { return len(w.answers) }); answers != kas {
			t.Errorf("%d of %d KeepAlives were answered", answers, kas)
		}
		if rounds > kas/10+2 {
			t.Errorf("%d KeepAlives in one second took %d rounds, want one for each 10 ms", kas, rounds)
		}
	})
}

func TestFirstKeepAliveDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		time.Sleep(50 * time.Millisecond)
		before := get(w, func() int { return w.reads })
		w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 1}})
		synctest.Wait() // no time passes
		if n := get(w, func() int { return w.reads }) - before; n != 1 {
			t.Errorf("%d rounds were begun at once for a KeepAlive after a pause, want 1", n)
		}
	})
}

// Without a quorum rounds do not come back; they must not pile up.
func TestRoundsWithoutAQuorumAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		before := get(w, func() int { return w.reads })
		w.set(func() { w.silent = true })
		w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 1}})
		time.Sleep(time.Minute)
		if n := get(w, func() int { return w.reads }) - before; n > 8 {
			t.Errorf("%d rounds are on their way, want at most 8", n)
		}
		if !w.alive(life) {
			t.Error("a session was expired without a quorum")
		}
	})
}

// Work that an entry leaves over is gone on with at once, a tick after the other.
func TestTicksGoOnWithWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		const holds = 5000
		for n := range uint64(holds) {
			name := string([]byte{'a' + byte(n%26), 'a' + byte(n/26%26), 'a' + byte(n/676)})
			_, err := propose(w.tenure, locktable.Encode(&locktable.Acquire{
				Request: locktable.Request{Session: life, Seq: n + 1, Acked: n}, Names: []string{name}, Mode: locktable.Exclusive,
			}))
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := propose(w.tenure, locktable.Encode(&locktable.Close{Session: life})); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * session.TurnMax)
		var work session.Work
		w.View(func(table *locktable.Table) { work = table.Work() })
		if work.Left {
			t.Errorf("what a closed session held is not collected after two turns")
		}
	})
}

func TestUnfitLeaderHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		w.set(func() { w.viewDelay = 2 * session.StallMax })
		time.Sleep(20 * time.Second)
		if n := get(w, func() int { return w.transfers }); n == 0 {
			t.Error("a leader whose loop is always late keeps its leadership")
		}
	})
}

func TestAnswersCarryTheLeadersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.lead(1)
		life := w.open(1, 0)
		time.Sleep(3 * time.Second)
		w.tenure.KeepAlive([]session.KeepAlive{{Life: life, Number: 1}})
		time.Sleep(100 * time.Millisecond)
		clocks := get(w, func() []time.Duration { return w.clocks })
		if len(clocks) != 1 || clocks[0] < 3*time.Second || clocks[0] > w.since() {
			t.Errorf("the answer carries the clocks %v, want one of about 3 s", clocks)
		}
	})
}

// What waits for the leader's first entry when its leadership ends was not proposed, and is said not to have been.
func TestWhatWaitsIsRefusedWhenLeadershipEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.elect(1)
		refused := make(chan error, 1)
		go func() {
			_, err := propose(w.tenure, locktable.Encode(&locktable.Close{Session: session.Life{Index: 1}}))
			refused <- err
		}()
		synctest.Wait()
		if len(refused) > 0 {
			t.Fatalf("a command was decided before the first entry was applied: %v", <-refused)
		}
		w.depose(2)
		var other *raft.NotLeaderError
		if err := <-refused; !errors.As(err, &other) || errors.Is(err, raft.ErrUnknown) {
			t.Errorf("got %v, want that the node does not lead, and that nothing was proposed", err)
		}
		if n := get(w, func() int { return len(w.asked) }); n != 0 {
			t.Errorf("%d commands were proposed", n)
		}
	})
}

// instant answers every proposal at once.
type instant struct {
	*world
	result raft.Result
}

func (i instant) Submit(_ raft.Proposal, w raft.Waiter) error {
	w.Proposed(i.result, nil)
	return nil
}

func leadingInstantly(tb testing.TB) *tenure.Tenure {
	w := &world{table: locktable.NewTable()}
	at := instant{w, raft.Result{Value: &replica.Outcome{}}}
	tn := tenure.New(tenure.Options{Raft: at, State: w, Answer: func(time.Duration, []session.Answer) {}})
	ctx, cancel := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- tn.Run(ctx) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Errorf("Run: %v", err)
		}
	})
	w.tenure = tn
	tn.Standing(raft.Standing{Role: raft.Leader, Term: 1})
	w.apply(1, nil)
	if _, err := propose(tn, locktable.Encode(&locktable.Tick{})); err != nil { // waits until it serves
		tb.Fatal(err)
	}
	return tn
}

// count counts orders that were decided.
type count struct{ n int }

func (c *count) Decided() { c.n++ }

func TestSubmitAllocatesNothing(t *testing.T) {
	tn := leadingInstantly(t)
	told := &count{}
	o := &tenure.Order{Data: locktable.Encode(&locktable.Tick{}), Then: told}
	allocs := testing.AllocsPerRun(100, func() {
		if err := tn.Submit(o); err != nil {
			t.Fatal(err)
		}
		if _, err := o.Result(); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 || told.n == 0 {
		t.Errorf("an order allocates %v times, want none; %d were decided", allocs, told.n)
	}
}

func BenchmarkSubmit(b *testing.B) {
	tn := leadingInstantly(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		o := &tenure.Order{Data: locktable.Encode(&locktable.Tick{}), Then: &count{}}
		for pb.Next() {
			if err := tn.Submit(o); err != nil {
				b.Error(err)
			}
		}
	})
}
