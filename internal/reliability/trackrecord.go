package reliability

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Bug is one entry of the track record.
type Bug struct {
	ID   string `json:"id"`
	Area string `json:"area"` // one of Areas
	Bug  string `json:"bug"`  // what went wrong, as a user or an operator would see it
	// Severity is one of Severities.
	Severity string `json:"severity"`
	// Introduced is the commit that wrote the lines at fault, as far as it can be told.
	Introduced string   `json:"introduced"`
	FoundBy    string   `json:"found_by"`
	Fixed      []string `json:"fixed"` // commits, the deciding one first
	Tests      []string `json:"tests"` // that show it, as in docs/TESTING.md
	Show       Show     `json:"show"`
}

// Show says how to see a bug: on the commit before the one that fixed it, or, where the test needs what came later, planted again.
type Show struct {
	// Run is a go test, with its variables, that fails before the fix and passes after it.
	Run string `json:"run,omitempty"`
	// From is the commit of the test; empty for that of the fix.
	From string `json:"from,omitempty"`
	// Files of From that are put over both sides; empty for the tests and test data which From changed.
	Files []string `json:"files,omitempty"`
	// Passes is the commit on which it passes; empty for that of the fix. A later one where the commit of the fix does not build alone.
	Passes string `json:"passes,omitempty"`
	// Mutant is a planted bug that is this one.
	Mutant string `json:"mutant,omitempty"`
	// Never says why neither is possible, or why Run is missing.
	Never string `json:"never,omitempty"`
	// Last is the date on which it was last seen so, YYYY-MM-DD.
	Last string `json:"last,omitempty"`
}

// Areas returns what the track record is divided into, in the order of the page.
func Areas() []string { return []string{"raft", "sessions and locks", "servers and clients"} }

// Severities returns how bad a bug can be, worst first: an invariant or promise was broken; something never came to an end, or grew
// without one; anything else that is not as it should be.
func Severities() []string { return []string{"safety", "liveness", "other"} }

// TrackRecord and PromiseTable are where the tables lie, from the root of the repository.
const (
	TrackRecord  = "internal/reliability/trackrecord.json"
	PromiseTable = "internal/reliability/promises.json"
)

// DecodeBugs reads a track record, and checks each entry.
func DecodeBugs(data []byte) ([]Bug, error) {
	bugs, err := list[Bug](data)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var bad []error
	for i, b := range bugs {
		err := b.check()
		if seen[b.ID] {
			err = errors.Join(err, errors.New("its id is taken"))
		}
		seen[b.ID] = true
		if err != nil {
			bad = append(bad, fmt.Errorf("entry %d (%s): %w", i+1, b.ID, err))
		}
	}
	return bugs, errors.Join(bad...)
}

var bugID = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)+$`)

func (b Bug) check() error {
	var bad []error
	wrong := func(format string, args ...any) { bad = append(bad, fmt.Errorf(format, args...)) }
	if !bugID.MatchString(b.ID) || b.Bug == "" || b.FoundBy == "" {
		wrong("wants an id of words and dashes, what it was, and by whom it was found")
	}
	if !slices.Contains(Areas(), b.Area) || !slices.Contains(Severities(), b.Severity) {
		wrong("area %q or severity %q is unknown", b.Area, b.Severity)
	}
	if len(b.Fixed) == 0 || len(b.Tests) == 0 {
		wrong("wants a commit that fixed it, and a test")
	}
	for _, commit := range append([]string{b.Introduced}, b.Fixed...) {
		if !commitName.MatchString(commit) {
			wrong("commit %q is none", commit)
		}
	}
	return errors.Join(append(bad, b.Show.check())...)
}

func (s Show) check() error {
	var bad []error
	if s.Run == "" && s.Never == "" {
		bad = append(bad, errors.New("wants a test to run on the old commit, or why there is none"))
	}
	if s.Run == "" && (s.From != "" || len(s.Files) > 0) {
		bad = append(bad, errors.New("names files for a test that is not run"))
	}
	if s.Run != "" && !strings.Contains(s.Run, "go test ") {
		bad = append(bad, fmt.Errorf("%q is no go test", s.Run))
	}
	for _, commit := range []string{s.From, s.Passes} {
		if commit != "" && !commitName.MatchString(commit) {
			bad = append(bad, fmt.Errorf("commit %q is none", commit))
		}
	}
	for _, f := range s.Files {
		if !filepath.IsLocal(f) {
			bad = append(bad, fmt.Errorf("file %q is outside", f))
		}
	}
	if _, err := time.Parse(time.DateOnly, s.Last); s.Last != "" && err != nil {
		bad = append(bad, fmt.Errorf("date %q is not YYYY-MM-DD", s.Last))
	}
	return errors.Join(bad...)
}
