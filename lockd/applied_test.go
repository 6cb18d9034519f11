package lockd_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/lockd/locktable"
)

// What each node tells of its log is told in order, without gaps, the same by all, also by one that was started again.
func TestApplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // guards told
		told := make([][]lockd.Entry, 3)
		c := testcluster.StartBubble(t, 3, func(i int, c *lockd.Config) {
			c.Applied = func(e lockd.Entry) {
				mu.Lock()
				defer mu.Unlock()
				e.Command = append([]byte(nil), e.Command...)
				told[i] = append(told[i], e)
			}
		})
		client := connect(t, c.Net.Host("client").Dial, c.Endpoints()[0])
		life := client.open(1, time.Minute)
		held := client.acquire(life, 1, "a", 0)
		c.Crash(2)
		c.Run(2)
		c.WaitReady()
		client.acquire(life, 2, "b", 0)
		time.Sleep(time.Second)
		synctest.Wait()

		mu.Lock()
		defer mu.Unlock()
		byIndex := map[uint64]lockd.Entry{}
		acquires := 0
		for i, entries := range told {
			last := uint64(0)
			for _, e := range entries {
				if last > 0 && e.Index > last+1 {
					t.Errorf("node %d tells entry %d after %d", i, e.Index, last)
				}
				last = e.Index
				first, known := byIndex[e.Index]
				if !known {
					byIndex[e.Index] = e
				}
				if known && (e.Term != first.Term || e.Hash != first.Hash || e.Token != first.Token || string(e.Command) != string(first.Command)) {
					t.Errorf("node %d tells %+v, another %+v", i, e, first)
				}
				if len(e.Command) == 0 || known {
					continue
				}
				cmd, err := locktable.Decode(e.Command)
				if err != nil {
					t.Fatal(err)
				}
				if a, ok := cmd.(*locktable.Acquire); ok {
					if acquires++; a.Names[0] == "a" && e.Token != held.Token {
						t.Errorf("after the grant of %d the last token is %d", held.Token, e.Token)
					}
				}
			}
			if byIndex[last+1].Index != 0 {
				t.Errorf("node %d tells nothing after entry %d", i, last)
			}
		}
		if acquires != 2 {
			t.Errorf("%d acquires are told, want 2", acquires)
		}
	})
}
