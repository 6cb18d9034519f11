package reliability

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Where the page and its figures lie, from the root of the repository.
const (
	Page    = "docs/RELIABILITY.md"
	Figures = "docs/reliability.json"
)

// sources are all that the page is made of.
type sources struct {
	files    map[string]string // of tests, as seen from the page
	runs     []Run
	faults   []Fault
	promises []Promise
	bugs     []Bug
}

// Generate returns the page for the repository at root.
func Generate(root string) ([]byte, error) {
	var s sources
	var errs [5]error
	s.runs, errs[0] = Load(filepath.Join(root, Figures))
	s.faults, errs[1] = Faults()
	s.promises, errs[2] = read(root, PromiseTable, DecodePromises)
	s.bugs, errs[3] = read(root, TrackRecord, DecodeBugs)
	s.files, errs[4] = testFiles(root)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	w := &writer{}
	w.head(s)
	w.promises(s.promises, s.files)
	w.layers(s.runs)
	w.planted(s.runs)
	w.faults(s)
	w.matrix(s.faults)
	w.record(s.bugs)
	w.entries(s.runs)
	return bytes.TrimSuffix(w.Bytes(), []byte("\n")), nil
}

func read[T any](root, name string, decode func([]byte) ([]T, error)) ([]T, error) {
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		return nil, fmt.Errorf("read what the page is made of: %w", err)
	}
	all, err := decode(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return all, nil
}

// A writer collects Markdown.
type writer struct{ bytes.Buffer }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

func (w *writer) row(cells ...string) {
	for _, c := range cells {
		w.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
	}
	w.line("|")
}

// table begins a table; titles that begin with # stand over numbers.
func (w *writer) table(titles ...string) {
	var rule strings.Builder
	for i, t := range titles {
		rule.WriteString("|---")
		if number, ok := strings.CutPrefix(t, "#"); ok {
			titles[i] = number
			rule.WriteString(":")
		}
	}
	w.row(titles...)
	w.line("%s|", &rule)
}

func (w *writer) head(s sources) {
	w.line("# How reliable lockd is, in figures")
	w.line("")
	w.line("What is promised, what was done to break it, how often, and what was found. Nobody edits this page by hand:")
	w.line("`go run ./internal/reliability/scorecard -write` writes it from [reliability.json](reliability.json), to which the longer tests append")
	w.line("what they have done (`%s=%s make sim`), and from the tables in `internal/reliability`; a test compares them. How", Variable, Figures)
	w.line("each kind of test works is said in [TESTING.md](TESTING.md), the promises at length in [GUARANTEES.md](GUARANTEES.md).")
	w.line("")
	var total Score
	for _, layer := range ByLayer(s.runs) {
		total.Runs += layer.Runs
		total.Operations += layer.Operations
		total.Simulated += layer.Simulated
		total.Open += layer.Open
		total.Ever += layer.Ever
		total.Injections += layer.Injections
		total.Caught += layer.Caught
		total.Planted += layer.Planted
	}
	w.line("So far: **%s runs, %s injected faults, %s hours of cluster time in simulators, %s operations checked; %s.**", number(total.Runs),
		number(total.Injections), hours(total.Simulated), number(total.Operations), violations(total))
	if total.Planted > 0 {
		w.line("Of %s bugs planted on purpose the tests find %s.", number(total.Planted), number(total.Caught))
	}
	w.line("Of %d bugs of lockd's own that were ever found all are fixed, and %d were seen once more by a command that anybody can run.", len(s.bugs), shown(s.bugs))
	w.line("")
}

func shown(bugs []Bug) int {
	n := 0
	for _, b := range bugs {
		if b.Show.Last != "" {
			n++
		}
	}
	return n
}

func violations(s Score) string {
	if s.Ever == 0 {
		return "no violation"
	}
	return fmt.Sprintf("%d violations, of which %d are open", s.Ever, s.Open)
}

func (w *writer) promises(promises []Promise, files map[string]string) {
	w.line("## What is promised")
	w.line("")
	w.table("promise", "repeat with", "Test")
	for _, p := range promises {
		if !p.Not {
			w.row(p.Promise, code(p.Repeat), links(p.Tests, files))
		}
	}
	w.line("")
	w.line("Not promised:")
	w.line("")
	for _, p := range promises {
		if p.Not {
			w.line("* %s", p.Promise)
		}
	}
	w.line("")
}

func (w *writer) layers(runs []Run) {
	w.line("## What was run")
	w.line("")
	w.line("A *layer* is a kind of test; a *run* one cluster with the misfortunes that its seed drew, one round of kills, one black hole. *Violations*")
	w.line("are open / ever. An *unknown verdict* is a checker that came to no end: not passed. The *bound* is the rule of three: after N independent")
	w.line("runs without a violation a run shows one with a probability below 3/N (95 %%). It holds for these tests and their faults, not for")
	w.line("the world.")
	w.line("")
	w.table("layer", "what it is", "#runs", "#injections", "#simulated hours", "#operations checked", "#violations", "#unknown", "#planted bugs caught", "#bound", "in words")
	text := map[string]string{}
	for _, l := range Layers() {
		text[l.Name] = l.Text
	}
	for _, s := range ByLayer(runs) {
		planted := ""
		if s.Planted > 0 {
			planted = fmt.Sprintf("%d of %d", s.Caught, s.Planted)
		}
		bound, words := bound(s)
		w.row(s.Layer, text[s.Layer], number(s.Runs), number(s.Injections), hours(s.Simulated), number(s.Operations),
			fmt.Sprintf("%d / %d", s.Open, s.Ever), strconv.FormatInt(s.Unknown, 10), planted, bound, words)
	}
	w.line("")
}

// bound returns 3/N as a number and in words.
func bound(s Score) (figure, words string) {
	b := s.Bound()
	if b >= 1 {
		return "", "too few runs to say anything"
	}
	return strconv.FormatFloat(b, 'g', 2, 64), fmt.Sprintf("fewer than one run in %s", number(int64(1/b)))
}

func (w *writer) planted(runs []Run) {
	w.line("## Planted bugs")
	w.line("")
	w.line("Bugs put into the source on purpose, one at a time, each with the test that must find it (`make mutants`). A test that finds none proves")
	w.line("nothing when it passes.")
	w.line("")
	w.table("package", "found by layer", "#planted", "#caught", "date", "commit")
	for _, r := range Planted(runs) {
		w.row(code(r.Package), r.Layer, number(r.Injections), number(r.Caught), r.Date, code(r.Commit))
	}
	w.line("")
}

func (w *writer) faults(s sources) {
	w.line("## Faults, by layer")
	w.line("")
	w.line("Runs that met a fault among others, how often it happened in them, and what was checked in the same runs.")
	w.line("")
	w.table("fault", "layer", "#runs", "#injections", "#simulated hours", "#operations checked", "#violations", "#unknown", "#bound")
	for _, f := range ByFault(s.runs, s.faults) {
		figure, _ := bound(f)
		w.row(f.Fault, f.Layer, number(f.Runs), number(f.Injections), hours(f.Simulated), number(f.Operations),
			fmt.Sprintf("%d / %d", f.Open, f.Ever), strconv.FormatInt(f.Unknown, 10), figure)
	}
	w.line("")
}

func (w *writer) matrix(faults []Fault) {
	w.line("## Every fault, and what injects it")
	w.line("")
	w.line("What can go wrong, whether it is injected at all, where, and what is missing. A target is one of the Makefile; without one, `make test`.")
	w.line("")
	for _, section := range Sections() {
		w.line("### %s", strings.ToUpper(section[:1])+section[1:])
		w.line("")
		w.table("fault", "layer", "target", "Test")
		var gaps []string
		for _, f := range faults {
			if f.Section != section {
				continue
			}
			for i, in := range f.Injected {
				name := f.Name
				if i > 0 {
					name = ""
				}
				target := "test"
				if in.Target != "" {
					target = in.Target
				}
				w.row(name, in.Layer, code("make "+target), codes(in.Tests))
			}
			if f.Missing != "" {
				gaps = append(gaps, "* *"+f.Name+"*: "+f.Missing+".")
			}
		}
		w.line("")
		if len(gaps) > 0 {
			w.line("Not there, or not wholly:")
			w.line("")
			w.line("%s", strings.Join(gaps, "\n"))
			w.line("")
		}
	}
}

func (w *writer) record(bugs []Bug) {
	w.line("## Track record")
	w.line("")
	w.line("Every bug of correctness or liveness that was ever found, all before the first release. *Safety*: an invariant or a promise could be broken.")
	w.line("*Liveness*: something came to no end, or grew without one. *Introduced* is the commit that wrote the lines, as far as it can be told.")
	w.line("`go run ./internal/reliability/scorecard -reproduce ID` shows a bug, in a clone of its own: the test that came with the fix fails on the commit")
	w.line("before it, and passes on it;")
	w.line("where that cannot be, the bug is planted again in the present source, and its test must find it. *Shown* is when it last did.")
	w.line("")
	for _, area := range Areas() {
		w.line("### %s", strings.ToUpper(area[:1])+area[1:])
		w.line("")
		w.table("id", "bug", "severity", "introduced", "found by", "fixed in", "shown", "Test")
		for _, b := range bugs {
			if b.Area == area {
				w.row(code(b.ID), b.Bug, b.Severity, b.Introduced, b.FoundBy, strings.Join(b.Fixed, ", "), b.Show.text(), codes(b.Tests))
			}
		}
		w.line("")
	}
}

// text says how and when the bug was last seen.
func (s Show) text() string {
	text := s.Never
	switch {
	case s.Run != "":
		text = "before the fix"
	case s.Mutant != "":
		text = "planted again, as " + s.Never
	}
	if s.Last == "" {
		return text
	}
	return s.Last + ", " + text
}

func (w *writer) entries(runs []Run) {
	w.line("## How to repeat a run")
	w.line("")
	w.line("Each run as a whole, with its commit and its seeds: the same seed on the same commit of a simulator is the same run. Where the commit")
	w.line("ends in `-dirty` the source had changes that were committed later; such is also every run from before there was this record, with the")
	w.line("commit that was the newest when it ended.")
	w.line("")
	w.table("date", "commit", "#runs", "seeds", "#operations", "#violations", "repeat with")
	for _, r := range runs {
		if r.Fault == AnyFault {
			w.row(r.Date, code(r.Commit), number(r.Runs), r.Seeds, number(r.Operations), strconv.FormatInt(r.Violations, 10), code(r.Command))
		}
	}
	w.line("")
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

func codes(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }

// links leads from the names of tests, with or without their directory, to their source.
func links(names []string, files map[string]string) string {
	var all []string
	for _, name := range names {
		file := files[name]
		if file == "" {
			all = append(all, code(name))
			continue
		}
		all = append(all, "["+code(name[strings.LastIndex(name, ".")+1:])+"]("+file+")")
	}
	return strings.Join(all, ", ")
}

// number writes thousands apart, and nothing for what was not counted.
func number(n int64) string {
	if n == 0 {
		return ""
	}
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func hours(d time.Duration) string {
	if h := d.Hours(); h > 0 && h < 100 {
		return strconv.FormatFloat(h, 'f', 1, 64)
	}
	return number(int64(d.Hours()))
}
