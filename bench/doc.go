// Command bench compares raft with other consensus libraries for Go, side by side.
//
// Every measurement runs in a child process of its own: three nodes of one system over loopback TCP with all fsyncs on,
// and proposers in a closed loop on the leader, so that CPU and memory are that system's own. A round measures every
// system once for each number of proposers, in an order that rotates from round to round; ratios are of pairs from the
// same round. After each measurement all three state machines must have applied the same commands in the same order,
// each exactly once.
//
//	go run . -rounds 5 -seconds 3 -json result.json
//
// The adapters are as fast as the libraries' public interfaces allow: each gets the batching that it can do.
package main
