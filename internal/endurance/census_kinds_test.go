package endurance

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// thing has all that a census looks into.
type thing struct {
	table   map[string]*thing
	list    []int
	bytes   []byte
	queue   chan int
	nested  map[int][]string
	shared  *thing
	any     any
	pointer atomic.Pointer[thing]
	ctx     context.Context // what is registered with it counts
}

func TestCensusFindsEverythingOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 3 {
		_, stop := context.WithCancel(ctx)
		defer stop()
	}
	inner := &thing{list: []int{1, 2}}
	behind := &thing{queue: make(chan int, 5)}
	behind.queue <- 1
	outer := &thing{
		table: map[string]*thing{"a": inner, "b": inner}, bytes: make([]byte, 7), nested: map[int][]string{1: {"x", "y"}, 2: {"z"}},
		shared: inner, any: []int{1, 2, 3}, ctx: ctx,
	}
	outer.pointer.Store(behind)
	outer.shared.shared = outer // a ring
	found, bytes := count(outer)
	want := census{
		"endurance.thing.table": 2, "endurance.thing.list": 2, "endurance.thing.bytes" + inBytes: 7, "endurance.thing.queue": 1,
		"endurance.thing.nested": 2, "endurance.thing.nested[]": 3, "endurance.thing.any": 3,
	}
	for name, n := range want {
		if found[name] != n {
			t.Errorf("%s: %d, want %d, in %v", name, found[name], n, found)
		}
	}
	if n := found["context.cancelCtx.children"]; n < 3 {
		t.Errorf("%d contexts are registered, want 3 at least", n)
	}
	if n := bytes["endurance.thing.bytes"+inBytes]; n != 7 {
		t.Errorf("%d bytes", n)
	}
}

func TestGoroutinesAreTakenByWhatTheyRun(t *testing.T) {
	const profile = `goroutine profile: total 6
3 @ 0x1 0x2
#	0x1	runtime.gopark+0x1	/go/proc.go:1
#	0x2	github.com/lockd/lockd/raft.lane.run+0x2d	/lockd/raft/node.go:1
#	0x3	github.com/lockd/lockd/raft.Start.func1+0x2d	/lockd/raft/node.go:2
#	0x4	sync.(*WaitGroup).Go.func1+0x1	/go/wg.go:1

2 @ 0x1
#	0x1	net/http.(*Server).Serve+0x1	/go/http.go:1

1 @ 0x9
`
	found, err := byFunction(profile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(census{"goroutine raft.Start.func1": 3, "goroutine of others": 3}, found); diff != "" {
		t.Error(diff)
	}
	if found, err := byFunction("goroutine profile: total 2\n1 @ 0x1\n"); err == nil {
		t.Errorf("a goroutine is missing, and it found %v", found)
	}
}

func TestGrowthIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		course
		grows bool
	}{
		"constant":            {course{"x", []float64{5, 5, 5, 5, 5, 5, 5, 5, 5}}, false},
		"a leak":              {course{"x", []float64{5, 7, 9, 11, 13, 15, 17, 19, 21}}, true},
		"a leak in steps":     {course{"x", []float64{0, 0, 0, 10, 10, 10, 20, 20, 20}}, true},
		"it swings":           {course{"x", []float64{5, 90, 7, 60, 5, 80, 9, 70, 95}}, false},
		"rise and fall":       {course{"x", []float64{5, 20, 40, 60, 80, 60, 40, 20, 5}}, false},
		"a few":               {course{"x", []float64{0, 1, 1, 2, 2, 3, 3, 4, 4}}, false},
		"one far off":         {course{heapName, []float64{9e6, 9e6, 9e6, 9e6, 9e6, 9e6, 9e6, 9e6, 90e6}}, false},
		"heap leaks":          {course{heapName, []float64{4e6, 4.5e6, 5e6, 5.5e6, 6e6, 6.5e6, 7e6, 7.5e6, 8e6}}, true},
		"little of the large": {course{"x", []float64{1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1020}}, false},
	} {
		if c.grows != c.course.grows() {
			t.Errorf("%s: %v", name, c.course)
		}
	}
}

func TestCoursesAreAligned(t *testing.T) {
	all := courses{}
	all.note(census{"a": 1})
	all.note(census{"a": 2, "b": 5})
	all.note(census{"b": 6})
	var got []string
	for _, c := range all.from(1) {
		got = append(got, fmt.Sprint(c.name, c.values))
	}
	if want := []string{"a[2 0]", "b[5 6]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
