package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// sample is what was seen at one moment, of the time since the sample before.
type sample struct {
	At     time.Duration // since the beginning
	Pairs  histogram
	Queue  int64
	Leases int64
	Errors []string
	Lost   int
	Nodes  [nodes]usage
}

// usage is what a node uses. A figure that was not taken is not a number.
type usage struct {
	RSS, Heap                         float64 // MiB; Heap is what lives after a forced collection, taken now and then
	Goroutines, Descriptors, Mappings float64
	Log, Checkpoint                   float64 // MiB on disk
}

const mib = 1 << 20

// look takes the usage of a node; with collect it forces a collection of garbage.
func (n *node) look(ctx context.Context, collect bool) (u usage, err error) {
	u = usage{Heap: math.NaN()}
	if n.child == nil {
		return u, fmt.Errorf("%s is down", n.name)
	}
	pid := n.cmd.Process.Pid
	rss, err := rig.Resident(pid)
	if err != nil {
		return u, err
	}
	u.RSS = float64(rss) / mib
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return u, err
	}
	u.Descriptors = float64(len(fds))
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return u, err
	}
	u.Mappings = float64(bytes.Count(maps, []byte("\n")))
	if u.Goroutines, err = figure(ctx, n.http, "/metrics", "go_goroutines "); err != nil {
		return u, err
	}
	if collect {
		heap, err := figure(ctx, n.http, "/debug/pprof/heap?gc=1&debug=1", "# HeapAlloc = ")
		if err != nil {
			return u, err
		}
		u.Heap = heap / mib
	}
	if u.Log, err = onDisk(filepath.Join(n.dir, "log")); err != nil {
		return u, err
	}
	u.Checkpoint, err = onDisk(filepath.Join(n.dir, "state"))
	return u, err
}

// figure returns the number behind a text that a line of a page begins with.
func figure(ctx context.Context, address, path, before string) (value float64, err error) {
	err = get(ctx, address, path, func(r io.Reader) error {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, mib)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), before); ok {
				value, err = strconv.ParseFloat(text, 64)
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return err
		}
		return fmt.Errorf("%s%s has no %q", address, path, before)
	})
	return value, err
}

// onDisk returns the MiB that the files below a directory take. Files come and go meanwhile.
func onDisk(dir string) (total float64, err error) {
	const block = 512
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var s syscall.Stat_t
		if err != nil || d.IsDir() || syscall.Lstat(path, &s) != nil {
			return nil //nolint:nilerr // it has gone
		}
		total += float64(s.Blocks) * block / mib
		return nil
	})
	return total, err
}
