package rig

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestRatiosAreOfPairs(t *testing.T) {
	ours, theirs := []float64{100, 10, 60}, []float64{50, 5, 20}
	if got := Ahead(ours, theirs, true); got != 2 {
		t.Errorf("ahead by %v, want 2", got)
	}
	if got := Ahead([]float64{1, 2}, []float64{4, 2}, false); got != 2.5 {
		t.Errorf("ahead by %v, want the median of 4 and 1", got)
	}
}

func TestProcessesAreMeasured(t *testing.T) {
	before, err := ProcessTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for n := uint64(1); after == before; n++ { // burns CPU until it shows
		if n%(1<<20) == 0 {
			if after, err = ProcessTime(os.Getpid()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if twice, err := ProcessTime(os.Getpid(), os.Getpid()); err != nil || twice < 2*after {
		t.Errorf("twice the same process has used %v, once %v, %v", twice, after, err)
	}
	if n, err := Resident(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("%d bytes are resident, %v", n, err)
	}
	if n, err := Resident(-1); err == nil {
		t.Errorf("%d bytes are resident of a process that there is not", n)
	}
}

func TestProcessesEndWhenTheyAreKilled(t *testing.T) {
	p, err := Launch(exec.CommandContext(t.Context(), "sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Alive(); err != nil {
		t.Error(err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
	if err := p.Alive(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("a killed process is said to be: %v", err)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("the second kill: %v", err)
	}
}

func TestLastWordsAreKept(t *testing.T) {
	var said tail
	for i := range 10_000 {
		fmt.Fprintln(&said, "line", i)
	}
	if s := said.String(); len(s) > 4<<10 || !strings.HasSuffix(s, "line 9999") {
		t.Errorf("kept %d bytes that end in %q", len(s), s[max(0, len(s)-20):])
	}
}

func TestStoppedProcessesStandStill(t *testing.T) {
	p, err := Launch(exec.CommandContext(t.Context(), "sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	if stopped, err := p.Stopped(); err != nil || stopped {
		t.Errorf("a process that runs is said to be stopped: %v, %v", stopped, err)
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(p.PID(), &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("%v, %v", status, err)
	}
	if stopped, err := p.Stopped(); err != nil || !stopped {
		t.Errorf("a stopped process is said to run: %v, %v", stopped, err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if stopped, err := p.Stopped(); err == nil {
		t.Errorf("a process that has ended is said to be stopped: %v", stopped)
	}
}
