// Package history records what clients of a cluster saw and what its nodes did, and decides whether both can be true.
//
// # Recording
//
// Each process of a workload has a [Recorder], which writes a line when an operation begins and a line when it ends, each with one
// write, so that a process that is killed loses nothing: an operation without an end is one whose outcome nobody knows. Its
// [Recorder.Dial], as Config.Dial of the client, also notes every frame that the process exchanges with the cluster, and with it the index, the
// session and the number of each request and the sending of each KeepAlive, which the client's API keeps to itself. Each node
// has an [Auditor] as lockd.Config.Applied, which writes down every entry that the node applies and the hash of the state after it.
//
//	r := history.NewRecorder(file, "worker-3")
//	c, err := client.New(client.Config{Endpoints: …, Dial: r.Dial(dial)})
//	p := r.Begin(history.Operation{Kind: history.Acquire, Keys: []string{"a"}, Mode: history.Exclusive})
//	l, err := c.Lock(ctx, "a")
//	p.Granted(l, err)
//
// All times are nanoseconds of CLOCK_MONOTONIC ([Now]), read past the runtime: all processes must run on one machine, and a runtime
// whose clock a test has changed does not change what is recorded.
//
// # Checking
//
// [Check] needs no search: the audits say in which order everything happened, and the specification (spec.go and its neighbours,
// written against docs/GUARANTEES.md and independently of lockd/locktable) says what each entry must have answered. Every answer
// that reached a client is compared with that, and the order of the log with real time: that is a linearization, hence a proof. Beside it
// the guarantees are checked directly, without the specification, from what clients saw alone: tokens, overlaps of validity, fencing,
// order of waiters, one outcome of each request, times of expiry. Short histories of single locks are also given to
// porcupine, which knows neither of the two. Whatever is not decided, and a run with too little in it, counts as a violation.
//
// All checks but the search take O(n log n).
package history
