package main

import (
	"encoding/binary"
	"sync"
)

// commandBytes is the size of every command.
const commandBytes = 128

// tally is all that the state machines do: they count the commands and chain a digest of their order.
type tally struct {
	Commands uint64
	Digest   uint64
}

func (t *tally) add(command []byte) {
	const prime = 1099511628211 // of FNV-1a
	t.Commands++
	t.Digest = (t.Digest ^ binary.LittleEndian.Uint64(command)) * prime
}

// machine is the state of one node. Its system holds mu for each batch of commands that it applies.
type machine struct {
	mu sync.Mutex // guards the field below
	tally
}

func (m *machine) seen() tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.tally
}

// command is what proposers send: who, which one, and filler.
type command [commandBytes]byte

func (c *command) set(proposer int, seq uint64) {
	binary.LittleEndian.PutUint64(c[:], uint64(proposer)<<40|seq)
}

// proposerOf tells whose command it is.
func proposerOf(c []byte) int { return int(binary.LittleEndian.Uint64(c) >> 40) }
