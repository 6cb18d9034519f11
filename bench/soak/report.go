package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/lockd/lockd/bench/chart"
)

// print writes what a run has found, in Markdown.
func (r *run) print(w io.Writer, wrong []string) {
	all := total(r.samples)
	var queue, leases, errs int64
	for _, s := range r.samples {
		queue, leases, errs = queue+s.Queue, leases+s.Leases, errs+int64(len(s.Errors))
	}
	last := r.samples[len(r.samples)-1]
	fmt.Fprintf(w, "%v\n\n%v, %.0f pairs/s by %d clients, %d in a queue, %d with a lease, %d idle sessions with a TTL of %v; %d of the nodes' disturbances.\n\n",
		r.host, last.At.Round(time.Second), r.o.rate, r.o.clients, r.o.queue, r.o.leases, r.o.idle, r.o.ttl, len(r.events))
	fmt.Fprintf(w, "%d pairs: p50 %.2f ms, p99 %.2f ms, p99.9 %.1f ms, worst %.0f ms; %d turns of the queue, %d renewals of leases; %d errors, %d sessions lost.\n\n",
		all.count(), all.quantile(0.5), all.quantile(0.99), all.quantile(0.999), all.quantile(1), queue, leases, errs, last.Lost)
	quiet := undisturbed(r.samples, r.events)
	fmt.Fprintf(w, "%d of them while nothing was done to the nodes: p50 %.2f ms, p99 %.2f ms, p99.9 %.1f ms, worst %.0f ms.\n\n",
		quiet.count(), quiet.quantile(0.5), quiet.quantile(0.99), quiet.quantile(0.999), quiet.quantile(1))
	fmt.Fprintf(w, "| event | times |\n|---|---|\n")
	for _, what := range []string{leaderStopped, leaderPaused, followerKilled} {
		fmt.Fprintf(w, "| %s | %d |\n", what, len(r.at(what)))
	}
	part, judged := settled(r.samples)
	fmt.Fprintf(w, "\n| figure, from %v on | node | first | median | last | least to most | rise | bound |\n|---|---|---|---|---|---|---|---|\n",
		part[0].At.Round(time.Second))
	for _, row := range rows(r.samples) {
		row.print(w)
	}
	if !judged {
		fmt.Fprintf(w, "\nGrowth is not judged: logs and caches fill for some %v, and the run is shorter than twice that.\n", filling)
	}
	for _, text := range wrong {
		fmt.Fprintf(w, "\nnot as it must be: %s\n", text)
	}
}

func (r row) print(w io.Writer) {
	if len(r.c.y) == 0 {
		return
	}
	least, most := math.Inf(1), math.Inf(-1)
	for _, y := range r.c.y {
		least, most = min(least, y), max(most, y)
	}
	d, bound := r.kind.digits, ""
	if r.judged {
		mark := "✓"
		if r.grows() {
			mark = "✗"
		}
		bound = fmt.Sprintf("%.1f %s", r.bound, mark)
	}
	fmt.Fprintf(w, "| %s | %s | %.*f | %.*f | %.*f | %.*f to %.*f | %+.1f | %s |\n", r.kind.name, r.node,
		d, r.c.y[0], d, r.c.median(), d, r.c.y[len(r.c.y)-1], d, least, d, most, r.c.rise(), bound)
}

// at returns when something was done, in minutes.
func (r *run) at(what string) (list []float64) {
	for _, e := range r.events {
		if e.What == what {
			list = append(list, e.At.Minutes())
		}
	}
	return list
}

// draw writes the picture.
func (r *run) draw() error {
	if r.o.svg == "" {
		return nil
	}
	var b bytes.Buffer
	if err := r.picture().Write(&b); err != nil {
		return err
	}
	return os.WriteFile(r.o.svg, b.Bytes(), 0o644)
}

func (r *run) picture() chart.Picture {
	var events []chart.Events
	for _, what := range []string{leaderStopped, followerKilled, leaderPaused} {
		events = append(events, chart.Events{Name: what, At: r.at(what)})
	}
	line := func(name string, of func(sample) float64) chart.Series {
		s := chart.Series{Name: name}
		for _, sample := range r.samples {
			s.X, s.Y = append(s.X, sample.At.Minutes()), append(s.Y, of(sample))
		}
		return s
	}
	perNode := func(of func(usage) float64) (list []chart.Series) {
		for i := range nodes {
			c := courseOf(r.samples, func(s sample) float64 { return of(s.Nodes[i]) })
			list = append(list, chart.Series{Name: fmt.Sprint("n", i+1), X: c.x, Y: c.y})
		}
		return list
	}
	minutes := chart.Axis{Label: "minutes"}
	return chart.Picture{
		Title: fmt.Sprintf("%v under %.0f pairs/s, with %d sessions", r.o.time, r.o.rate, r.o.idle+r.o.clients+r.o.queue+r.o.leases),
		Panels: []chart.Panel{
			{Title: "Latency of a pair", X: minutes, Y: chart.Axis{Label: "ms", Log: true}, Events: events, Series: []chart.Series{
				line("p50", func(s sample) float64 { return s.Pairs.quantile(0.5) }),
				line("p99", func(s sample) float64 { return s.Pairs.quantile(0.99) }),
				line("worst", func(s sample) float64 { return s.Pairs.quantile(1) }),
			}},
			{Title: "Resident memory", X: minutes, Y: chart.Axis{Label: "MiB"}, Events: events, Series: perNode(func(u usage) float64 { return u.RSS })},
			{Title: "Live heap, after a forced collection", X: minutes, Y: chart.Axis{Label: "MiB"}, Series: perNode(func(u usage) float64 { return u.Heap })},
			{Title: "Goroutines", X: minutes, Y: chart.Axis{Label: "goroutines"}, Series: perNode(func(u usage) float64 { return u.Goroutines })},
			{Title: "Open descriptors", X: minutes, Y: chart.Axis{Label: "descriptors"}, Series: perNode(func(u usage) float64 { return u.Descriptors })},
			{Title: "Log on disk", X: minutes, Y: chart.Axis{Label: "MiB"}, Series: perNode(func(u usage) float64 { return u.Log })},
		},
	}
}

// keep writes all samples, and the logs of the nodes that lie in dir, to where they were asked for.
func (r *run) keep(dir string) error {
	if r.o.out == "" {
		return nil
	}
	if err := os.MkdirAll(r.o.out, 0o755); err != nil {
		return err
	}
	for i := range nodes {
		name := fmt.Sprintf("n%d.log", i+1)
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(r.o.out, name), b, 0o644)
		}
		if err != nil {
			return err
		}
	}
	events, err := json.MarshalIndent(r.events, "", " ")
	if err != nil {
		return err
	}
	var table bytes.Buffer
	err = writeCSV(&table, r.samples)
	return errors.Join(err, os.WriteFile(filepath.Join(r.o.out, "samples.csv"), table.Bytes(), 0o644),
		os.WriteFile(filepath.Join(r.o.out, "events.json"), append(events, '\n'), 0o644))
}

func writeCSV(w io.Writer, all []sample) error {
	table := csv.NewWriter(w)
	head := []string{"seconds", "pairs", "p50 ms", "p99 ms", "worst ms", "queue", "leases", "errors", "lost"}
	for i := range nodes {
		for _, k := range kinds {
			head = append(head, fmt.Sprintf("n%d %s", i+1, k.name))
		}
	}
	if err := table.Write(head); err != nil {
		return err
	}
	number := func(v float64) string {
		if math.IsNaN(v) {
			return ""
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	for _, s := range all {
		line := []string{number(s.At.Seconds()), number(float64(s.Pairs.count()))}
		for _, q := range []float64{0.5, 0.99, 1} {
			line = append(line, number(s.Pairs.quantile(q)))
		}
		for _, n := range []int64{s.Queue, s.Leases, int64(len(s.Errors)), int64(s.Lost)} {
			line = append(line, strconv.FormatInt(n, 10))
		}
		for i := range nodes {
			for _, k := range kinds {
				line = append(line, number(k.of(s.Nodes[i])))
			}
		}
		if err := table.Write(line); err != nil {
			return err
		}
	}
	table.Flush()
	return table.Error()
}
