package naive_test

import (
	"testing"
	"time"

	"github.com/lockd/lockd/lockd/locktable"
	"github.com/lockd/lockd/session"
)

// TestTwoDelaysEndTogether has two locks whose lock-delays end at one time, and a request that waits for both. The first one's end
// grants it, as the other is due too: the grant must know of both how their last holds ended.
func TestTwoDelaysEndTogether(t *testing.T) {
	table := locktable.NewTable()
	index := uint64(0)
	apply := func(at time.Duration, cmd locktable.Command) locktable.Applied {
		t.Helper()
		index++
		data := locktable.Encode(cmd)
		locktable.SetStamp(data, at)
		applied, err := table.Apply(index, 1, data)
		if err != nil {
			t.Fatal(err)
		}
		return applied
	}
	open := func(id byte) session.Life {
		reply := apply(0, &locktable.Open{ID: session.ID{id}, TTL: time.Second}).Reply
		return session.Life{ID: session.ID{id}, Index: reply.Index}
	}
	acquire := func(life session.Life, wait, delay time.Duration, names ...string) locktable.Command {
		return &locktable.Acquire{
			Request: locktable.Request{Session: life, Seq: 1}, Names: names, Mode: locktable.Exclusive, Wait: wait, Delay: delay,
		}
	}
	first, second, third := open(1), open(2), open(3)
	apply(0, acquire(first, 0, time.Second, "a"))
	last := apply(0, acquire(second, 0, time.Second, "b")).Reply.Token
	apply(10*time.Second, &locktable.Expire{Term: 1, Lives: []session.Life{first, second}})
	apply(10*time.Second, acquire(third, locktable.Forever, 0, "b", "a"))
	effects := apply(20*time.Second, &locktable.Tick{Term: 1}).Effects
	granted := effects[len(effects)-1].Reply
	if want := (locktable.Ending{How: locktable.Expired, Token: last}); granted.Code != locktable.Granted || granted.Previous != want {
		t.Errorf("%v: the hold before is %+v, not %+v", granted.Code, granted.Previous, want)
	}
}
