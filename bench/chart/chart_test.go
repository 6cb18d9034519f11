package chart_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/lockd/lockd/bench/chart"
)

// element is an element of a picture.
type element struct {
	name, class, d, text string
}

// read takes a picture apart; it must be well-formed.
func read(t *testing.T, svg []byte) (all []element) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	var open []int
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, svg)
		}
		switch token := token.(type) {
		case xml.StartElement:
			e := element{name: token.Name.Local}
			for _, a := range token.Attr {
				switch a.Name.Local {
				case "class":
					e.class = a.Value
				case "d":
					e.d = a.Value
				}
			}
			open, all = append(open, len(all)), append(all, e)
		case xml.EndElement:
			open = open[:len(open)-1]
		case xml.CharData:
			if len(open) > 0 {
				all[open[len(open)-1]].text += string(token)
			}
		}
	}
}

func write(t *testing.T, p chart.Picture) ([]byte, []element) {
	t.Helper()
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), read(t, b.Bytes())
}

// line returns the points of the first line, run by run.
func line(t *testing.T, all []element) (runs [][][2]float64) {
	t.Helper()
	i := slices.IndexFunc(all, func(e element) bool { return e.class == "l c0" && strings.Contains(e.d, "L") })
	if i < 0 {
		t.Fatal("no line")
	}
	for _, m := range regexp.MustCompile(`([ML])(\S+) ([0-9.]+)`).FindAllStringSubmatch(all[i].d, -1) {
		x, errX := strconv.ParseFloat(m[2], 64)
		y, errY := strconv.ParseFloat(m[3], 64)
		if errX != nil || errY != nil {
			t.Fatalf("%q: %v, %v", m[0], errX, errY)
		}
		if m[1] == "M" {
			runs = append(runs, nil)
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], [2]float64{x, y})
	}
	return runs
}

func near(a, b float64) bool { return math.Abs(a-b) <= 0.11 } // coordinates have one digit

func labels(all []element) (list []string) {
	for _, e := range all {
		if e.name == "text" {
			list = append(list, e.text)
		}
	}
	return list
}

func TestEverythingIsNamed(t *testing.T) {
	svg, all := write(t, chart.Picture{
		Title: "Cost & <growth>",
		Panels: []chart.Panel{
			{
				Title: "rate", X: chart.Axis{Label: "clients", Log: true}, Y: chart.Axis{Label: "pairs/s", Log: true},
				Series: []chart.Series{{Name: "ours", X: []float64{1, 16, 256}, Y: []float64{500, 4000, 12000}}, {Name: "theirs", X: []float64{1, 16}, Y: []float64{280, 1400}}},
			},
			{
				Title: "memory", X: chart.Axis{Label: "minutes"}, Y: chart.Axis{Label: "MiB"},
				Series: []chart.Series{{Name: "ours", X: []float64{0, 30}, Y: []float64{40, 41}}, {Name: "goal", X: []float64{0, 30}, Y: []float64{60, 60}, Dashed: true}},
				Events: []chart.Events{{Name: "kill -9", At: []float64{10, 20}}},
			},
		},
	})
	got := labels(all)
	for _, want := range []string{
		"Cost & <growth>", "rate", "clients", "pairs/s", "ours", "theirs", "memory", "minutes", "MiB", "goal", "kill -9",
		"1", "16", "256", // the values themselves, as there are few
		"10k", "0", "20", "60",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("no label %q in %q", want, got)
		}
	}
	text := string(svg)
	for _, needless := range []string{"<script", "href", "http://", "https://", "onload"} {
		if strings.Contains(strings.ReplaceAll(text, `xmlns="http://www.w3.org/2000/svg"`, ""), needless) {
			t.Errorf("the picture has %q", needless)
		}
	}
	if !strings.Contains(text, "prefers-color-scheme:dark") {
		t.Error("no colours for a dark page")
	}
	const most = 6 << 10
	if len(svg) > most {
		t.Errorf("%d bytes for a small picture", len(svg))
	}
}

func TestSameNameSameColour(t *testing.T) {
	one := chart.Series{Name: "one", X: []float64{0, 1}, Y: []float64{1, 2}}
	two := chart.Series{Name: "two", X: []float64{0, 1}, Y: []float64{3, 4}}
	_, all := write(t, chart.Picture{Panels: []chart.Panel{{Series: []chart.Series{one, two}}, {Series: []chart.Series{two}}}})
	var lines []string
	for _, e := range all {
		if strings.Contains(e.d, "L") {
			lines = append(lines, e.class)
		}
	}
	if want := []string{"l c0", "l c1", "l c1"}; !slices.Equal(lines, want) {
		t.Errorf("lines are %q, want %q", lines, want)
	}
}

// TestLinearPlaces requires that points lie where the values say: on a linear axis equal steps are equal, and the axis upwards begins at zero.
func TestLinearPlaces(t *testing.T) {
	_, all := write(t, chart.Picture{Panels: []chart.Panel{{
		Series: []chart.Series{{Name: "s", X: []float64{0, 1, 2, 4}, Y: []float64{0, 25, 50, 100}}},
	}}})
	p := line(t, all)[0]
	axis := all[slices.IndexFunc(all, func(e element) bool { return e.class == "axis" })].d
	var left, top, bottom, right float64
	if _, err := fmt.Sscanf(axis, "M%g %gV%gH%g", &left, &top, &bottom, &right); err != nil {
		t.Fatalf("%q: %v", axis, err)
	}
	for i, want := range [][2]float64{
		{left, bottom}, {left + (right-left)/4, bottom + (top-bottom)/4}, {left + (right-left)/2, bottom + (top-bottom)/2}, {right, top},
	} {
		if !near(p[i][0], want[0]) || !near(p[i][1], want[1]) {
			t.Errorf("point %d is at %v, want %v", i, p[i], want)
		}
	}
}

// TestLogPlaces requires that equal factors are equal steps.
func TestLogPlaces(t *testing.T) {
	var b bytes.Buffer
	err := chart.Lines(&b, "t", "x", "y", true, chart.Series{Name: "s", X: []float64{1, 4, 16, 64}, Y: []float64{0.01, 0.1, 1, 10}})
	if err != nil {
		t.Fatal(err)
	}
	p := line(t, read(t, b.Bytes()))[0]
	for i := 1; i < len(p)-1; i++ {
		if !near(p[i][0]-p[i-1][0], p[i+1][0]-p[i][0]) || !near(p[i][1]-p[i-1][1], p[i+1][1]-p[i][1]) {
			t.Errorf("points %v are not in equal steps", p)
		}
	}
	if p[1][1] >= p[0][1] || p[1][0] <= p[0][0] {
		t.Errorf("points %v do not rise to the right", p)
	}
}

func TestGapsBreakTheLine(t *testing.T) {
	_, all := write(t, chart.Picture{Panels: []chart.Panel{{
		Series: []chart.Series{{Name: "s", X: []float64{0, 1, 2, 3, 4}, Y: []float64{5, 6, math.NaN(), 7, 8}}},
	}}})
	runs := line(t, all)
	if len(runs) != 2 || len(runs[0]) != 2 || len(runs[1]) != 2 {
		t.Errorf("runs are %v, want two of two points", runs)
	}
}

// TestManyPointsKeepTheirPeaks draws a hundred thousand points: the picture is small, and the only peak is in it.
func TestManyPointsKeepTheirPeaks(t *testing.T) {
	s := chart.Series{Name: "s"}
	for i := range 100_000 {
		s.X, s.Y = append(s.X, float64(i)), append(s.Y, float64(i%7))
	}
	const peak = 54_321
	s.Y[peak] = 100
	svg, all := write(t, chart.Picture{Panels: []chart.Panel{{Series: []chart.Series{s}}}})
	const most = 32 << 10
	if len(svg) > most {
		t.Errorf("%d bytes", len(svg))
	}
	highest := math.Inf(1)
	var at float64
	run := line(t, all)[0]
	for _, p := range run {
		if p[1] < highest {
			at, highest = p[0], p[1]
		}
	}
	first, last := run[0][0], run[len(run)-1][0]
	if want := first + (last-first)*peak/99_999; math.Abs(at-want) > 1 {
		t.Errorf("the peak is at %v, want %v", at, want)
	}
}

func TestRefused(t *testing.T) {
	good := chart.Series{Name: "s", X: []float64{1}, Y: []float64{1}}
	many := chart.Panel{}
	for i := range chart.SeriesMax + 1 {
		many.Series = append(many.Series, chart.Series{Name: fmt.Sprint(i), X: []float64{1}, Y: []float64{1}})
	}
	for what, panels := range map[string][]chart.Panel{
		"no panels":         {},
		"no points":         {{Series: []chart.Series{{Name: "s"}}}},
		"nothing but gaps":  {{Series: []chart.Series{{Name: "s", X: []float64{1}, Y: []float64{math.NaN()}}}}},
		"lengths differ":    {{Series: []chart.Series{{Name: "s", X: []float64{1, 2}, Y: []float64{1}}}}},
		"infinite":          {{Series: []chart.Series{{Name: "s", X: []float64{1}, Y: []float64{math.Inf(1)}}}}},
		"x not a number":    {{Series: []chart.Series{{Name: "s", X: []float64{math.NaN()}, Y: []float64{1}}}}},
		"zero on log":       {{Y: chart.Axis{Log: true}, Series: []chart.Series{{Name: "s", X: []float64{1}, Y: []float64{0}}}}},
		"event off the log": {{X: chart.Axis{Log: true}, Series: []chart.Series{good}, Events: []chart.Events{{Name: "e", At: []float64{-1}}}}},
		"too many series":   {many},
		"too many panels":   slices.Repeat([]chart.Panel{{Series: []chart.Series{good}}}, chart.PanelsMax+1),
	} {
		var b bytes.Buffer
		if err := (chart.Picture{Panels: panels}).Write(&b); err == nil || b.Len() > 0 {
			t.Errorf("%s: error %v, %d bytes written", what, err, b.Len())
		}
	}
}

// TestAnyFigures draws what comes of odd measurements: one point, all alike, below zero, tiny, huge.
func TestAnyFigures(t *testing.T) {
	for _, log := range []bool{false, true} {
		for _, ys := range [][]float64{{7}, {7, 7}, {1e-9, 2e-9}, {1e12, 3e15}, {0.5, 0.500001}, {1, 1e12}, {-3, 4}, {-5, -5}, {0, 0}} {
			if log && slices.Min(ys) <= 0 {
				continue
			}
			xs := []float64{3, 3000}[:len(ys)]
			var b bytes.Buffer
			if err := chart.Lines(&b, "t", "x", "y", log, chart.Series{Name: "s", X: xs, Y: ys}); err != nil {
				t.Errorf("%v: %v", ys, err)
				continue
			}
			all := read(t, b.Bytes())
			if text := b.String(); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
				t.Errorf("%v: places that are not numbers:\n%s", ys, text)
			}
			if n := len(labels(all)); n < 6 || n > 40 {
				t.Errorf("%v: %d labels: %q", ys, n, labels(all))
			}
		}
	}
}

// TestSample draws a picture to look at, into the file that LOCKD_CHART names.
func TestSample(t *testing.T) {
	p := sample()
	svg, all := write(t, p)
	if n := len(labels(all)); n < 40 {
		t.Errorf("%d labels", n)
	}
	if file := os.Getenv("LOCKD_CHART"); file != "" {
		if err := os.WriteFile(file, svg, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func sample() chart.Picture {
	clients := []float64{1, 4, 16, 64, 256}
	soak := func(name string, base, wave float64) chart.Series {
		s := chart.Series{Name: name}
		for i := range 360 {
			y := base + wave*math.Sin(float64(i)/9)
			if i%120 == 60 {
				y = math.NaN()
			}
			s.X, s.Y = append(s.X, float64(i)/12), append(s.Y, y)
		}
		return s
	}
	return chart.Picture{
		Title: "A sample",
		Panels: []chart.Panel{
			{
				Title: "Rate", X: chart.Axis{Label: "clients", Log: true}, Y: chart.Axis{Label: "pairs/s", Log: true},
				Series: []chart.Series{
					{Name: "lockd", X: clients, Y: []float64{770, 2400, 5100, 7800, 9300}},
					{Name: "etcd", X: clients, Y: []float64{390, 800, 1300, 1700, 1750}},
					{Name: "goal", X: []float64{1, 256}, Y: []float64{1500, 1500}, Dashed: true},
				},
			},
			{
				Title: "Latency, p99", X: chart.Axis{Label: "clients", Log: true}, Y: chart.Axis{Label: "ms"},
				Series: []chart.Series{{Name: "lockd", X: clients, Y: []float64{3, 4, 9, 21, 52}}, {Name: "etcd", X: clients, Y: []float64{9, 17, 40, 71, 260}}},
			},
			{
				Title: "Latency of a pair", X: chart.Axis{Label: "minutes"}, Y: chart.Axis{Label: "ms", Log: true},
				Series: []chart.Series{soak("p50", 1.5, 0.2), soak("p99", 9, 3), soak("worst", 60, 55)},
				Events: []chart.Events{{Name: "transfer", At: []float64{3, 9, 15, 21, 27}}, {Name: "kill -9 of a follower", At: []float64{12, 24}}},
			},
			{
				Title: "Resident memory", X: chart.Axis{Label: "minutes"}, Y: chart.Axis{Label: "MiB"},
				Series: []chart.Series{soak("n1", 80, 3), soak("n2", 72, 2), soak("n3", 70, 2)},
			},
		},
	}
}
