// Package sim is the simulator of the whole service: the programs of internal/simworld use nodes that run the real parts of lockd, in
// virtual time and on one goroutine.
package sim
