package chart

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
)

// Bounds of a picture.
const (
	PanelsMax = 24
	SeriesMax = 8 // there are as many colours
)

// Picture is a set of panels.
type Picture struct {
	Title   string
	Columns int // panels beside each other; 0: one, or two if there are several panels
	Panels  []Panel
}

// Panel is one chart.
type Panel struct {
	Title  string
	X, Y   Axis
	Series []Series
	Events []Events
}

// Axis is an axis of a panel.
type Axis struct {
	Label string // what it shows, with the unit
	Log   bool   // all values are above zero
}

// Series is a line. The same name has the same colour in all panels of a picture.
type Series struct {
	Name   string
	X, Y   []float64 // as many of each; a Y that is not a number (math.NaN) breaks the line
	Dashed bool      // a goal, or something else that was not measured
}

// Events are moments at which something was done, shown as thin upright lines.
type Events struct {
	Name string
	At   []float64
}

// Lines writes a picture of one panel. With log both axes are logarithmic. The errors are those of Picture.Write.
func Lines(w io.Writer, title, xlabel, ylabel string, log bool, series ...Series) error {
	return Picture{Panels: []Panel{{Title: title, X: Axis{xlabel, log}, Y: Axis{ylabel, log}, Series: series}}}.Write(w)
}

// Write writes the picture as SVG, all of it at once. It fails for figures that cannot be drawn: a panel without points, coordinates of
// different number, values that are infinite or, on a logarithmic axis, not above zero; and with w's error.
func (p Picture) Write(w io.Writer) error {
	if err := p.check(); err != nil {
		return fmt.Errorf("chart %q: %w", p.Title, err)
	}
	var b bytes.Buffer
	newCanvas(&b, p).draw()
	_, err := w.Write(b.Bytes())
	return err
}

func (p Picture) check() error {
	if len(p.Panels) == 0 || len(p.Panels) > PanelsMax {
		return fmt.Errorf("%d panels: there must be 1 to %d", len(p.Panels), PanelsMax)
	}
	if p.Columns < 0 {
		return fmt.Errorf("%d columns", p.Columns)
	}
	for _, panel := range p.Panels {
		if err := panel.check(); err != nil {
			return fmt.Errorf("panel %q: %w", panel.Title, err)
		}
	}
	if slices.Max(slices.Collect(maps.Values(p.colours()))) >= SeriesMax {
		return fmt.Errorf("more than %d series beside each other: they cannot be told apart", SeriesMax)
	}
	return nil
}

func (p Panel) check() error {
	points := 0
	for _, s := range p.Series {
		n, err := s.check(p.X, p.Y)
		if err != nil {
			return fmt.Errorf("series %q: %w", s.Name, err)
		}
		points += n
	}
	if points == 0 {
		return errors.New("there are no points")
	}
	for _, e := range p.Events {
		for _, x := range e.At {
			if err := p.X.check(x); err != nil {
				return fmt.Errorf("event %q: %w", e.Name, err)
			}
		}
	}
	return nil
}

// check returns how many points there are.
func (s Series) check(xAxis, yAxis Axis) (points int, err error) {
	if len(s.X) != len(s.Y) {
		return 0, fmt.Errorf("%d x and %d y", len(s.X), len(s.Y))
	}
	for i, x := range s.X {
		if err := xAxis.check(x); err != nil {
			return 0, fmt.Errorf("x of point %d: %w", i, err)
		}
		if math.IsNaN(s.Y[i]) {
			continue
		}
		if err := yAxis.check(s.Y[i]); err != nil {
			return 0, fmt.Errorf("y of point %d: %w", i, err)
		}
		points++
	}
	return points, nil
}

func (a Axis) check(v float64) error {
	switch {
	case math.IsNaN(v), math.IsInf(v, 0):
		return fmt.Errorf("%v cannot be drawn", v)
	case a.Log && v <= 0:
		return fmt.Errorf("%v has no place on a logarithmic axis", v)
	default:
		return nil
	}
}

// colours returns the number of each name's colour: the least that no other name in any of its panels has.
func (p Picture) colours() map[string]int {
	colours := map[string]int{}
	for _, panel := range p.Panels {
		for _, s := range panel.Series {
			if _, known := colours[s.Name]; known {
				continue
			}
			taken := map[int]bool{}
			for _, other := range p.Panels {
				if !other.shows(s.Name) {
					continue
				}
				for _, beside := range other.Series {
					if n, known := colours[beside.Name]; known {
						taken[n] = true
					}
				}
			}
			n := 0
			for taken[n] {
				n++
			}
			colours[s.Name] = n
		}
	}
	return colours
}

func (p Panel) shows(name string) bool {
	return slices.ContainsFunc(p.Series, func(s Series) bool { return s.Name == name })
}

func (p Picture) columns() int {
	const usual = 2
	switch {
	case p.Columns > 0:
		return min(p.Columns, len(p.Panels))
	default:
		return min(usual, len(p.Panels))
	}
}
