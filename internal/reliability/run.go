package reliability

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Values of Run.Fault that are no fault of their own.
const (
	// AnyFault stands for a run as a whole, with all its faults. Only these entries are counted in totals, as the others share their
	// operations and their time with it.
	AnyFault = "any"
	// PlantedBug stands for bugs put into the source on purpose: Injections says how many, Caught how many of them were found.
	PlantedBug = "planted bug"
)

// A Layer is a kind of test, from the machines alone up to processes on hosts of their own.
type Layer struct {
	Name string // as in Run.Layer
	Text string // for the page
}

// Layers returns all layers, in the order of the page.
func Layers() []Layer {
	return []Layer{
		{"unit", "one package alone: scripts, naive models, fuzzing, every instant of a crash"},
		{"raft-sim", "raft and its log in virtual time, thousands of clusters drawn by seed"},
		{"protocol-sim", "sessions, lock table and clients in virtual time, over a model of raft"},
		{"sim", "the whole service in virtual time: raft, log, sessions, locks, checkpoints and clients"},
		{"cluster", "whole nodes and clients in one process, over a network in memory or loopback"},
		{"process", "nodes in processes of their own on one host"},
		{"disk", "real file systems that lose power, fill up or fail"},
		{"nemesis", "processes on hosts of their own (network namespaces) under every fault that can be made there"},
		{"soak", "nodes under load for a long time"},
	}
}

// A Run is one entry of the scorecard: what one target has done about one fault, or as a whole.
type Run struct {
	Date       string        // YYYY-MM-DD, UTC; filled in by Record
	Commit     string        // with the suffix -dirty when the source had changes; filled in by Record
	Target     string        // the make target, or the package and test: "sim"
	Layer      string        // the Name of a Layer
	Fault      string        // of faults.json, or AnyFault, or PlantedBug
	Package    string        // whose planted bugs; empty otherwise
	Runs       int64         // independent runs: seeds, rounds, kills
	Injections int64         // how often the fault happened, in all Runs together
	Operations int64         // requests, grants or histories that were checked
	Simulated  time.Duration // cluster time that passed, in all Runs together; whole seconds are kept
	Violations int64         // of a promise or an invariant
	Unknown    int64         // verdicts that a checker could not give: not passed
	Caught     int64         // of PlantedBug, how many
	Seeds      string        // "1-5000", or one seed, or empty
	Command    string        // how to repeat it
	Fixed      string        // the commit that mended what the violations showed; empty: they are open
}

// entry is a Run in a file.
type entry struct {
	Date       string `json:"date"`
	Commit     string `json:"commit"`
	Target     string `json:"target"`
	Layer      string `json:"layer"`
	Fault      string `json:"fault"`
	Package    string `json:"package,omitempty"`
	Runs       int64  `json:"runs"`
	Injections int64  `json:"injections,omitempty"`
	Operations int64  `json:"operations,omitempty"`
	Simulated  int64  `json:"simulated_seconds,omitempty"`
	Violations int64  `json:"violations,omitempty"`
	Unknown    int64  `json:"unknown,omitempty"`
	Caught     int64  `json:"caught,omitempty"`
	Seeds      string `json:"seeds,omitempty"`
	Command    string `json:"command"`
	Fixed      string `json:"fixed,omitempty"`
}

func (r Run) entry() entry {
	return entry{
		Date: r.Date, Commit: r.Commit, Target: r.Target, Layer: r.Layer, Fault: r.Fault, Package: r.Package, Runs: r.Runs,
		Injections: r.Injections, Operations: r.Operations, Simulated: int64(r.Simulated / time.Second), Violations: r.Violations,
		Unknown: r.Unknown, Caught: r.Caught, Seeds: r.Seeds, Command: r.Command, Fixed: r.Fixed,
	}
}

func (e entry) run() Run {
	return Run{
		Date: e.Date, Commit: e.Commit, Target: e.Target, Layer: e.Layer, Fault: e.Fault, Package: e.Package, Runs: e.Runs,
		Injections: e.Injections, Operations: e.Operations, Simulated: time.Duration(e.Simulated) * time.Second, Violations: e.Violations,
		Unknown: e.Unknown, Caught: e.Caught, Seeds: e.Seeds, Command: e.Command, Fixed: e.Fixed,
	}
}

// Decode reads the entries of a scorecard, and checks each.
func Decode(data []byte) ([]Run, error) {
	entries, err := list[entry](data)
	if err != nil {
		return nil, err
	}
	faults, err := Faults()
	if err != nil {
		return nil, err
	}
	runs := make([]Run, len(entries))
	var bad []error
	for i, e := range entries {
		runs[i] = e.run()
		if err := runs[i].check(faults); err != nil {
			bad = append(bad, fmt.Errorf("entry %d (%s, %s, %s, %s): %w", i+1, e.Date, e.Target, e.Layer, e.Fault, err))
		}
	}
	return runs, errors.Join(bad...)
}

// Encode is the reverse of Decode: one entry on each line, so that a change of one is a change of one line.
func Encode(runs []Run) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("[")
	for i, r := range runs {
		if i > 0 {
			b.WriteString(",")
		}
		line, err := json.Marshal(r.entry())
		if err != nil {
			return nil, fmt.Errorf("encode a run of %s: %w", r.Target, err)
		}
		b.WriteString("\n" + string(line))
	}
	b.WriteString("\n]\n")
	return b.Bytes(), nil
}

// list decodes a JSON array strictly: an error names the element.
func list[T any](data []byte) ([]T, error) {
	var raw []json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("not a list: %w", err)
	}
	all := make([]T, len(raw))
	var bad []error
	for i, element := range raw {
		d := json.NewDecoder(bytes.NewReader(element))
		d.DisallowUnknownFields()
		if err := d.Decode(&all[i]); err != nil {
			bad = append(bad, fmt.Errorf("entry %d (%.80s): %w", i+1, element, err))
		}
	}
	return all, errors.Join(bad...)
}

var commitName = regexp.MustCompile(`^[0-9a-f]{7,40}(-dirty)?$`)

// check says what cannot be.
func (r Run) check(faults []Fault) error {
	var bad []error
	wrong := func(format string, args ...any) { bad = append(bad, fmt.Errorf(format, args...)) }
	if _, err := time.Parse(time.DateOnly, r.Date); err != nil {
		wrong("date %q is not YYYY-MM-DD", r.Date)
	}
	if !commitName.MatchString(r.Commit) {
		wrong("commit %q is none", r.Commit)
	}
	if !slices.ContainsFunc(Layers(), func(l Layer) bool { return l.Name == r.Layer }) {
		wrong("layer %q is unknown", r.Layer)
	}
	if r.Fault != AnyFault && r.Fault != PlantedBug && !slices.ContainsFunc(faults, func(f Fault) bool { return f.Name == r.Fault }) {
		wrong("fault %q is unknown: add it to internal/reliability/faults.json", r.Fault)
	}
	if r.Target == "" || r.Command == "" {
		wrong("wants a target and a command")
	}
	if r.Runs < 1 {
		wrong("runs are %d", r.Runs)
	}
	if min(r.Injections, r.Operations, int64(r.Simulated), r.Violations, r.Unknown, r.Caught) < 0 {
		wrong("a number is negative")
	}
	if r.Injections == 0 && r.Fault != AnyFault {
		wrong("a fault that never happened proves nothing")
	}
	if r.Fixed != "" && (r.Violations == 0 || !commitName.MatchString(r.Fixed)) {
		wrong("fixed in %q, with %d violations", r.Fixed, r.Violations)
	}
	return errors.Join(append(bad, r.checkPlanted(), r.checkSeeds())...)
}

func (r Run) checkPlanted() error {
	switch {
	case r.Fault != PlantedBug && (r.Caught != 0 || r.Package != ""):
		return errors.New("only planted bugs are caught, or belong to a package")
	case r.Fault == PlantedBug && r.Package == "":
		return errors.New("planted bugs belong to a package")
	case r.Caught > r.Injections:
		return fmt.Errorf("%d planted bugs caught of %d", r.Caught, r.Injections)
	}
	return nil
}

func (r Run) checkSeeds() error {
	if r.Seeds == "" {
		return nil
	}
	first, last, err := seedRange(r.Seeds)
	switch {
	case err != nil:
		return err
	case first != last && r.Runs > int64(last-first)+1:
		return fmt.Errorf("%d runs of the seeds %s", r.Runs, r.Seeds)
	}
	return nil
}

// SeedRange returns the text of the n seeds from first on, for Run.Seeds.
func SeedRange(first, n uint64) string {
	if n <= 1 {
		return strconv.FormatUint(first, 10)
	}
	return fmt.Sprintf("%d-%d", first, first+n-1)
}

func seedRange(s string) (first, last uint64, err error) {
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	first, err = strconv.ParseUint(from, 10, 64)
	if err == nil {
		last, err = strconv.ParseUint(to, 10, 64)
	}
	if err != nil || last < first || isRange && last == first {
		return 0, 0, fmt.Errorf("seeds %q are neither N nor N-M", s)
	}
	return first, last, nil
}
