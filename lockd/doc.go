// Package lockd is the lock service's node, to be run as a daemon (cmd/lockd) or inside another program.
//
// A node without a list of members is a cluster of its own:
//
//	server, err := lockd.New(lockd.Config{DataDir: "/var/lib/lockd"})
//	if err != nil { … }
//	defer server.Close()
//	err = server.Run(ctx) // until ctx ends: then it hands over, tells its clients and stops
//
// Three nodes are given the same Config.InitialCluster and a Config.Name each. Clients (package client/go) talk to any of them.
//
// # What is wired here
//
// A node is made of parts that know nothing of each other, and this package is the only one that starts their goroutines:
//
//	internal/front       the client port: requests, pushes, forwarding to the leader
//	internal/tenure      what the leader does: stamps, KeepAlives, expiry, ticks
//	internal/replica     the applied state, its flusher and its snapshots
//	raft                 the log, over raft/tcp and raft/wal
//	internal/checkpoint  the durable state
//
// # Concurrency
//
// All methods of a Server are safe for concurrent use. New listens and opens the data directory; Run starts every goroutine and
// ends them all before it returns.
package lockd
