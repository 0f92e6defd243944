package main

import "slices"

// percentile of sorted values, by the nearest rank; zero of none.
func percentile[T any](sorted []T, p int) (v T) {
	if len(sorted) == 0 {
		return v
	}
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}

// spread is the middle of some values, and their ends.
type spread struct{ Median, Min, Max float64 }

// spreadOf values in any order; zeros of none.
func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(values))
	n := len(s)
	return spread{(s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]}
}
