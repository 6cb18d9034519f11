// Package clockskew lets a test move the clocks of its own process, and of no other: jumps of the wall clock and of the monotonic
// one, and drift of both. Everything in the process sees them, timers included, as the clock of package runtime itself is changed.
//
// # Usage
//
// The package's command writes three files of the Go distribution with a few changed lines, and an overlay file that has the
// compiler take them; the tag clockskew makes Set work:
//
//	overlay=$(go run ./internal/clockskew/cmd DIR)
//	go test -overlay=$overlay -tags=clockskew ./internal/nemesis
//
// Without the tag Enabled is false and Set does nothing. The lines are looked for as they stand in the distribution in use: when they
// are not there, as after a new Go version, nothing is written and the error says which one is missing.
//
// # What stays as it is
//
// The system calls: CLOCK_MONOTONIC and CLOCK_BOOTTIME read through golang.org/x/sys/unix are those of the machine, and so is the
// length of a wait inside the kernel. A timer fires once the changed clock has passed its time and the scheduler looks.
package clockskew
