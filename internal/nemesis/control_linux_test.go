package nemesis

import (
	"fmt"
	"syscall"
	"testing"
	"time"
)

// TestNemesisControl stops processes of clients for longer than their sessions live, while they stand between the read and the write of
// a counter. A register that takes every write must lose some, or nothing that the scenarios say of fencing means anything; one that
// checks the tokens loses none.
func TestNemesisControl(t *testing.T) {
	need(t)
	const pauses = 4
	for _, fenced := range []bool{false, true} {
		t.Run(fmt.Sprint("fenced=", fenced), func(t *testing.T) {
			a := newArena(t, keep(t), 1, fenced, func(c *workerConfig) {
				c.Only, c.Group, c.Clients, c.TTL = "counter", 0, 4, time.Second
				c.Careless, c.Think, c.Epoch = true, 50*time.Millisecond, time.Hour
			})
			p := plan{}
			for i := range pauses {
				p.faults = append(p.faults, fault{kind: stopHolder, at: time.Duration(1+4*i) * time.Second, last: 2500 * time.Millisecond, pick: uint64(i)})
			}
			c := a.follow(p)
			if c.hits[stopHolder] < pauses {
				t.Errorf("%d pauses of %d", c.hits[stopHolder], pauses)
			}
			for _, w := range a.workers {
				w.signal(syscall.SIGKILL)
			}
			writes, lost, stale := a.registers.lost()
			t.Logf("%d writes, %d lost, %d refused", writes, lost, stale)
			switch {
			case writes < 100:
				t.Errorf("only %d writes", writes)
			case !fenced && lost == 0:
				t.Error("nothing was lost without fencing: the test is blind")
			case fenced && lost != 0:
				t.Errorf("%d writes were lost in spite of fencing", lost)
			case fenced && stale == 0:
				t.Error("no access had to be refused: the holders were not overtaken")
			}
		})
	}
}
