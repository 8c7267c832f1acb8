package main

import (
	"math"
	"slices"
)

// Ratio is the quotient of one contender's figure and another's: the median over
// the rounds, each with its own quotient, and the spread.
type Ratio struct {
	Median   float64   `json:"median"`
	Lower    float64   `json:"lower"` // quartile
	Upper    float64   `json:"upper"` // quartile
	Pairs    int       `json:"pairs"`
	Quotient []float64 `json:"quotients"` // in the order of the rounds
	// Errors counts the calls that failed in the pairs.
	Errors int `json:"errors"`
}

// ratioOf compares two contenders' samples of one workload, round by round.
func ratioOf(samples []Sample, workload, contender, against string, f figure) Ratio {
	find := func(name string, round int) (Sample, bool) {
		i := slices.IndexFunc(samples, func(s Sample) bool {
			return s.Workload == workload && s.Contender == name && s.Round == round
		})
		if i < 0 {
			return Sample{}, false
		}
		return samples[i], true
	}
	var r Ratio
	rounds := 0
	for _, s := range samples {
		rounds = max(rounds, s.Round+1)
	}
	for round := range rounds {
		a, ok := find(contender, round)
		b, okay := find(against, round)
		if !ok || !okay || f.of(b) == 0 {
			continue
		}
		r.Quotient = append(r.Quotient, f.of(a)/f.of(b))
		r.Errors += a.Errors + b.Errors
	}
	r.Pairs = len(r.Quotient)
	r.Median, r.Lower, r.Upper = quantile(r.Quotient, 0.5), quantile(r.Quotient, 0.25), quantile(r.Quotient, 0.75)
	return r
}

// quantile interpolates between the values around the share q; of none it is NaN.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	low := int(at)
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// median is the middle of a figure over samples; NaN of none.
func median(samples []Sample, of func(Sample) float64) float64 {
	return quantileOf(samples, 0.5, of)
}

// minPairs is how many pairs a bar needs to hold.
const minPairs = 10

// Verdict is how a bar came out.
type Verdict struct {
	Name  string  `json:"name"`
	Ratio Ratio   `json:"ratio"`
	Limit float64 `json:"limit"`
	Holds bool    `json:"holds"`
	// Note says why it cannot hold, whatever was measured.
	Note string `json:"note,omitempty"`
}

// judge compares a bar with what was measured. A bar with failed calls, or with
// too few pairs, does not hold.
func judge(b bar, samples []Sample) Verdict {
	v := Verdict{Name: b.Name, Limit: b.Limit, Ratio: ratioOf(samples, b.Workload, b.Contender, b.Against, b.Figure)}
	switch {
	case v.Ratio.Pairs < minPairs:
		v.Note = "fewer than ten pairs"
	case v.Ratio.Errors > 0:
		v.Note = "calls failed"
	case b.AtLeast:
		v.Holds = v.Ratio.Median >= b.Limit
	default:
		v.Holds = v.Ratio.Median <= b.Limit
	}
	return v
}
