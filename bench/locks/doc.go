// Command locks compares lock services, side by side: lockd and etcd, three nodes each, and on request Redlock, which is no consensus:
// -systems lockd,etcd,redlock -trials pairs1,pairs64 needs a redis-server that is installed.
//
// Every node is a process of its own on loopback, with all fsyncs on and its data in a temporary directory; the clients
// are in a further process and use the service's usual Go client, each with a session and a connection of its own. A
// trial measures some rows of the table on a fresh cluster; a round makes every trial once for each system, one right
// after the other, and the next round turns the order around. Ratios are of pairs from the same round.
//
//	go run ./locks -quick
//	go run ./locks -rounds 5 -json result.json
//	go run ./locks -growth ../docs/growth.svg
//
// The nodes are the programs that the projects ship, built here: cmd/lockd, and etcd's own main package from the module
// that go.mod names. Every process ends with this one, and nothing is left on disk.
package main
