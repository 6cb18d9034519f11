package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"time"
)

// profile says what is recorded during the window of a trial. The zero value records nothing.
type profile struct {
	Kind string // cpu, allocs, block, mutex, goroutine
	Dir  string
	Name string // what its files' names begin with
}

// record begins to record; what it returns waits for the end. Files are there for each node and for the clients.
func (p profile) record(ctx context.Context, nodes []string, window time.Duration) (wait func() error) {
	if p.Dir == "" {
		return func() error { return nil }
	}
	errs := make([]error, len(nodes)+1)
	var wg sync.WaitGroup
	for i, address := range nodes {
		wg.Go(func() { errs[i] = p.fetch(ctx, address, p.file(fmt.Sprint("n", i+1)), window) })
	}
	stop, err := p.own()
	errs[len(nodes)] = err
	return func() error {
		if stop != nil {
			errs[len(nodes)] = stop()
		}
		wg.Wait()
		return errors.Join(errs...)
	}
}

func (p profile) file(whose string) string {
	return filepath.Join(p.Dir, fmt.Sprintf("%s-%s.%s", p.Name, whose, p.Kind))
}

// fetch has a node record itself.
func (p profile) fetch(ctx context.Context, address, file string, window time.Duration) error {
	kind := p.Kind
	if kind == "cpu" {
		kind = "profile"
	}
	return get(ctx, fmt.Sprintf("http://%s/debug/pprof/%s?seconds=%d", address, kind, max(1, int(window/time.Second))), file)
}

// get writes what an address says to a file; none is made of the empty name.
func get(ctx context.Context, address, file string) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", address, response.Status)
	}
	out := io.Discard
	if file != "" {
		f, err := os.Create(file)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	_, err = io.Copy(out, response.Body)
	return err
}

// heaps has each node tell what its memory holds.
func (p profile) heaps(ctx context.Context, nodes []string) error {
	if p.Dir == "" {
		return nil
	}
	p.Kind = "heap"
	for i, address := range nodes {
		if err := get(ctx, "http://"+address+"/debug/pprof/heap", p.file(fmt.Sprint("n", i+1))); err != nil {
			return err
		}
	}
	return nil
}

// own records this process, the clients.
func (p profile) own() (stop func() error, err error) {
	f, err := os.Create(p.file("clients"))
	if err != nil {
		return nil, err
	}
	if p.Kind == "cpu" {
		if err := pprof.StartCPUProfile(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return func() error {
			pprof.StopCPUProfile()
			return f.Close()
		}, nil
	}
	const nanos = 10_000 // one sample for so much time blocked
	runtime.SetBlockProfileRate(nanos)
	runtime.SetMutexProfileFraction(10)
	return func() error { return errors.Join(pprof.Lookup(p.Kind).WriteTo(f, 0), f.Close()) }, nil
}

// prepare checks what is asked for, and makes the directory.
func (p profile) prepare() error {
	if p.Dir == "" {
		return nil
	}
	if p.Kind != "cpu" && pprof.Lookup(p.Kind) == nil {
		return fmt.Errorf("no profile of kind %q", p.Kind)
	}
	return os.MkdirAll(p.Dir, 0o755)
}
