//go:build clockskew

package clockskew

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// Enabled reports whether Set does anything.
const Enabled = true

// state is the runtime's struct of the same fields, see overlay.go.
type state struct {
	base    int64 // drift counts from here on, before until here
	offset  int64 // of the monotonic clock
	drifted int64 // of both clocks, at base
	before  int64
	drift   int64
	wall    int64 // offset of the wall clock
}

// ahead is how long after Set a drift begins: a thread that reads the old state meanwhile then sees the same time, so no clock steps back.
const ahead = int64(10 * time.Millisecond)

func (s *state) gained(at int64) int64 { return s.drifted + (at-s.base)/1000*s.drift/1000 }

//go:linkname runtimeClock runtime.lockdClock
var runtimeClock unsafe.Pointer

//go:linkname machineTime runtime.nanotime1
func machineTime() int64

var setting sync.Mutex // one Set at a time

// Set changes the clocks of this process. It waits until the drift of the Set before it has begun, and is safe for concurrent use.
func Set(c Clock) {
	setting.Lock()
	defer setting.Unlock()
	old := (*state)(atomic.LoadPointer(&runtimeClock))
	for old != nil && machineTime() < old.base {
		runtime.Gosched()
	}
	next := &state{base: machineTime() + ahead, drift: c.Drift, wall: int64(c.Wall), offset: int64(c.Jump)}
	if old != nil {
		next.drifted, next.before = old.gained(next.base), old.drift
		next.offset += old.offset
	}
	atomic.StorePointer(&runtimeClock, unsafe.Pointer(next))
}
