// Package machine is a sample of what a deterministic package must not do.
package machine
