package nemesis

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockd/lockd/internal/history"
	"github.com/lockd/lockd/internal/testdisk"
)

// minimum of one scenario of scenarioLength: it is in proportion for a shorter one.
const (
	leastOperations = 2500
	leastGrants     = 800
	leastWrites     = 100
)

// kindsOfWork must all be in a scenario, at least so often.
func kindsOfWork() map[history.Kind]int64 {
	return map[history.Kind]int64{
		history.Acquire: 800, history.Release: 600, history.Renew: 10, history.HandOn: 10, history.SetValue: 20, history.Query: 50, history.Write: leastWrites,
	}
}

// judge decides whether what was recorded in a directory can be. Options says what is demanded of the processes that recorded it.
func judge(dir string, options func(processes []string) history.Options) (*history.Verdict, error) {
	files, err := filepath.Glob(filepath.Join(dir, "history-*"))
	if err != nil {
		return nil, err
	}
	h, err := history.Read(files...)
	if err != nil {
		return nil, err
	}
	var audits []*history.Audit
	for i := range clusterSize {
		audit, err := history.ReadAudit(auditFile(dir, i))
		if err != nil {
			return nil, err
		}
		audits = append(audits, audit)
	}
	var processes []string
	for _, f := range files {
		processes = append(processes, strings.TrimPrefix(filepath.Base(f), "history-"))
	}
	o := options(processes)
	o.SearchLimit, o.Dir = 10*time.Second, dir
	return history.Check(h, audits, o)
}

// options returns what a scenario has to show.
func (p plan) options(processes []string, hits map[kind]int64) history.Options {
	everybody, leaders := p.clocksBeyond()
	if !everybody { // a leader whose clock is fast ends everybody's session early
		processes = nil
	}
	part := func(n int64) int64 { return n * int64(p.length) / int64(scenarioLength) / slower }
	least := map[history.Kind]int64{}
	for k, n := range kindsOfWork() {
		least[k] = part(n)
	}
	faults := map[string]int64{}
	for k := range p.counts() {
		faults[string(k)] = hits[k]
	}
	return history.Options{
		Minimum: history.Minimum{
			Operations: part(leastOperations), Grants: part(leastGrants), Writes: part(leastWrites), Searched: 1, Kinds: least,
		},
		Faults: faults, Skewed: processes, LeadersSkewed: leaders,
	}
}

// check judges a scenario.
func check(dir string, p plan, hits map[kind]int64) (*history.Verdict, error) {
	return judge(dir, func(processes []string) history.Options { return p.options(processes, hits) })
}

// logs looks for what no process may ever say.
func (a *arena) logs() error {
	files, err := filepath.Glob(filepath.Join(a.dir, "*.log"))
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, word := range []string{"panic:", "fatal error:", "DATA RACE", "unexpected fault address"} {
			if i := strings.Index(string(text), word); i >= 0 {
				errs = append(errs, fmt.Errorf("%s: %.2000s", name, text[i:]))
			}
		}
	}
	return errors.Join(errs...)
}

// mounted tells which of the disks still are.
func mounted(disks []*testdisk.Disk) error {
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && slices.ContainsFunc(disks, func(d *testdisk.Disk) bool { return d.Dir == fields[1] }) {
			return fmt.Errorf("left behind: %s", line)
		}
	}
	return nil
}

// namespaces tells of network namespaces that are still open here.
func namespaces() error {
	files, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		return err
	}
	for _, name := range files {
		if to, err := os.Readlink(name); err == nil && strings.HasPrefix(to, "net:") {
			return fmt.Errorf("left behind: %s", to)
		}
	}
	return nil
}

// children tells of processes that were started here and have not ended.
func children() error {
	files, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return err
	}
	for _, name := range files {
		if text, err := os.ReadFile(name); err == nil && len(strings.TrimSpace(string(text))) > 0 {
			return fmt.Errorf("left behind: processes %s", text)
		}
	}
	return nil
}
