package reliability

import (
	_ "embed" // the table is part of the program
	"errors"
	"fmt"
	"slices"
)

// A Fault is one row of the table of what can go wrong.
type Fault struct {
	Name string `json:"fault"`
	// Section is one of Sections.
	Section string `json:"section"`
	// Kinds are the names under which tests count it.
	Kinds []string `json:"kinds,omitempty"`
	// Injected lists what injects it.
	Injected []Injection `json:"injected,omitempty"`
	// Missing says why it is not injected, or what of it is not.
	Missing string `json:"missing,omitempty"`
}

// An Injection is a test that makes a fault happen.
type Injection struct {
	Layer string `json:"layer"`
	// Target is the make target that runs it at length; empty for make test.
	Target string `json:"target,omitempty"`
	// Tests are functions, or scripts in testdata.
	Tests []string `json:"tests"`
}

// Sections returns the sections of the table of faults, in the order of the page.
func Sections() []string {
	return []string{"network", "process", "clock", "disk", "membership and versions", "client"}
}

//go:embed faults.json
var faultTable []byte

// Faults returns the table of faults.
func Faults() ([]Fault, error) {
	faults, err := decodeFaults(faultTable)
	if err != nil {
		return nil, fmt.Errorf("faults.json: %w", err)
	}
	return faults, nil
}

func decodeFaults(data []byte) ([]Fault, error) {
	faults, err := list[Fault](data)
	if err != nil {
		return nil, err
	}
	taken := map[string]string{AnyFault: "all of them", PlantedBug: "no fault"} // by name or kind
	var bad []error
	for i, f := range faults {
		if err := f.check(); err != nil {
			bad = append(bad, fmt.Errorf("entry %d (%s): %w", i+1, f.Name, err))
		}
		for _, name := range append([]string{f.Name}, f.Kinds...) {
			if other, ok := taken[name]; ok {
				bad = append(bad, fmt.Errorf("entry %d (%s): %q stands for %s already", i+1, f.Name, name, other))
			}
			taken[name] = f.Name
		}
	}
	return faults, errors.Join(bad...)
}

func (f Fault) check() error {
	var bad []error
	if f.Name == "" || !slices.Contains(Sections(), f.Section) {
		bad = append(bad, fmt.Errorf("wants a name and a section, not %q", f.Section))
	}
	if len(f.Injected) == 0 && f.Missing == "" {
		bad = append(bad, errors.New("says neither what injects it nor why nothing does"))
	}
	for _, in := range f.Injected {
		if !slices.ContainsFunc(Layers(), func(l Layer) bool { return l.Name == in.Layer }) {
			bad = append(bad, fmt.Errorf("layer %q is unknown", in.Layer))
		}
		if len(in.Tests) == 0 {
			bad = append(bad, fmt.Errorf("layer %s names no test", in.Layer))
		}
	}
	return errors.Join(bad...)
}
