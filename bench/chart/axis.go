package chart

import (
	"math"
	"slices"
	"strconv"
)

// scale places the values of an axis in the picture.
type scale struct {
	lo, hi   float64 // values at the ends; lo < hi
	from, to float64 // where the ends are
	log      bool
	ticks    []float64
}

// at returns the place of a value.
func (s scale) at(v float64) float64 {
	lo, hi := s.lo, s.hi
	if s.log {
		lo, hi, v = math.Log(lo), math.Log(hi), math.Log(v)
	}
	return s.from + (v-lo)/(hi-lo)*(s.to-s.from)
}

const (
	ticksWanted = 5
	ticksMax    = 9
)

// across makes a scale that ends where the values do. Few values on a logarithmic axis are its ticks.
func across(values []float64, log bool) scale {
	values = slices.Compact(slices.Sorted(slices.Values(values)))
	s := scale{lo: values[0], hi: values[len(values)-1], log: log}
	if s.lo == s.hi {
		s.lo, s.hi = widened(s.lo, log)
	}
	switch {
	case log && len(values) <= ticksMax:
		s.ticks = values
	case log:
		s.ticks = logTicks(s.lo, s.hi)
	default:
		s.ticks = linearTicks(s.lo, s.hi, step(s.hi-s.lo))
	}
	return s
}

// upwards makes a scale that ends at ticks. A linear one begins at zero.
func upwards(values []float64, log bool) scale {
	s := scale{lo: slices.Min(values), hi: slices.Max(values), log: log}
	if log {
		s.lo, s.hi = roundLog(s.lo, false), roundLog(s.hi, true)
		if s.lo == s.hi {
			s.lo, s.hi = widened(s.lo, log)
		}
		s.ticks = logTicks(s.lo, s.hi)
		return s
	}
	s.lo, s.hi = min(s.lo, 0), max(s.hi, 0)
	if s.lo == s.hi {
		s.hi = 1
	}
	by := step(s.hi - s.lo)
	s.lo, s.hi = math.Floor(s.lo/by)*by, math.Ceil(s.hi/by)*by
	s.ticks = linearTicks(s.lo, s.hi, by)
	return s
}

func widened(v float64, log bool) (lo, hi float64) {
	const factor = 2
	if log {
		return v / factor, v * factor
	}
	return v - 1, v + 1
}

// step returns a round step that divides a range into about as many parts as are wanted.
func step(width float64) float64 {
	rough := width / ticksWanted
	unit := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if m*unit >= rough*0.999 {
			return m * unit
		}
	}
	return 10 * unit
}

// linearTicks are the multiples of a step in a range. They are counted, not added up, so that 0.3 is 0.3.
func linearTicks(lo, hi, by float64) (ticks []float64) {
	const near = 1e-6 // of a step: how far a tick may lie outside
	for n := math.Ceil(lo/by - near); n <= hi/by+near; n++ {
		ticks = append(ticks, n*by+0) // -0 becomes 0
	}
	return ticks
}

// roundLog rounds, up or down, to 1, 2 or 5 times a power of ten.
func roundLog(v float64, up bool) float64 {
	const near = 1 + 1e-9
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	steps := []float64{1, 2, 5, 10}
	if !up {
		slices.Reverse(steps)
	}
	for _, m := range steps {
		if up && m*unit*near >= v || !up && m*unit <= v*near {
			return m * unit
		}
	}
	return unit
}

// logTicks are 1, 2 and 5 times powers of ten, or powers of ten alone, or only some of these: as many as have room.
func logTicks(lo, hi float64) []float64 {
	const near = 1 + 1e-9
	first, last := math.Floor(math.Log10(lo)), math.Ceil(math.Log10(hi))
	pick := func(every float64, of ...float64) (ticks []float64) {
		for e := first; e <= last; e += every {
			for _, m := range of {
				if v := m * math.Pow(10, e); v*near >= lo && v <= hi*near {
					ticks = append(ticks, v)
				}
			}
		}
		return ticks
	}
	for _, of := range [][]float64{{1, 2, 5}, {1, 3}, {1}} {
		if ticks := pick(1, of...); len(ticks) <= ticksMax {
			return ticks
		}
	}
	return pick(math.Ceil((last-first)/ticksMax), 1)
}

// name writes a value as a label: 0.25, 1,500 as 1.5k, 2,000,000 as 2M.
func name(v float64) string {
	const digits, thousand = 3, 1000
	suffix := ""
	for _, s := range []string{"k", "M", "G", "T"} {
		if math.Abs(v) < thousand {
			break
		}
		v, suffix = v/thousand, s
	}
	if math.Abs(v) >= thousand {
		return strconv.FormatFloat(v, 'g', digits, 64) + suffix
	}
	short, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64) // what FormatFloat wrote
	if math.Abs(short) < 1e-4 && short != 0 {
		return strconv.FormatFloat(short, 'g', -1, 64)
	}
	return strconv.FormatFloat(short, 'f', -1, 64) + suffix
}
