// Package raft replicates a log among nodes with the Raft algorithm (Ongaro and Ousterhout, "In Search of an
// Understandable Consensus Algorithm", 2014; Ongaro's thesis, "Consensus: Bridging Theory and Practice").
//
// It has two layers. Core is the algorithm: a state machine without clock, goroutine or I/O, which takes messages and
// time and gives back messages, numbered writes and commits. Node drives a Core with a disk (Storage), a network
// (Transport) and a StateMachine of the user.
package raft
