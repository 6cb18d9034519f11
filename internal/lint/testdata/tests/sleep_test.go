package tests

import (
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleeps(t *testing.T) {
	time.Sleep(time.Second)
	<-time.After(time.Second)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		<-time.After(time.Hour)
		go func() { time.Sleep(time.Hour) }()
	})
	pass(time.Hour)
	select {
	case <-t.Context().Done():
	case <-time.After(time.Second):
	}
	select {
	case <-time.After(time.Second):
	}
}

// pass can run in a bubble only.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func wait(d time.Duration) {
	func() { synctest.Wait() }()
	time.Sleep(d)
}

func TestNothing(t *testing.T) {
	t.Log("all is well")
	wait(1)
}

func TestSubtests(t *testing.T) {
	t.Run("a", func(t *testing.T) { check(t) })
}

func FuzzNothing(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) { _ = b })
}

func check(t *testing.T) {
	if os.Getenv("LOCKD_SAMPLE") == "" {
		t.Skip("LOCKD_SAMPLE is not set")
	}
	t.SkipNow()
}

func bubble(t *testing.T, f func()) { synctest.Test(t, func(*testing.T) { f() }) }

func run(_ *testing.T, f func()) { f() }

func TestHelpers(t *testing.T) {
	bubble(t, func() { time.Sleep(time.Hour) })
	run(t, func() { time.Sleep(time.Second) })
	t.Fail()
}
