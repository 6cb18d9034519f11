package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/lockd/lockd/bench/internal/rig"
)

// compared are the modules whose versions a report names.
var compared = []string{"go.etcd.io/etcd/client/v3"}

// report is a finished comparison.
type report struct {
	host  rig.Host
	kills int
	cells []*cell
}

// print writes a table in Markdown, and what went wrong.
func (r report) print(w io.Writer) {
	fmt.Fprintf(w, "%v; %d losses of each kind; a try has %v\n", r.host, r.kills, patience)
	for module, version := range r.host.Modules {
		fmt.Fprintf(w, "%s %s\n", module, version)
	}
	fmt.Fprint(w, "\n| the leader is lost by | system | first grant: p50 | p90 | p99 | worst | each session: p50 | p99 | waiter: p50 | p99 "+
		"| tries | lost | late | twice | sessions lost |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, c := range r.cells {
		fmt.Fprintln(w, c.row())
	}
	for _, c := range r.cells {
		for _, why := range c.book.reasons() {
			fmt.Fprintf(w, "\n%s, %s: %s", c.fault.about, c.system.name, why)
		}
	}
	fmt.Fprintln(w)
}

// row is the line of one fault and system. Times are in ms.
func (c *cell) row() string {
	var first, each, waiter []time.Duration
	ended := 0
	for _, res := range c.results {
		each = append(each, res.Each...)
		ended += res.Ended
		if res.First > 0 {
			first = append(first, res.First)
		}
		if res.Waiter > 0 {
			waiter = append(waiter, res.Waiter)
		}
	}
	tries, lost, late, twice := c.book.counts()
	return fmt.Sprintf("| %s | %s | **%s**%s | %s | %s | %s | %s | %s | %s | %s | %d | %d | %d | %d | %d |", c.fault.about, c.system.name,
		ms(first, 0.5), c.mark(first), ms(first, 0.9), ms(first, 0.99), ms(first, 1), ms(each, 0.5), ms(each, 0.99), ms(waiter, 0.5),
		ms(waiter, 0.99), tries, lost, late, twice, ended)
}

// mark tells whether the median of ours is what it has to be.
func (c *cell) mark(first []time.Duration) string {
	switch {
	case c.fault.goal == 0 || c.system.name != systems[0].name || len(first) == 0:
		return ""
	case quantile(first, 0.5) <= time.Duration(c.fault.goal)*time.Millisecond:
		return " ✓"
	default:
		return " ✗"
	}
}

// ms is a quantile in whole milliseconds.
func ms(list []time.Duration, q float64) string {
	if len(list) == 0 {
		return "-"
	}
	return fmt.Sprint(quantile(list, q).Round(time.Millisecond).Milliseconds())
}

// quantile returns the least element that at least a share q of the list, which is not empty, does not exceed.
func quantile(list []time.Duration, q float64) time.Duration {
	list = slices.Sorted(slices.Values(list))
	const slack = 1e-9 // 0.9 of 50 are 45, whatever the product of floats says
	rank := int(q*float64(len(list)) + 1 - slack)
	return list[min(max(rank, 1), len(list))-1]
}

// verdict fails if a try of ours was lost, late or took effect twice, if a session of it ended, or if a try of ours never was granted.
func (r report) verdict() error {
	var errs []error
	for _, c := range r.cells {
		if c.system.program != lockdProgram {
			continue
		}
		_, lost, late, twice := c.book.counts()
		ended, missing := 0, 0
		for _, res := range c.results {
			ended += res.Ended
			missing += askers - len(res.Each)
			if res.Waiter == 0 {
				missing++
			}
		}
		if c.system.name != systems[0].name { // without hints an election may well take longer than a try has
			late, missing = 0, 0
		}
		if lost+late+twice+ended+missing > 0 {
			errs = append(errs, fmt.Errorf("%s, %s: %d tries lost, %d late, %d signs of a second effect, %d sessions ended, %d grants missing",
				c.fault.about, c.system.name, lost, late, twice, ended, missing))
		}
	}
	return errors.Join(errs...)
}
