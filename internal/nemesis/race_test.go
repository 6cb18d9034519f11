//go:build race

package nemesis

// slower is how much less is done in the same time under the race detector, at most.
const slower = 5
