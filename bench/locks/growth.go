package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"

	"github.com/lockd/lockd/bench/chart"
	"github.com/lockd/lockd/bench/internal/rig"
)

// linear is the greatest exponent that passes for linear growth: figures of a busy machine are not exact.
const linear = 1.1

// growth is a finished measurement of all curves.
type growth struct {
	report
	systems []system
	curves  []curve
}

// grow measures all curves, prints their tables, draws them into a file, and fails when a cost grows faster than it may.
func grow(ctx context.Context, p plan, file string) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, growthLimit, fmt.Errorf("not done within %v", growthLimit))
	defer cancel()
	g := growth{report: report{Host: rig.ThisHost(compared...), Rounds: p.rounds, Scale: p.scale}, systems: p.systems, curves: curves}
	g.Measurements, err = p.run(ctx, os.Stderr)
	g.print(os.Stdout)
	if e := g.draw(file); e != nil {
		err = errors.Join(err, fmt.Errorf("draw %s: %w", file, e))
	}
	for _, m := range g.Measurements {
		if m.Figures == nil {
			err = errors.Join(err, fmt.Errorf("%s of %s: %w", m.Trial, m.System, errFailed))
		}
	}
	return errors.Join(err, g.verdict())
}

// asGrowth makes the plan one of all curves, once.
func (p *plan) asGrowth(short bool) {
	p.scale, p.rounds, p.limit, p.trials = growthFull, 1, growthTrial, points(short)
	if short {
		p.scale = growthShort
	}
}

// series returns a figure of a system along a curve: the medians of the rounds, where there are any.
func (g growth) series(c *curve, system string, l line) (xs, ys []float64) {
	for _, x := range c.at {
		var found []float64
		for _, m := range g.Measurements {
			if f, ok := m.Figures[l.key]; ok && m.System == system && m.Trial == c.point(x) {
				found = append(found, f)
			}
		}
		if len(found) > 0 {
			xs, ys = append(xs, float64(x)), append(ys, rig.Median(found))
		}
	}
	return xs, ys
}

// exponent returns the one of a figure of a system along a curve.
func (g growth) exponent(c *curve, system string, l line) (k float64, ok bool) {
	xs, ys := g.series(c, system, l)
	for i := range ys {
		if ys[i] < l.least {
			ys[i] = 0
		}
	}
	return exponent(xs, ys)
}

// exponent returns the k with which y grows as x to the power of k, by least squares of the logarithms, and false if fewer than two
// points have logarithms.
func exponent(xs, ys []float64) (k float64, ok bool) {
	var n, sx, sy, sxx, sxy float64
	for i := range xs {
		if xs[i] <= 0 || ys[i] <= 0 {
			continue
		}
		x, y := math.Log(xs[i]), math.Log(ys[i])
		n, sx, sy, sxx, sxy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	spread := n*sxx - sx*sx
	if n < 2 || spread <= 0 {
		return 0, false
	}
	return (n*sxy - sx*sy) / spread, true
}

// verdict fails when a cost of ours grows faster than linear and no reason is declared, or when it cannot be told.
func (g growth) verdict() error {
	var errs []error
	for i := range g.curves {
		c := &g.curves[i]
		for _, l := range c.lines {
			if !l.cost {
				continue
			}
			switch k, ok := g.exponent(c, lockd.name, l); {
			case !ok:
				errs = append(errs, fmt.Errorf("%s, %s: too few points to tell how it grows", c.name, l.what))
			case k > linear && l.excuse == "":
				errs = append(errs, fmt.Errorf("%s, %s: it grows with the power of %.2f, faster than linear", c.name, l.what, k))
			}
		}
	}
	return errors.Join(errs...)
}

// print writes a table for each curve, in Markdown, and what failed.
func (g growth) print(w io.Writer) {
	fmt.Fprintf(w, "%v; %d rounds of %v\n", g.Host, g.Rounds, g.Scale.Window)
	for i := range g.curves {
		g.printCurve(w, &g.curves[i])
	}
	for _, m := range g.Measurements {
		for _, why := range m.Failed {
			fmt.Fprintf(w, "\nround %d, %s of %s failed: %s\n", m.Round, m.Trial, m.System, why)
		}
	}
}

func (g growth) printCurve(w io.Writer, c *curve) {
	fmt.Fprintf(w, "\n| %s |", c.of)
	for _, l := range c.lines {
		for _, s := range g.systems {
			fmt.Fprintf(w, " %s: %s |", s.name, l.what)
		}
	}
	fmt.Fprint(w, "\n|---|", strings.Repeat("---|", len(c.lines)*len(g.systems)), "\n")
	for _, x := range c.at {
		if cells, measured := g.row(c, float64(x)); measured {
			fmt.Fprintf(w, "| %d |%s\n", x, cells)
		}
	}
	fmt.Fprint(w, "| *grows with the power of* |")
	for _, l := range c.lines {
		for _, s := range g.systems {
			k, ok := g.exponent(c, s.name, l)
			switch {
			case !ok:
				fmt.Fprint(w, " - |")
			case l.cost && s.name == lockd.name && k > linear:
				fmt.Fprintf(w, " *%.2f* ✗ |", k)
			default:
				fmt.Fprintf(w, " *%.2f* |", k)
			}
		}
	}
	fmt.Fprintln(w)
	said := ""
	for _, l := range c.lines {
		if l.excuse != "" && l.excuse != said {
			fmt.Fprintf(w, "\n%s may grow faster than linear: %s.\n", l.what, l.excuse)
			said = l.excuse
		}
	}
}

// row returns the cells of one amount.
func (g growth) row(c *curve, x float64) (cells string, measured bool) {
	var b strings.Builder
	for _, l := range c.lines {
		for _, s := range g.systems {
			cell := " - |"
			xs, ys := g.series(c, s.name, l)
			for i := range xs {
				if xs[i] == x {
					cell, measured = fmt.Sprintf(" %.*f |", l.digits, ys[i]), true
				}
			}
			b.WriteString(cell)
		}
	}
	return b.String(), measured
}

// draw writes one picture of all curves: a panel for each figure, on logarithmic axes, where the exponent is the slope.
func (g growth) draw(file string) error {
	p := chart.Picture{Title: "How cost grows", Columns: 4}
	for i := range g.curves {
		c := &g.curves[i]
		for _, l := range c.lines {
			panel := chart.Panel{Title: l.what, X: chart.Axis{Label: c.axis, Log: true}, Y: chart.Axis{Log: true}}
			for _, s := range g.systems {
				xs, ys := withLogarithms(g.series(c, s.name, l))
				if len(xs) > 0 {
					panel.Series = append(panel.Series, chart.Series{Name: s.name, X: xs, Y: ys})
				}
			}
			if len(panel.Series) > 0 {
				p.Panels = append(p.Panels, panel)
			}
		}
	}
	var b strings.Builder
	if err := p.Write(&b); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// withLogarithms leaves out the points that have no place on logarithmic axes.
func withLogarithms(xs, ys []float64) (x, y []float64) {
	for i := range xs {
		if xs[i] > 0 && ys[i] > 0 {
			x, y = append(x, xs[i]), append(y, ys[i])
		}
	}
	return x, y
}
