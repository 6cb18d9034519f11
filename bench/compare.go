package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// childEnv marks a process that makes one measurement: the spec comes on its standard input, the outcome leaves on its
// standard output.
const childEnv = "LOCKD_BENCH_CHILD"

// plan is a comparison to be made.
type plan struct {
	systems     []system
	proposers   []int
	rounds      int
	warmup      time.Duration
	window      time.Duration
	patience    time.Duration // to wait for a quiet machine before each measurement
	dir         string
	profileDir  string
	profileKind string
}

// measurement is one cell of one round.
type measurement struct {
	Round     int
	System    string
	Proposers int
	Tries     int // more than one when a leader was lost, say
	outcome
}

// run makes all measurements, interleaved; progress goes to w.
func (p plan) run(ctx context.Context, w io.Writer) ([]measurement, error) {
	var all []measurement
	for round := range p.rounds {
		for _, n := range p.proposers {
			for k := range p.systems {
				s := p.systems[(k+round)%len(p.systems)]
				m, err := p.measure(ctx, round, s, n)
				if err != nil {
					return all, fmt.Errorf("round %d, %s with %d proposers: %w", round+1, s.name, n, err)
				}
				fmt.Fprintf(w, "round %d  %-16s %5d proposers  %8.0f/s  p50 %7.3f ms  p99 %7.3f ms  %6.2f CPU s/100k  others %.1f CPUs\n",
					round+1, s.name, n, m.Rate(), millis(m.P50), millis(m.P99), m.CPUPer100k(), m.Others)
				all = append(all, m)
			}
		}
	}
	return all, nil
}

// measure tries a measurement up to three times: a shared machine may cost a system its leader.
func (p plan) measure(ctx context.Context, round int, s system, proposers int) (measurement, error) {
	const tries = 3
	var errs []error
	for try := range tries {
		out, err := p.spawn(ctx, round, s, proposers)
		if err == nil {
			return measurement{round + 1, s.name, proposers, try + 1, out}, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return measurement{}, errors.Join(errs...)
}

// spawn measures in a child process, in a directory that is removed afterwards.
func (p plan) spawn(ctx context.Context, round int, s system, proposers int) (out outcome, err error) {
	dir, err := os.MkdirTemp(p.dir, "lockd-bench-")
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
		syscall.Sync() // what one system has left to write must not slow the next
	}()
	if err := rig.RefuseMemory(dir); err != nil {
		return outcome{}, err
	}
	job := spec{System: s.name, Proposers: proposers, Warmup: p.warmup, Window: p.window, Dir: dir}
	if p.profileDir != "" && s.name == systems[0].name {
		file := fmt.Sprintf("%s-%d-%d.%s", s.name, proposers, round+1, p.profileKind)
		job.Profile = profile{p.profileKind, filepath.Join(p.profileDir, file)}
	}
	input, err := json.Marshal(job)
	if err != nil {
		return outcome{}, err
	}
	if err := rig.AwaitQuiet(ctx, p.patience); err != nil {
		return outcome{}, err
	}
	return runChild(ctx, input, p.warmup+p.window+time.Minute)
}

func runChild(ctx context.Context, input []byte, limit time.Duration) (out outcome, err error) {
	program, err := os.Executable()
	if err != nil {
		return outcome{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdin = bytes.NewReader(input)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		const most = 4 << 10
		said := stderr.Bytes()
		return outcome{}, fmt.Errorf("%w: %s", err, bytes.TrimSpace(said[max(0, len(said)-most):]))
	}
	err = json.Unmarshal(stdout.Bytes(), &out)
	return out, err
}

// child is the other side of runChild.
func child(ctx context.Context, in io.Reader, out io.Writer) error {
	var s spec
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	o, err := measure(ctx, s)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(o)
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
