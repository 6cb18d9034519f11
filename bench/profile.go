package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
)

// profile says what is recorded during the window of a measurement.
type profile struct {
	Kind string // cpu, block, mutex, allocs or trace; empty for nothing
	File string
}

// start begins to record; what it returns ends it and writes the file.
func (p profile) start() (stop func() error, err error) {
	if p.Kind == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(p.File)
	if err != nil {
		return nil, err
	}
	switch p.Kind {
	case "cpu":
		err = pprof.StartCPUProfile(f)
		stop = func() error {
			pprof.StopCPUProfile()
			return f.Close()
		}
	case "trace":
		err = trace.Start(f)
		stop = func() error {
			trace.Stop()
			return f.Close()
		}
	case "block", "mutex", "allocs":
		const nanos = 10_000 // one sample for so much time blocked
		runtime.SetBlockProfileRate(nanos)
		runtime.SetMutexProfileFraction(10)
		stop = func() error { return errors.Join(pprof.Lookup(p.Kind).WriteTo(f, 0), f.Close()) }
	default:
		err = fmt.Errorf("no profile of kind %q: cpu, block, mutex, allocs, trace", p.Kind)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return stop, nil
}
