// Package nemesis runs a whole cluster under every fault that can be made here: five node processes and their clients' processes, each on
// a host and a disk of its own, while the network fails, processes are killed and stopped, disks hang, fill up and lose power, and
// clocks jump and drift, several at once. What clients saw and nodes did is recorded and checked by internal/history. The package has no
// code for others.
//
// # A scenario
//
// A seed draws a plan of some 45 seconds ([newPlan]): which kinds of fault, when and for how long. The clients (worker.go, jobs.go)
// lock, share, campaign and count meanwhile, on names that change every few seconds, so that each name's history stays short. Then
// everything is healed, and the cluster must come back to life within stated bounds: every node serves, every client is granted one more
// lock, every queue is empty. The histories and the audits of the nodes are then checked. A violation fails the scenario, and so do a
// verdict that was not reached, too little traffic, a fault that hit nothing, a process that ended by itself, and anything left behind.
//
// The seed repeats the plan, not the run: processes and packets have a timing of their own.
//
// # Partitions
//
// TestHostPartition cuts a minority off in five ways, for a minute each if it is asked to, and nothing else happens. Its clients hold locks
// and wait for them as those of the majority do. The history shows that the minority decides nothing, that what its clients hold ends for them
// before anybody else is granted it, that the majority goes on without losing a session, and that everybody is served again by itself.
//
// # The control
//
// The same clients with a resource that checks no tokens, while one of them is stopped for longer than its session lives, must lose
// updates: otherwise the test is blind. With tokens checked none may be lost.
package nemesis
