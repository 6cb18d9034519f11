// Package rafttest holds what package raft is tested with, for the use of others too: readable scenario scripts
// (RunScripts), a simulator that runs whole clusters in virtual time under faults (World), and suites that every
// implementation of raft.Storage and raft.Transport should pass (TestStorage, TestTransport).
package rafttest
