//go:build !race

package nemesis

const slower = 1
