package rig

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// Host is where a comparison was made, and of what.
type Host struct {
	Time    time.Time
	CPUs    int
	Model   string
	Kernel  string
	Go      string
	Load    string            // averages of the run queue over 1, 5 and 15 minutes, before
	Modules map[string]string // versions of the modules compared
}

// ThisHost describes the machine, and names the versions of the modules compared that this program was built with.
func ThisHost(compared ...string) Host {
	h := Host{Time: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Go: runtime.Version(), Modules: map[string]string{}}
	h.Kernel = firstLine("/proc/sys/kernel/osrelease")
	h.Load = strings.Join(strings.Fields(firstLine("/proc/loadavg"))[:3], " ")
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
				h.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if slices.Contains(compared, m.Path) {
				h.Modules[m.Path] = m.Version
			}
		}
	}
	return h
}

// String is one line for the head of a table.
func (h Host) String() string {
	return fmt.Sprintf("%s; %d CPUs, %s; kernel %s; %s; load before: %s", h.Time.Format(time.RFC3339), h.CPUs, h.Model, h.Kernel, h.Go, h.Load)
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return "? ? ?"
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}
