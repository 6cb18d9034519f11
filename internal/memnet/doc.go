// Package memnet is a network in memory, for tests of clients and servers in a testing/synctest bubble.
//
// Hosts listen and dial; their connections are net.Conns with deadlines, bounded buffers and addresses. A test cuts, delays and
// resets them. Time passes only by the clock of the bubble, and nothing waits while it holds a mutex.
package memnet
