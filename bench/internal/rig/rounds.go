package rig

import "slices"

// Median returns the middle of a list that is not empty.
func Median(list []float64) float64 {
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2
}

// Ahead is the median over the rounds of how many times better ours is: ratios of pairs from the same round.
func Ahead(ours, theirs []float64, moreIsBetter bool) float64 {
	var ratios []float64
	for i := range min(len(ours), len(theirs)) {
		if moreIsBetter {
			ratios = append(ratios, ours[i]/theirs[i])
		} else {
			ratios = append(ratios, theirs[i]/ours[i])
		}
	}
	return Median(ratios)
}
