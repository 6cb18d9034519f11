// Command counter shows the raft library at work: a counter, replicated on three processes of this machine, that
// survives the death of any one of them.
//
//	counter demo     starts three nodes, counts, kills the leader, and shows that nothing was lost
//	counter node     runs one node; demo and the tests start it
//
// A node takes commands over HTTP on loopback: POST /add?client=C&seq=N counts one operation, GET /value reads the
// counter linearizably, GET /ops?client=C says which operations of a client are in it, GET /status describes the node.
package main
