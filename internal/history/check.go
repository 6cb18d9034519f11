package history

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Options say what is known of a run, and what is demanded of it.
type Options struct {
	Minimum Minimum
	// Faults are how often each kind of fault was injected and hit something. A kind with 0 is a violation.
	Faults map[string]int64
	// Skewed are processes whose clocks ran more than 1 % fast or slow, or stood still without telling: what they believe of their holds is not
	// demanded to be true. What the log says of them is.
	Skewed []string
	// LeadersSkewed: clocks of nodes were skewed so; when sessions expire is not checked.
	LeadersSkewed bool
	// Unfenced are resources that do not check tokens, for a control run: their lost updates are counted and are no violation.
	Unfenced []string
	// Late is how much later than the guarantee says a session may expire, for pauses of leaders and machines. 0: lateness is not checked.
	Late time.Duration
	// Partitions are the times in which nodes were cut off, while nothing else went wrong. Other processes than those of a Partition may lose
	// nothing in the whole run.
	Partitions []Partition
	// Served is within what time of the end of each Partition every process must be granted something.
	Served time.Duration
	// SearchLimit bounds the search of one lock's history. Default 10 s.
	SearchLimit time.Duration
	// Dir is where pictures of failed searches are written. Empty: nowhere.
	Dir string
}

// Minimum is how much must be in a run.
type Minimum struct {
	Operations, Grants, Writes int64
	Searched                   int64 // locks whose histories were searched
	HandOvers                  int64 // in all Partitions together
	Kinds                      map[Kind]int64
}

// Verdict is what a check has found.
type Verdict struct {
	Operations int64 // that were recorded, notes not counted
	Unknown    int64 // of these, how many had no known outcome
	Happened   int64 // requests whose outcome the client did not hear, and that are in the log
	Never      int64 // requests whose outcome the client did not hear, and that are not
	Grants     int64 // that clients heard of
	Writes     int64 // that resources accepted
	Lost       int64 // updates that were lost at Unfenced resources

	Entries  int64 // of the log
	Answers  int64 // of the cluster, compared with the specification
	Reads    int64 // of these, linearizable reads
	Renewals int64 // KeepAlives that were confirmed
	Expiries int64 // sessions that ended because their time ran out, with renewals known
	Searched int64 // locks whose histories were searched
	TooLong  int64 // locks whose histories are too long to be searched

	Partitions []Parted // as in Options

	Violations []Violation // the first ones of each check
	Count      int64       // of all violations
}

// Violation is something that must not be.
type Violation struct {
	Check string   // which check found it
	Text  string   // what is wrong
	Shown []string // the few operations, answers or entries that show it
}

// String returns the violation in a few lines.
func (v Violation) String() string {
	return strings.Join(append([]string{v.Check + ": " + v.Text}, v.Shown...), "\n    ")
}

// Err returns an error that tells all violations that were kept, nil if there are none.
func (v *Verdict) Err() error {
	if v.Count == 0 {
		return nil
	}
	errs := []error{fmt.Errorf("%d violations", v.Count)}
	for _, x := range v.Violations {
		errs = append(errs, errors.New(x.String()))
	}
	return errors.Join(errs...)
}

// shownMost is how many violations of one check are kept.
const shownMost = 10

// report gathers what the checks find.
type report struct {
	Verdict

	kept  map[string]int
	kinds map[Kind]int64
}

// add notes a violation. What shows it is printed only if it is kept.
func (r *report) add(check, text string, shown ...any) {
	r.Count++
	if r.kept[check]++; r.kept[check] > shownMost {
		return
	}
	v := Violation{Check: check, Text: text}
	for _, x := range shown {
		v.Shown = append(v.Shown, fmt.Sprint(x))
	}
	r.Violations = append(r.Violations, v)
}

// Check decides whether a history and the audits of all nodes can both be true, and whether there is enough in them. An error means that
// nothing could be decided, and is a failure like a violation.
func Check(h *History, audits []*Audit, o Options) (*Verdict, error) {
	r := &report{kept: map[string]int{}}
	log := agree(audits, r)
	r.Entries = int64(len(log))
	count(h, r)
	t := gather(h.Frames)
	if w := replay(log, t, r); w != nil {
		w.answers()
		w.granted(h.Operations)
		w.sessions()
		w.realTime()
		w.expiry(o)
		w.partitions(h, audits, o)
	}
	tokens(claimsOf(h.Operations), r)
	tokens(claimsIn(t), r)
	outcomes(t, r)
	order(t, r)
	validity(h, t, o.Skewed, r)
	fencing(h.Operations, o.Unfenced, r)
	if err := search(h, o, r); err != nil {
		return nil, err
	}
	enough(o, r)
	return &r.Verdict, nil
}

// count counts what is in the history.
func count(h *History, r *report) {
	r.kinds = map[Kind]int64{}
	for i := range h.Operations {
		o := &h.Operations[i]
		r.kinds[o.Kind]++
		if o.Kind == Held || o.Kind == Lost {
			continue
		}
		r.Operations++
		switch {
		case o.Outcome == Unknown:
			r.Unknown++
		case o.Outcome == OK && (o.Kind == Acquire || o.Kind == HandOn):
			r.Grants++
		case o.Outcome == OK && o.Kind == Write:
			r.Writes++
		}
	}
}

// enough checks that the run shows anything.
func enough(o Options, r *report) {
	demand := func(what string, got, least int64) {
		if got < least {
			r.add("traffic", fmt.Sprintf("%d %s are too few; %d are demanded", got, what, least))
		}
	}
	demand("operations", r.Operations, o.Minimum.Operations)
	demand("grants", r.Grants, o.Minimum.Grants)
	demand("accepted writes", r.Writes, o.Minimum.Writes)
	demand("searched locks", r.Searched, o.Minimum.Searched)
	handOvers := int64(0)
	for _, p := range r.Partitions {
		handOvers += p.HandOvers
	}
	demand("hand-overs of locks of clients that were cut off", handOvers, o.Minimum.HandOvers)
	for _, kind := range slices.Sorted(maps.Keys(o.Minimum.Kinds)) {
		demand(fmt.Sprintf("operations of kind %q", kind), r.kinds[kind], o.Minimum.Kinds[kind])
	}
	for _, fault := range slices.Sorted(maps.Keys(o.Faults)) {
		if o.Faults[fault] <= 0 {
			r.add("traffic", fmt.Sprintf("the fault %q has hit nothing", fault))
		}
	}
}
