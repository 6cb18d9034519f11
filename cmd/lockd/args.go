package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// words is a command line that has been read as far as needed to say which command it means.
//
// Package cli stops reading flags at the first word that is none, and then takes "ls -o json" or "lock NAME --try -- CMD" for a
// command without flags and a few more arguments, silently. So the words are put in order before it sees them: a flag may
// stand anywhere before "--", and a global one behind its command too.
type words struct {
	levels []level  // the program, and then each command of the path
	names  []string // what is neither flag nor command, before "--"
	rest   []string // "--" and what follows
	help   bool     // somebody asked for help
}

// level is one command of the path.
type level struct {
	name     string
	flags    []cli.Flag
	commands []*cli.Command
	given    []string // the flags that were given, as --name=value
}

// path returns the names of the commands.
func (w *words) path() []string {
	var path []string
	for _, l := range w.levels[1:] {
		path = append(path, l.name)
	}
	return path
}

func (w *words) last() *level { return &w.levels[len(w.levels)-1] }

// given returns the names of all flags that were given.
func (w *words) given() []string {
	var names []string
	for _, l := range w.levels {
		for _, f := range l.given {
			name, _, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
			names = append(names, name)
		}
	}
	return names
}

// ordered returns the words as package cli wants them: each flag behind its command, and everything else behind "--".
func (w *words) ordered() []string {
	var out []string
	for _, l := range w.levels {
		out = append(out, l.name)
		out = append(out, l.given...)
	}
	out = append(out, "--")
	out = append(out, w.names...)
	return append(out, w.rest...)
}

// read reads the words behind the program's name.
func read(app *cli.App, args []string) (*words, error) {
	w := &words{levels: []level{{name: app.Name, flags: app.Flags, commands: app.Commands}}}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			w.rest = args[i:]
			return w, nil
		case arg == "-h" || arg == "--help":
			w.help = true
		case len(arg) > 1 && arg[0] == '-':
			next, err := w.flag(args, i)
			if err != nil {
				return w, err
			}
			i = next
		default:
			if err := w.word(arg); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

// flag takes args[i], a flag, with its value, and returns the index of the last word it took.
func (w *words) flag(args []string, i int) (int, error) {
	name, value, given := strings.Cut(args[i], "=")
	bare := strings.TrimLeft(name, "-")
	l, f := w.find(bare)
	switch {
	case f == nil:
		return i, w.unknownFlag(name)
	case given:
	case takesValue(f):
		if i+1 == len(args) || args[i+1] == "--" {
			return i, w.usage(fmt.Sprintf("%s needs a value", name))
		}
		i++
		value = args[i]
	default:
		value = "true"
	}
	l.given = append(l.given, "--"+f.Names()[0]+"="+value)
	return i, nil
}

// find looks for a flag in the innermost command first.
func (w *words) find(name string) (*level, cli.Flag) {
	for i := len(w.levels) - 1; i >= 0; i-- {
		for _, f := range w.levels[i].flags {
			if slices.Contains(f.Names(), name) {
				return &w.levels[i], f
			}
		}
	}
	return nil, nil
}

// word takes a word that is no flag: a command as long as there are some to choose from, then an argument.
func (w *words) word(word string) error {
	l := w.last()
	if len(l.commands) == 0 {
		w.names = append(w.names, word)
		return nil
	}
	if word == "help" && len(w.levels) == 1 {
		w.help = true
		return nil
	}
	for _, c := range l.commands {
		if c.HasName(word) {
			w.levels = append(w.levels, level{name: c.Name, flags: c.Flags, commands: c.Subcommands})
			return nil
		}
	}
	var known []string
	for _, c := range l.commands {
		if !c.Hidden {
			known = append(known, c.Name)
		}
	}
	return w.usage(fmt.Sprintf("unknown command %q%s", word, didYouMean(word, known, "")))
}

func (w *words) unknownFlag(name string) error {
	var known []string
	for _, l := range w.levels {
		for _, f := range l.flags {
			known = append(known, f.Names()...)
		}
	}
	return w.usage(fmt.Sprintf("unknown flag %s%s", name, didYouMean(strings.TrimLeft(name, "-"), known, "--")))
}

// usage makes an error about the words that were read so far.
func (w *words) usage(text string) error { return &usageError{text: text, path: w.path()} }

func takesValue(f cli.Flag) bool {
	d, ok := f.(cli.DocGenerationFlag)
	return ok && d.TakesValue()
}

// didYouMean returns a question that names the closest of the known words, empty when none is close.
func didYouMean(word string, known []string, prefix string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, k); d < least && len(k) > 1 {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", prefix, best)
}

// distance is the number of letters to insert, delete, replace or swap with their neighbour to make b of a.
func distance(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		next := make([]int, len(b)+1)
		next[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next[j+1] = min(row[j]+cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
