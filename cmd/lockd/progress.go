package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const progressEvery = 200 * time.Millisecond

// progress is a line on a terminal that tells how far something is. Elsewhere it is silent.
type progress struct {
	w     io.Writer // nil: silent
	what  string
	shown time.Time
}

func (c *call) progress(what string) *progress {
	p := &progress{what: what}
	if !c.quiet && isTerminal(c.err) {
		p.w = c.err
	}
	return p
}

// show draws the line anew, but not more often than people can read. A part below 0 is not known.
func (p *progress) show(part float64, text string) {
	if p.w == nil || time.Since(p.shown) < progressEvery/2 {
		return
	}
	p.shown = time.Now()
	const width = 24
	if part >= 0 {
		done := int(min(part, 1) * width)
		text = fmt.Sprintf("[%s%s] %3.0f %%  %s", strings.Repeat("#", done), strings.Repeat(" ", width-done), min(part, 1)*100, text)
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s  %s", p.what, text)
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil && !p.shown.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// megabytes is a size for people.
func megabytes(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	}
}
