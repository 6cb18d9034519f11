// Soak runs three nodes of lockd for a long time under a fixed, moderate load, and looks for what grows.
//
//	go run ./soak -time 30m -svg ../docs/soak.svg
//
// The nodes are processes on loopback with their data on a real disk; the clients are in processes of their own. Clients acquire and
// release locks of their own at a fixed rate, stand in a queue, renew leases, and most of them only keep a session alive. Meanwhile the
// leader is stopped and started again, or paused for longer than an election takes, and a follower is killed by SIGKILL and started
// again. The first node is never restarted, so that what a process gathers in its life shows.
//
// Every few seconds the program notes the latencies of that time, and of each node the memory, goroutines, descriptors, mappings and
// bytes on disk; now and then the live heap after a forced collection. At the end it prints a table, and fails if a client has seen an
// error, a session was lost, or a line through the figures of all nodes together rises by more than its bound, without the first
// third, in which logs and caches fill; a run under a quarter of an hour is too short to judge that. The figures of single nodes swing,
// as clients stay with a node until that ends.
//
// Latencies count from the moment at which a pair was due, not from its start: one that has to wait for the one before is late.
//
// With LOCKD_RELIABILITY naming a file the run is appended to it.
package main
