// Package reliability keeps the figures by which lockd's tests can be judged: what was injected, how often, how much was checked, and what
// was found.
//
// # Use
//
// A longer test says what it has done when it ends:
//
//	reliability.Record(t, reliability.Each(total, counts)...)
//
// where total is the [Run] as a whole and counts tells how often each kind of fault was injected. With LOCKD_RELIABILITY naming a file,
// usually docs/reliability.json, that is appended to the file; without it the entries are checked and forgotten. The page
// for readers is written from that file, and from three more beside the source of this package, by internal/reliability/scorecard:
//
//   - faults.json: every kind of fault, the names under which tests count it, and the test that injects it, or why none does.
//   - promises.json: what is promised, and the tests behind each promise.
//   - trackrecord.json: every bug of correctness or liveness that was ever found, with the command that shows it on the old commit.
//
// All four are read strictly: an unknown field, fault or layer and a value that cannot be are errors that name the entry.
//
// # Bound
//
// After N independent runs without a violation, the probability of one in a run is below 3/N with a confidence of 95 % (the rule of three;
// Hanley and Lippman-Hand, 1983). N counts runs with different seeds once each, and only those after the last violation of the layer.
//
// # Concurrency
//
// [Record] and [Append] may be called by many tests and processes at once.
package reliability
