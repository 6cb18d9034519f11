// Package lint holds the house rules that no general linter knows, as checks over the syntax trees and texts of this repository.
//
// # Rules
//
//   - Pure: the deterministic machines start no goroutine, use no channel, read no clock, do no I/O, range over no map, import pure
//     packages only and use nothing that is declared in an impure file beside them.
//   - Lengths, CoreLength, PackageDocs: the sizes that keep a file readable, and one package comment for each package.
//   - Words, Citations: what the texts must not say, and documents they cite that do not exist.
//   - Sleeps, Assertions, Skips: a test spends no real time, can fail, and says why it does not run.
//   - Tables, Stages: docs/TESTING.md and docs/RELIABILITY.md name tests, scripts and budgets that exist.
//
// Each rule is a function from a Tree to its Findings. The tests of this package run every rule over the repository, and over a bad
// sample in testdata, so that a rule which finds nothing any more is noticed.
//
// # Concurrency
//
// A Tree is read-only once it is loaded.
package lint
