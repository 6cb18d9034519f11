package chart

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Sizes, in the units of the picture.
const (
	pictureWidth = 960.0
	aloneWidth   = 720.0 // of a picture of one panel
	border       = 16.0
	titleHeight  = 30.0
	gap          = 24.0 // between panels
	plotHeight   = 200.0
	leftMargin   = 58.0 // of a panel, for the labels
	rightMargin  = 14.0
	headHeight   = 24.0 // of a panel, for its title
	legendHeight = 17.0 // of a row
	footHeight   = 40.0
	letterWidth  = 6.4 // of small text, on average
	keyWidth     = 24.0
	sparse       = 40 // points, up to which each one gets a dot
)

// The colours differ for those too who do not see all of them, each on its own ground: c0 to c7 are lines, e0 to e3 events.
const style = `<style>
text{font:12px system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#1f2328}
.t{font-size:17px;font-weight:600}.h{font-size:14px;font-weight:600}.s{fill:#59636e}
.ground{fill:#fff}.grid{stroke:#d8dee4;fill:none}.axis{stroke:#818b98;fill:none}
.l{fill:none;stroke-width:1.8;stroke-linejoin:round;stroke-linecap:round}.d{stroke-dasharray:6 4}.e{stroke-width:1;stroke-dasharray:2 3;fill:none}
.c0{stroke:#0969da}.c1{stroke:#d1570a}.c2{stroke:#1a7f37}.c3{stroke:#8250df}.c4{stroke:#bf3989}.c5{stroke:#0b8a93}.c6{stroke:#9a6700}.c7{stroke:#57606a}
.e0{stroke:#818b98}.e1{stroke:#cf222e}.e2{stroke:#8250df}.e3{stroke:#1a7f37}
@media(prefers-color-scheme:dark){
text{fill:#e6edf3}.s{fill:#9198a1}.ground{fill:#0d1117}.grid{stroke:#2a313c}.axis{stroke:#656c76}
.c0{stroke:#58a6ff}.c1{stroke:#f0883e}.c2{stroke:#3fb950}.c3{stroke:#bc8cff}.c4{stroke:#f778ba}.c5{stroke:#39c5cf}.c6{stroke:#d29922}.c7{stroke:#9198a1}
.e0{stroke:#656c76}.e1{stroke:#ff7b72}.e2{stroke:#bc8cff}.e3{stroke:#3fb950}}
</style>
`

const eventColours = 4

// canvas draws a picture.
type canvas struct {
	b       *bytes.Buffer
	p       Picture
	colours map[string]int
	events  map[string]int
	panel   float64 // width of one
}

func newCanvas(b *bytes.Buffer, p Picture) *canvas {
	c := &canvas{b: b, p: p, colours: p.colours(), events: map[string]int{}}
	for _, panel := range p.Panels {
		for _, e := range panel.Events {
			if _, known := c.events[e.Name]; !known {
				c.events[e.Name] = len(c.events)
			}
		}
	}
	return c
}

func (c *canvas) draw() {
	columns, width := c.p.columns(), pictureWidth
	if columns == 1 {
		width = aloneWidth
	}
	c.panel = (width - 2*border - gap*float64(columns-1)) / float64(columns)
	top := border
	if c.p.Title != "" {
		top += titleHeight
	}
	rows := slices.Collect(slices.Chunk(c.p.Panels, columns))
	height := top + border - gap
	for _, row := range rows {
		height += c.rowHeight(row) + gap
	}
	label := c.p.Title
	if label == "" {
		label = c.p.Panels[0].Title
	}
	c.printf(`<svg xmlns="http://www.w3.org/2000/svg" width="%s" height="%s" viewBox="0 0 %[1]s %[2]s" role="img">`+"\n", num(width), num(height))
	c.printf("<title>%s</title>\n%s", escaped(label), style)
	c.printf(`<rect class="ground" width="%s" height="%s" rx="6"/>`+"\n", num(width), num(height))
	if c.p.Title != "" {
		c.text(border, border+titleHeight/2, "t", "start", c.p.Title)
	}
	for _, row := range rows {
		for i, p := range row {
			c.drawPanel(p, border+float64(i)*(c.panel+gap), top, c.legendRows(row))
		}
		top += c.rowHeight(row) + gap
	}
	c.printf("</svg>\n")
}

func (c *canvas) rowHeight(row []Panel) float64 {
	return headHeight + float64(c.legendRows(row))*legendHeight + plotHeight + footHeight
}

// legendRows is how many rows the longest legend of a row of panels takes.
func (c *canvas) legendRows(row []Panel) int {
	rows := 0
	for _, p := range row {
		rows = max(rows, len(c.legend(p)))
	}
	return rows
}

// key is an entry of a legend.
type key struct {
	name, class string
	event       bool
}

// width is about what it takes.
func (k key) width() float64 { return keyWidth + letterWidth*float64(len([]rune(k.name))) + border }

// legend returns the entries of a panel, in rows.
func (c *canvas) legend(p Panel) (rows [][]key) {
	var keys []key
	for _, s := range p.Series {
		keys = append(keys, key{s.Name, c.lineClass(s), false})
	}
	for _, e := range p.Events {
		if len(e.At) > 0 {
			keys = append(keys, key{e.Name, c.eventClass(e), true})
		}
	}
	left := 0.0
	for _, k := range keys {
		if left -= k.width(); left < 0 {
			rows, left = append(rows, nil), c.panel-leftMargin-k.width()
		}
		rows[len(rows)-1] = append(rows[len(rows)-1], k)
	}
	return rows
}

func (c *canvas) lineClass(s Series) string {
	class := fmt.Sprint("l c", c.colours[s.Name])
	if s.Dashed {
		class += " d"
	}
	return class
}

func (c *canvas) eventClass(e Events) string { return fmt.Sprint("e e", c.events[e.Name]%eventColours) }

// drawPanel draws one panel with its upper left corner at x, y and that many rows of space for the legend.
func (c *canvas) drawPanel(p Panel, x, y float64, legendRows int) {
	c.printf("<g>\n")
	c.text(x, y+headHeight/2+2, "h", "start", p.Title)
	y += headHeight
	for _, row := range c.legend(p) {
		c.drawLegend(row, x+leftMargin, y+legendHeight/2)
		y += legendHeight
	}
	for range legendRows - len(c.legend(p)) {
		y += legendHeight
	}
	var xs, ys []float64
	for _, s := range p.Series {
		for i, v := range s.Y {
			if !math.IsNaN(v) {
				xs, ys = append(xs, s.X[i]), append(ys, v)
			}
		}
	}
	for _, e := range p.Events {
		xs = append(xs, e.At...)
	}
	const room = 8 // above the plot
	sx, sy := across(xs, p.X.Log), upwards(ys, p.Y.Log)
	sx.from, sx.to = x+leftMargin, x+c.panel-rightMargin
	sy.from, sy.to = y+plotHeight, y+room
	c.drawAxes(p, x, sx, sy)
	for _, e := range p.Events {
		c.drawEvents(e, sx, sy)
	}
	for _, s := range p.Series {
		c.drawSeries(s, sx, sy)
	}
	c.printf("</g>\n")
}

func (c *canvas) drawLegend(row []key, x, y float64) {
	const line, rise = 18.0, 4.0
	for _, k := range row {
		if k.event {
			c.printf(`<path class="%s" d="M%s %sv%s"/>`+"\n", k.class, num(x+line/2), num(y-rise-2), num(2*rise+4))
		} else {
			c.printf(`<path class="%s" d="M%s %sh%s"/>`+"\n", k.class, num(x), num(y), num(line))
		}
		c.text(x+keyWidth, y+rise, "", "start", k.name)
		x += k.width()
	}
}

func (c *canvas) drawAxes(p Panel, x float64, sx, sy scale) {
	const below, beside, baseline = 17.0, 7.0, 4.0
	var grid strings.Builder
	for _, v := range sy.ticks {
		fmt.Fprintf(&grid, "M%s %sH%s", num(sx.from), num(sy.at(v)), num(sx.to))
		c.text(sx.from-beside, sy.at(v)+baseline, "s", "end", name(v))
	}
	taken := math.Inf(-1)
	for _, v := range sx.ticks {
		at, text := sx.at(v), name(v)
		fmt.Fprintf(&grid, "M%s %sV%s", num(at), num(sy.from), num(sy.to))
		half := letterWidth * float64(len(text)+1) / 2
		if at-half < taken { // no room beside the one before
			continue
		}
		c.text(at, sy.from+below, "s", "middle", text)
		taken = at + half
	}
	c.printf(`<path class="grid" d="%s"/>`+"\n", &grid)
	c.printf(`<path class="axis" d="M%s %sV%sH%s"/>`+"\n", num(sx.from), num(sy.to), num(sy.from), num(sx.to))
	c.text((sx.from+sx.to)/2, sy.from+footHeight-5, "", "middle", p.X.Label)
	middle := (sy.from + sy.to) / 2
	c.printf(`<text transform="translate(%s %s)rotate(-90)" text-anchor="middle">%s</text>`+"\n", num(x+11), num(middle), escaped(p.Y.Label))
}

func (c *canvas) drawEvents(e Events, sx, sy scale) {
	if len(e.At) == 0 {
		return
	}
	c.printf(`<path class="%s" d="`, c.eventClass(e))
	for _, v := range e.At {
		c.printf("M%s %sV%s", num(sx.at(v)), num(sy.from), num(sy.to))
	}
	c.printf(`"/>` + "\n")
}

// point is a place in the picture.
type point struct{ x, y float64 }

func (c *canvas) drawSeries(s Series, sx, sy scale) {
	var path, dots strings.Builder
	total := 0
	for _, run := range unbroken(s, sx, sy) {
		total += len(run)
		for i, p := range thinned(run) {
			letter := "L"
			if i == 0 {
				letter = "M"
			}
			fmt.Fprintf(&path, "%s%s %s", letter, num(p.x), num(p.y))
		}
		for _, p := range run {
			fmt.Fprintf(&dots, "M%s %sh0", num(p.x), num(p.y))
		}
	}
	if total == 0 {
		return
	}
	c.printf(`<path class="%s" d="%s"><title>%s</title></path>`+"\n", c.lineClass(s), &path, escaped(s.Name))
	if total <= sparse && !s.Dashed { // a stroke of no length with round ends is a dot
		c.printf(`<path class="l c%d" style="stroke-width:6" d="%s"/>`+"\n", c.colours[s.Name], &dots)
	}
}

// unbroken returns the runs of points between those that are missing.
func unbroken(s Series, sx, sy scale) (runs [][]point) {
	open := false
	for i, v := range s.Y {
		if math.IsNaN(v) {
			open = false
			continue
		}
		if !open {
			runs, open = append(runs, nil), true
		}
		runs[len(runs)-1] = append(runs[len(runs)-1], point{sx.at(s.X[i]), sy.at(v)})
	}
	return runs
}

// thinned leaves of a long run the highest and the lowest point of each column of the picture.
func thinned(run []point) []point {
	const column, long = 1.0, 1000
	if len(run) <= long {
		return run
	}
	type extremes struct{ low, high int }
	columns := map[int]extremes{}
	for i, p := range run {
		at := int(p.x / column)
		e, known := columns[at]
		if !known {
			e = extremes{i, i}
		}
		if p.y < run[e.low].y {
			e.low = i
		}
		if p.y > run[e.high].y {
			e.high = i
		}
		columns[at] = e
	}
	kept := []int{0, len(run) - 1}
	for _, e := range columns {
		kept = append(kept, e.low, e.high)
	}
	slices.Sort(kept)
	var thin []point
	for _, i := range slices.Compact(kept) {
		thin = append(thin, run[i])
	}
	return thin
}

func (c *canvas) text(x, y float64, class, anchor, text string) {
	if text == "" {
		return
	}
	attributes := ""
	if class != "" {
		attributes += ` class="` + class + `"`
	}
	if anchor != "start" {
		attributes += ` text-anchor="` + anchor + `"`
	}
	c.printf(`<text x="%s" y="%s"%s>%s</text>`+"\n", num(x), num(y), attributes, escaped(text))
}

func (c *canvas) printf(format string, args ...any) { fmt.Fprintf(c.b, format, args...) }

// num writes a coordinate as short as it can be seen.
func num(v float64) string {
	const tenth = 10
	return strconv.FormatFloat(math.Round(v*tenth)/tenth, 'f', -1, 64)
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a Buffer takes everything
	return b.String()
}
