package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// printJSON writes a value as people and jq like to read it.
func (c *call) printJSON(v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.out, "%s\n", b)
	return err
}

// list writes values one by one, as an array with one of them on each line, or as rows of a table.
type list struct {
	c     *call
	table table
	count int
}

func (c *call) list(head ...string) *list { return &list{c: c, table: table{head: head}} }

// add takes a value and its row.
func (l *list) add(v any, row ...string) error {
	l.count++
	if !l.c.json {
		l.table.rows = append(l.table.rows, row)
		return nil
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	before := ",\n"
	if l.count == 1 {
		before = "["
	}
	_, err = fmt.Fprintf(l.c.out, "%s%s", before, b)
	return err
}

// end writes what is left.
func (l *list) end() error {
	var err error
	switch {
	case !l.c.json:
		err = l.table.write(l.c.out, columns(l.c.out))
	case l.count == 0:
		_, err = fmt.Fprintln(l.c.out, "[]")
	default:
		_, err = fmt.Fprintln(l.c.out, "]")
	}
	return err
}

// table is what people read: columns as wide as they need to be.
type table struct {
	head []string // a name in small letters: the column can be shortened
	rows [][]string
}

const (
	gap      = 2  // between two columns
	shortest = 12 // of a column that is shortened
)

// write writes the table. On a terminal, width > 0, the widest column that can be shortened gives way for the others.
func (t *table) write(w io.Writer, width int) error {
	if len(t.rows) == 0 {
		return nil
	}
	widths := make([]int, len(t.head))
	total := -gap
	for i, h := range t.head {
		widths[i] = len(h)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
		}
		total += widths[i] + gap
	}
	for width > 0 && total > width {
		widest := -1
		for i, h := range t.head {
			if h == strings.ToLower(h) && widths[i] > shortest && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	var b strings.Builder
	writeRow := func(row []string) {
		var line strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&line, "%-*s", widths[i]+gap, shorten(cell, widths[i]))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	head := make([]string, len(t.head))
	for i, h := range t.head {
		head[i] = strings.ToUpper(h)
	}
	writeRow(head)
	for _, row := range t.rows {
		writeRow(row)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// shorten cuts the middle out of a text that is too wide: names differ at their ends.
func shorten(s string, width int) string {
	runes := []rune(s)
	if len(runes) <= width {
		return s
	}
	left := (width - 1) / 2
	return string(runes[:left]) + "…" + string(runes[len(runes)-(width-1-left):])
}

// milliseconds is how every duration stands in JSON.
func milliseconds(d time.Duration) int64 { return d.Milliseconds() }

// about is a duration for people: two units at most.
func about(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return shortDuration(d.Round(time.Second))
	case d < 48*time.Hour:
		return shortDuration(d.Round(time.Minute))
	default:
		hours := int64(d / time.Hour)
		return fmt.Sprintf("%dd%dh", hours/24, hours%24)
	}
}

// moment is a time as JSON and people get it.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// printable is a value of a lock as text if it is one.
func printable(v []byte) string {
	if !utf8.Valid(v) {
		return fmt.Sprintf("%d bytes", len(v))
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(v))
}
