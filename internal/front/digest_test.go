package front_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/front"
	"github.com/lockd/lockd/internal/wire"
	"github.com/lockd/lockd/session"
)

// took returns the batches of KeepAlives that the first node took as leader.
func (w *world) took() [][]session.KeepAlive {
	return get(w, func() [][]session.KeepAlive { return w.nodes[0].took })
}

// Only KeepAlives of a batch are answered by its answer: a later one of the same session, which came while the batch was on its way,
// is sent and answered on its own.
func TestS4AnswerNamesItsKeepAlive(t *testing.T) {
	for place := range 2 {
		t.Run(fmt.Sprintf("node %d", place+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				c := w.connect(place)
				life := c.open(1)
				w.set(func() { w.nodes[0].mute = true })
				c.send(&wire.KeepAlive{Life: life, Number: 1})
				synctest.Wait()
				c.send(&wire.KeepAlive{Life: life, Number: 2})
				synctest.Wait()
				first := w.took()
				if len(first) != 1 || len(first[0]) != 1 || first[0][0].Number != 1 {
					t.Fatalf("the leader took %+v", first)
				}
				w.nodes[0].answer(first[0])
				if a := next[*wire.KeepAliveAnswer](c); a.Number != 1 || a.Verdict != wire.Renewed {
					t.Errorf("%+v", a)
				}
				c.quiet(500 * time.Millisecond)
				all := w.took()
				if len(all) != 2 || len(all[1]) != 1 || all[1][0].Number != 2 || all[1][0].Age != 100*time.Millisecond {
					t.Fatalf("the leader took %+v", all)
				}
				wrong := all[1][0]
				wrong.Number = 3 // which was never sent
				w.nodes[0].answer([]session.KeepAlive{wrong, all[1][0]})
				if a := next[*wire.KeepAliveAnswer](c); a.Number != 2 {
					t.Errorf("%+v", a)
				}
				w.nodes[0].answer(all[1]) // once more
				c.quiet(500 * time.Millisecond)
			})
		})
	}
}

// The first KeepAlive goes at once, those of the next 100 ms together, of each session the newest, each with its age.
func TestDigests(t *testing.T) {
	for place := range 2 {
		t.Run(fmt.Sprintf("node %d", place+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sizes []int
				w := newWorld(t, 2, func(o *front.Options) { o.Events.KeepAlives = func(n int) { sizes = append(sizes, n) } })
				c := w.connect(place)
				var lives []wire.Life
				for i := range 50 {
					lives = append(lives, c.open(byte(i+1)))
				}
				for number := range uint64(2) {
					for _, life := range lives {
						c.send(&wire.KeepAlive{Life: life, Number: number + 1, Age: 30 * time.Millisecond})
						time.Sleep(time.Millisecond / 2)
					}
				}
				answered := map[wire.Life]uint64{}
				for range 51 {
					a := next[*wire.KeepAliveAnswer](c)
					answered[a.Life] = a.Number
				}
				c.quiet(time.Second)
				if fmt.Sprint(sizes) != "[1 50]" {
					t.Errorf("batches of %v", sizes)
				}
				for _, life := range lives {
					if answered[life] != 2 {
						t.Errorf("%v: the answer names %d", life, answered[life])
					}
				}
				for _, ka := range w.took()[1] {
					if ka.Age < 30*time.Millisecond || ka.Age > 130*time.Millisecond {
						t.Errorf("age %v", ka.Age)
					}
				}
			})
		})
	}
}

// Without a leader KeepAlives wait, with their ages, and the newest of each session goes to the next one.
func TestKeepAlivesWaitForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c := w.connect(1)
		life := c.open(1)
		w.lead(-1)
		c.send(&wire.KeepAlive{Life: life, Number: 1})
		time.Sleep(300 * time.Millisecond)
		c.send(&wire.KeepAlive{Life: life, Number: 2})
		time.Sleep(300 * time.Millisecond)
		w.lead(0)
		if a := next[*wire.KeepAliveAnswer](c); a.Number != 2 {
			t.Errorf("%+v", a)
		}
		c.quiet(time.Second)
		if took := w.took(); len(took) != 1 || took[0][0].Age != 300*time.Millisecond {
			t.Errorf("%+v", took)
		}
	})
}

// A client with a session hears when no round is confirmed for a second, again while that is so, and no more when it is over.
func TestNoQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, without := w.connect(1), w.connect(1)
		life := c.open(1)
		w.set(func() { w.nodes[0].mute = true })
		began := time.Now()
		c.send(&wire.KeepAlive{Life: life, Number: 1})
		for i := range 2 {
			m := next[*wire.NoQuorum](c)
			if took := time.Since(began); took != time.Duration(i+1)*time.Second || m.Since != took {
				t.Errorf("told after %v: %+v", took, m)
			}
		}
		w.set(func() { w.nodes[0].mute = false })
		c.send(&wire.KeepAlive{Life: life, Number: 2})
		next[*wire.KeepAliveAnswer](c)
		c.quiet(3 * time.Second)
		without.quiet(time.Second)
	})
}

// Sessions with a grace are reported when their connection closes, behind the KeepAlives that came over it; the others are not.
func TestDisconnectedComesBehindTheDigest(t *testing.T) {
	for place := range 2 {
		t.Run(fmt.Sprintf("node %d", place+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, 2)
				c, other := w.connect(place), w.connect(place)
				c.open(1)
				graced := c.openWith(2, 10*time.Second, 2*time.Second)
				other.send(&wire.KeepAlive{Life: other.open(3), Number: 1}) // the leading edge
				next[*wire.KeepAliveAnswer](other)
				c.send(&wire.KeepAlive{Life: graced, Number: 1})
				synctest.Wait()
				if err := c.conn.Close(); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if p := get(w, func() int { return len(w.nodes[0].parted) }); p != 0 {
					t.Error("the report came before the KeepAlive")
				}
				time.Sleep(time.Second)
				took, parted := w.took(), get(w, func() [][]session.Life { return w.nodes[0].parted })
				if len(took) != 2 || took[1][0].Life.Index != graced.Index {
					t.Errorf("took %+v", took)
				}
				want := session.Life{ID: session.ID(graced.ID), Index: graced.Index}
				if len(parted) != 1 || len(parted[0]) != 1 || parted[0][0] != want {
					t.Errorf("parted %+v", parted)
				}
			})
		})
	}
}

// A session that was seen again before its report went out is not reported.
func TestReconnectedIsNotDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		c, again := w.connect(1), w.connect(1)
		life := c.openWith(1, 10*time.Second, 2*time.Second)
		c.send(&wire.KeepAlive{Life: life, Number: 1})
		next[*wire.KeepAliveAnswer](c)
		if err := c.conn.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		again.send(&wire.KeepAlive{Life: life, Number: 2})
		next[*wire.KeepAliveAnswer](again)
		time.Sleep(time.Second)
		if p := get(w, func() [][]session.Life { return w.nodes[0].parted }); len(p) != 0 {
			t.Errorf("parted %+v", p)
		}
	})
}
