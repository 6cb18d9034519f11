package main

import (
	"maps"
	"math"
	"slices"
	"time"
)

// histogram counts durations in buckets that are each 4 % wider than the one before.
type histogram map[int]int64

const perOctave = 16

func (h histogram) add(d time.Duration) {
	h[int(math.Ceil(perOctave*math.Log2(math.Max(1, float64(d.Microseconds())))))]++
}

func (h histogram) merge(other histogram) {
	for bucket, n := range other {
		h[bucket] += n
	}
}

func (h histogram) count() (n int64) {
	for _, k := range h {
		n += k
	}
	return n
}

// quantile returns, in milliseconds, what a share of the durations do not exceed: the upper end of a bucket. Not a number of none.
func (h histogram) quantile(share float64) float64 {
	left := int64(math.Ceil(share * float64(h.count())))
	for _, bucket := range slices.Sorted(maps.Keys(h)) {
		if left -= h[bucket]; left <= 0 {
			return math.Exp2(float64(bucket)/perOctave) / 1000
		}
	}
	return math.NaN()
}
