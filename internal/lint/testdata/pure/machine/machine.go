package machine

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Clean is what a machine may do.
func Clean(m map[string]time.Duration, now time.Duration) (names []string) {
	for name := range strings.SplitSeq("a b", " ") {
		m[name] = now + time.Second
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		names = append(names, name)
	}
	byTime := func(a, b time.Duration) int { return int(a - b) }
	_ = slices.SortedFunc(maps.Values(m), byTime)
	for name, at := range m {
		if at > now {
			names = append(names, name)
			continue
		}
	}
	slices.Sort(names)
	return names
}

func collects(m map[string]int) (a, b []string) {
	for name := range m {
		a = append(a, name)
		b = append(b, name)
	}
	slices.Sort(a)
	for name, n := range m {
		if n > 1 {
			break
		}
		b = append(b, name)
	}
	for name := range m {
		b = append(a, name)
	}
	slices.Sort(b)
	return a, b
}

type set map[string]bool

func maps1(m map[string]int, s set) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	for k := range s {
		keys = append(keys, k)
	}
	for k := range maps.Keys(m) {
		keys = append(keys, k)
	}
	all := maps.Keys[map[string]int]
	_ = all
	_ = slices.Collect(maps.Values(m))
	return slices.AppendSeq(keys, maps.Keys(m))
}

func generic[M ~map[string]int](m M) (sum int) {
	for _, n := range m {
		sum += n
	}
	return sum
}

type inbox struct {
	queue chan int
	mu    sync.Mutex
}

func (i *inbox) run() {
	go maps1(nil, nil)
	select {}
}

func (i *inbox) push() { i.queue <- 1 }

func (i *inbox) pop() int { return <-i.queue }

func clocks() time.Time {
	now := time.Now
	time.Sleep(1)
	println("late")
	fmt.Println(time.Since(now()), limit, drive(), errors.New("x"), os.Args)
	next, stop := iter.Pull(maps.Keys(map[int]int{}))
	next()
	stop()
	return now()
}
