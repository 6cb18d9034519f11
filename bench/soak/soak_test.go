package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/testcluster"
)

func TestQuantilesAreNearAndNeverBelow(t *testing.T) {
	h := histogram{}
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for _, share := range []float64{0.001, 0.5, 0.99, 1} {
		got, want := h.quantile(share), 1000*share
		if got < want || got > 1.05*want {
			t.Errorf("quantile %v is %v ms, want %v to 5 %% more", share, got, want)
		}
	}
	other := histogram{}
	other.add(time.Hour)
	other.add(0)
	other.merge(h)
	if n := other.count(); n != 1002 {
		t.Errorf("%d durations, want 1002", n)
	}
	if v := (histogram{}).quantile(0.5); !math.IsNaN(v) {
		t.Errorf("the median of nothing is %v", v)
	}
}

// calm is a run in which nothing grows: figures swing, nodes are down now and then, and one value is far off.
func calm(n int) (all []sample, events []event) {
	for i := range n {
		s := sample{At: time.Duration(i+1) * 5 * time.Second, Pairs: histogram{}}
		for k := range 1000 {
			s.Pairs.add(time.Duration(1+k%10) * time.Millisecond)
		}
		for j := range s.Nodes {
			swing := float64((i*7 + j*3) % 5)
			s.Nodes[j] = usage{RSS: 60 + swing, Heap: math.NaN(), Goroutines: 200 + swing, Descriptors: 150 + swing, Mappings: 95, Log: 64, Checkpoint: 3 + swing/5}
			if i%6 == 5 {
				s.Nodes[j].Heap = 20 + swing/10
			}
		}
		if i%50 == 30 {
			none := math.NaN()
			s.Nodes[1] = usage{none, none, none, none, none, none, none}
		}
		all = append(all, s)
	}
	all[n/2].Nodes[0].RSS = 900
	return all, []event{{What: leaderStopped, Node: "n1"}, {What: followerKilled, Node: "n2"}}
}

func TestCalmRunPasses(t *testing.T) {
	all, events := calm(360)
	if wrong := judge(all, events, 200); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
}

// TestPlantedFaultsAreFound spoils a calm run in one way after the other.
func TestPlantedFaultsAreFound(t *testing.T) {
	for want, spoil := range map[string]func(all []sample, events *[]event) []sample{
		"a client has seen an error": func(all []sample, _ *[]event) []sample {
			all[7].Errors = []string{"no node answered"}
			return all
		},
		"sessions were lost": func(all []sample, _ *[]event) []sample {
			all[len(all)-1].Lost = 1
			return all
		},
		"resident memory": func(all []sample, _ *[]event) []sample {
			for i := range all {
				all[i].Nodes[2].RSS += float64(i) / 8
			}
			return all
		},
		"live heap": func(all []sample, _ *[]event) []sample {
			for i := range all {
				all[i].Nodes[0].Heap += float64(i) / 20
			}
			return all
		},
		"goroutines of all": func(all []sample, _ *[]event) []sample {
			for i := range all {
				all[i].Nodes[0].Goroutines += float64(i / 5)
			}
			return all
		},
		"descriptors of all": func(all []sample, _ *[]event) []sample {
			for i := range all {
				all[i].Nodes[1].Descriptors += float64(i / 5)
			}
			return all
		},
		"log on disk": func(all []sample, _ *[]event) []sample {
			for i := range all {
				all[i].Nodes[1].Log += float64(i)
			}
			return all
		},
		"pairs instead of": func(all []sample, _ *[]event) []sample {
			for i := range all {
				all[i].Pairs = histogram{0: 900}
			}
			return all
		},
		"p50 was": func(all []sample, _ *[]event) []sample {
			for i := range all[240:] {
				all[240+i].Pairs = histogram{perOctave * 16: 1000}
			}
			return all
		},
		"followers were killed": func(all []sample, events *[]event) []sample {
			*events = (*events)[:1]
			return all
		},
		"looked at only": func(all []sample, _ *[]event) []sample {
			for i := range all {
				all[i].Nodes[0].Heap = math.NaN()
			}
			return all
		},
		"only 5 samples": func(all []sample, _ *[]event) []sample { return all[:5] },
	} {
		all, events := calm(360)
		all = spoil(all, &events)
		if wrong := judge(all, events, 200); len(wrong) != 1 || !strings.Contains(wrong[0], want) {
			t.Errorf("%s: found %q", want, wrong)
		}
	}
}

// TestShortRunsAreNotJudged: what fills at first is no growth.
func TestShortRunsAreNotJudged(t *testing.T) {
	all, events := calm(24)
	for i := range all {
		all[i].Nodes[0].RSS += 10 * float64(i)
	}
	if wrong := judge(all, events, 200); len(wrong) > 0 {
		t.Errorf("%q", wrong)
	}
	if part, judged := settled(all); judged || len(part) != 16 {
		t.Errorf("%d samples are judged: %v", len(part), judged)
	}
	all, _ = calm(360)
	if part, judged := settled(all); !judged || part[0].At < all[120].At {
		t.Errorf("judged: %v, from %v on", judged, part[0].At)
	}
}

func TestUndisturbedIsAwayFromEvents(t *testing.T) {
	all, _ := calm(60)
	quiet := undisturbed(all, []event{{At: 102 * time.Second}})
	if n := quiet.count(); n != 54_000 { // those that end in (97 s, 127 s)
		t.Errorf("%d pairs", n)
	}
	if quiet := undisturbed(all, nil); quiet.count() != 60_000 {
		t.Errorf("%d pairs, and nothing was done", quiet.count())
	}
}

func TestReport(t *testing.T) {
	r := &run{o: options{time: 30 * time.Minute, rate: 200, clients: 50, idle: 2000}}
	r.samples, r.events = calm(360)
	r.events[0].At, r.events[1].At = time.Minute, 2*time.Minute
	var text bytes.Buffer
	r.print(&text, []string{"it creaks"})
	for _, want := range []string{"360000 pairs", "| resident memory, MiB | all |", "| goroutines | n3 |", "✓", "it creaks", "| follower killed | 1 |"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, &text)
		}
	}
	var svg bytes.Buffer
	if err := r.picture().Write(&svg); err != nil {
		t.Fatal(err)
	}
	const most = 100 << 10
	if svg.Len() > most {
		t.Errorf("the picture has %d bytes", svg.Len())
	}
	var table bytes.Buffer
	if err := writeCSV(&table, r.samples); err != nil {
		t.Fatal(err)
	}
	lines, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(lines) != 361 || len(lines[0]) != 9+nodes*len(kinds) {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

// TestLoad runs a process of clients, in this one, against real nodes.
func TestLoad(t *testing.T) {
	c := testcluster.Start(t, 3)
	o := order{
		Name: "p", Endpoints: c.Endpoints(), TTL: 10 * time.Second, Every: 200 * time.Millisecond,
		Rate: 50, Clients: 5, Queue: 3, Leases: 2, Idle: 20,
	}
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	inRead, inWrite := io.Pipe()
	outRead, outWrite := io.Pipe()
	ended := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		err := serve(ctx, inRead, outWrite)
		_ = outWrite.Close() // never fails
		ended <- err
	}()
	if _, err := inWrite.Write(text); err != nil {
		t.Fatal(err)
	}
	sum := tick{Pairs: histogram{}}
	for from := json.NewDecoder(outRead); sum.Pairs.count() < 60 || sum.Queue < 3 || sum.Leases < 2; {
		next := tick{Pairs: histogram{}}
		if err := from.Decode(&next); err != nil {
			t.Fatalf("after %+v: %v", sum, err)
		}
		sum.Pairs.merge(next.Pairs)
		sum.Queue, sum.Leases, sum.Lost = sum.Queue+next.Queue, sum.Leases+next.Leases, next.Lost
		sum.Errors = slices.Concat(sum.Errors, next.Errors)
	}
	_ = inWrite.Close() // asks it to end
	go func() { _, _ = io.Copy(io.Discard, outRead) }()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if len(sum.Errors) > 0 || sum.Lost > 0 {
		t.Errorf("errors %q, %d sessions lost", sum.Errors, sum.Lost)
	}
}
