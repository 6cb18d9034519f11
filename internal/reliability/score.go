package reliability

import (
	"cmp"
	"slices"
	"time"
)

// A Score sums up the entries of one layer, or of one fault in one layer.
type Score struct {
	Layer, Fault string
	Runs         int64
	Injections   int64
	Simulated    time.Duration
	Operations   int64
	Open, Ever   int64 // violations
	Unknown      int64
	Planted      int64 // bugs, in the newest entry of each package
	Caught       int64
	// Independent is N of the rule of three: runs without a violation since the last one, each seed of a target once.
	Independent int64
}

// Bound returns 3/N: with a confidence of 95 % a run shows a violation with a lower probability. It is 1 as long as N says nothing.
func (s Score) Bound() float64 {
	if s.Independent <= 3 {
		return 1
	}
	return 3 / float64(s.Independent)
}

func (s *Score) add(r Run) {
	s.Runs += r.Runs
	s.Injections += r.Injections
	s.Simulated += r.Simulated
	s.Operations += r.Operations
	s.Ever += r.Violations
	if r.Fixed == "" {
		s.Open += r.Violations
	}
	s.Unknown += r.Unknown
}

// ByLayer sums up runs as wholes, in the order of Layers. Layers without an entry are left out.
func ByLayer(runs []Run) []Score {
	var scores []Score
	for _, layer := range Layers() {
		s := Score{Layer: layer.Name, Fault: AnyFault}
		var whole []Run
		planted := map[string]Run{} // the newest entry by package
		for _, r := range runs {
			switch {
			case r.Layer != layer.Name:
			case r.Fault == AnyFault:
				whole = append(whole, r)
				s.add(r)
			case r.Fault == PlantedBug:
				planted[r.Package] = r
			}
		}
		for _, r := range planted {
			s.Planted += r.Injections
			s.Caught += r.Caught
		}
		s.Independent = independent(whole)
		if len(whole)+len(planted) > 0 {
			scores = append(scores, s)
		}
	}
	return scores
}

// ByFault sums up the entries of each fault in each layer, in the order of the tables.
func ByFault(runs []Run, faults []Fault) []Score {
	var scores []Score
	for _, f := range faults {
		for _, layer := range Layers() {
			s := Score{Layer: layer.Name, Fault: f.Name}
			var its []Run
			for _, r := range runs {
				if r.Fault == f.Name && r.Layer == layer.Name {
					its = append(its, r)
					s.add(r)
				}
			}
			s.Independent = independent(its)
			if len(its) > 0 {
				scores = append(scores, s)
			}
		}
	}
	return scores
}

// Planted returns the newest entry of planted bugs for each package and layer, by package.
func Planted(runs []Run) []Run {
	newest := map[[2]string]Run{}
	for _, r := range runs {
		if r.Fault == PlantedBug {
			newest[[2]string{r.Package, r.Layer}] = r
		}
	}
	var all []Run
	for _, r := range newest {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b Run) int { return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Layer, b.Layer)) })
	return all
}

// independent counts runs since the last violation. The same seeds of the same target count once, whatever the commit: they draw the
// same clusters and the same misfortunes.
func independent(runs []Run) int64 {
	for i, r := range slices.Backward(runs) {
		if r.Violations > 0 || r.Unknown > 0 {
			runs = runs[i+1:]
			break
		}
	}
	type span struct{ first, last uint64 }
	seeds := map[string][]span{}
	var n int64
	for _, r := range runs {
		first, last, err := seedRange(r.Seeds)
		if err != nil || first == last { // what chance drew, or many rounds drawn from one seed
			n += r.Runs
			continue
		}
		seeds[r.Target] = append(seeds[r.Target], span{first, last})
	}
	for _, spans := range seeds {
		slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
		var end uint64 // every seed below has been counted
		for _, s := range spans {
			first := max(s.first, end)
			if s.last >= first {
				n += int64(s.last - first + 1)
				end = s.last + 1
			}
		}
	}
	return n
}
