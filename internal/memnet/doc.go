// Package memnet is a network in memory, for tests of clients and servers in a testing/synctest bubble.
//
// Hosts listen and dial, by addresses of the form host:port. Their connections are net.Conns as TCP's are: bounded buffers (who
// writes to a reader that does not read blocks), deadlines, a close that the other side reads as io.EOF, a reset. A test cuts,
// delays and resets them. Datagrams are lost as UDP's are. What was written into a cut stands still and arrives once it is healed, as TCP sends it again; as long as
// the cut lasts, nobody learns of anything.
//
// Time passes only by the clock of the bubble, and nothing waits while it holds a mutex.
package memnet
