//go:build clockskew

package clockskew_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockd/lockd/internal/clockskew"
)

// machine returns CLOCK_MONOTONIC, which nothing here can change.
func machine(t *testing.T) time.Duration {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

// restore lets the clocks go right after the test.
func restore(t *testing.T) {
	t.Helper()
	t.Cleanup(func() { clockskew.Set(clockskew.Clock{}) })
}

func TestWallJumps(t *testing.T) {
	restore(t)
	for _, jump := range []time.Duration{72 * time.Hour, -72 * time.Hour, -1} {
		started, before := machine(t), time.Now()
		clockskew.Set(clockskew.Clock{Wall: jump})
		after := time.Now()
		took := machine(t) - started
		wall, mono := after.Round(0).Sub(before.Round(0)), after.Sub(before)
		if wall < jump || wall > jump+took {
			t.Errorf("the wall clock went ahead by %v, want %v and at most %v", wall, jump, took)
		}
		if mono < 0 || mono > took {
			t.Errorf("the monotonic clock went ahead by %v of %v", mono, took)
		}
		clockskew.Set(clockskew.Clock{})
	}
}

func TestMonotonicJumpFiresTimers(t *testing.T) {
	restore(t)
	started, before := machine(t), time.Now()
	timer := time.NewTimer(time.Hour)
	clockskew.Set(clockskew.Clock{Jump: time.Hour})
	<-timer.C
	passed := time.Since(before)
	took := machine(t) - started
	if passed < time.Hour || passed > time.Hour+took {
		t.Errorf("%v have passed, want an hour and at most %v", passed, took)
	}
	if took > time.Minute {
		t.Errorf("the timer fired after %v", took)
	}
	// The wall clock has its own offset.
	if wall := time.Now().Round(0).Sub(before.Round(0)); wall > time.Minute {
		t.Errorf("the wall clock went ahead by %v", wall)
	}
}

func TestDrift(t *testing.T) {
	restore(t)
	for _, percent := range []int64{5, -5} {
		t.Run(fmt.Sprint(percent), func(t *testing.T) {
			clockskew.Set(clockskew.Clock{Drift: percent * 10_000})
			wait(t, 50*time.Millisecond) // until it counts
			began, skewed := machine(t), time.Now()
			wait(t, 400*time.Millisecond)
			now := time.Now()
			passed := machine(t) - began
			for name, seen := range map[string]time.Duration{"monotonic": now.Sub(skewed), "wall": now.Round(0).Sub(skewed.Round(0))} {
				// A preemption between the two readings counts against the test: half of the drift is left for it.
				if drift := float64(seen-passed) / float64(passed); drift*float64(percent) < 0 || drift/float64(percent)*100 < 0.5 || drift/float64(percent)*100 > 1.5 {
					t.Errorf("%s clock: %v in %v, a drift of %.4f, want %d %%", name, seen, passed, drift, percent)
				}
			}
		})
	}
}

// wait lets the machine's time pass: that is what the drift is measured by.
func wait(t *testing.T, d time.Duration) {
	t.Helper()
	for end := machine(t) + d; machine(t) < end; {
		if err := unix.Nanosleep(&unix.Timespec{Nsec: int64(time.Millisecond)}, nil); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
}

// TestNoClockStepsBack changes the drift while another goroutine reads the clock.
func TestNoClockStepsBack(t *testing.T) {
	restore(t)
	stop := make(chan struct{})
	back := make(chan time.Duration)
	go func() {
		worst, last := time.Duration(0), time.Now()
		for {
			select {
			case <-stop:
				back <- worst
				return
			default:
				now := time.Now()
				worst = min(worst, now.Sub(last))
				last = now
			}
		}
	}()
	for i := range 100 {
		clockskew.Set(clockskew.Clock{Drift: int64(i%2)*100_000 - 50_000})
		wait(t, time.Millisecond)
	}
	close(stop)
	if worst := <-back; worst < 0 {
		t.Errorf("the monotonic clock went back by %v", -worst)
	}
}

func TestServe(t *testing.T) {
	restore(t)
	before := time.Now()
	var answers bytes.Buffer
	if err := clockskew.Serve(strings.NewReader(`{"Jump":3600000000000}`+"\n"+`{"Jump":3600000000000}`+"\n"), &answers, clockskew.Set); err != nil {
		t.Fatal(err)
	}
	if passed := time.Since(before); passed < 2*time.Hour {
		t.Errorf("%v have passed after two jumps of an hour", passed)
	}
	if answers.String() != "\n\n" {
		t.Errorf("the answers are %q", answers.String())
	}
	if err := clockskew.Serve(strings.NewReader("later\n"), &answers, clockskew.Set); err == nil {
		t.Error("a line that is no clock was taken")
	}
}
