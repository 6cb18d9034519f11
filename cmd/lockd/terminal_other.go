//go:build !unix

package main

import (
	"io"
	"os"
)

// isTerminal reports whether people read what is written to w.
func isTerminal(w io.Writer) bool { return columns(w) > 0 }

// columns returns the width of the terminal w, 0 if it is none.
func columns(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return 0
	}
	return defaultColumns
}
