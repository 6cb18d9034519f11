package rafttest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/lockd/lockd/raft"
)

// Machine is a state machine that can lose power.
type Machine interface {
	raft.StateMachine
	// Crash takes back what is not durable.
	Crash()
	// Lose takes away everything: the state was damaged, and thrown away.
	Lose()
	// Applied returns the last entry that the state reflects, and a sum of the state.
	Applied() (raft.Position, uint64)
}

// Process is a Machine with other parts of a program around it, which are told how the process fares. They must not call the Node
// before they return, but for After.
type Process interface {
	Started()
	Standing(s raft.Standing)
	// Resumed tells that it goes on after it was stopped for so long.
	Resumed(after time.Duration)
	// Ended tells that the process is gone, before the next one starts.
	Ended()
}

// Registers is a Machine of a few registers. What is durable runs behind what is applied.
type Registers struct {
	rand    *rand.Rand
	flush   float64 // how likely a batch makes the state durable
	state   registers
	durable registers
}

type registers struct {
	mark   raft.Mark
	sum    uint64 // of all commands
	values [registerCount]uint64
}

const registerCount = 8

// NewRegisters returns a Machine without a state, which becomes durable after a batch with probability flush.
func NewRegisters(r *rand.Rand, flush float64) *Registers { return &Registers{rand: r, flush: flush} }

// RegisterCommand encodes a write of a register. The value, which must be no other command's, identifies the command.
func RegisterCommand(register int, value uint64, padding int) []byte {
	b := make([]byte, 9, 9+padding)
	b[0] = byte(register % registerCount)
	binary.LittleEndian.PutUint64(b[1:], value)
	return b[:9+padding]
}

// RegisterCommandID returns the value that identifies a command.
func RegisterCommandID(data []byte) (id uint64, ok bool) {
	_, id, ok = registerValue(data)
	return id, ok
}

// registerValue returns the value that identifies a command.
func registerValue(data []byte) (register int, value uint64, ok bool) {
	if len(data) < 9 || data[0] >= registerCount {
		return 0, 0, false
	}
	return int(data[0]), binary.LittleEndian.Uint64(data[1:]), true
}

// Apply carries out commands. Each one's result is what its register held before.
func (r *Registers) Apply(b raft.Batch) {
	for i, e := range b.Entries {
		r.state.mark.Position = e.Position()
		if e.Kind() != raft.KindCommand {
			continue
		}
		register, value, ok := registerValue(e.Data())
		if !ok {
			continue
		}
		b.Results[i] = r.state.values[register]
		r.state.values[register] = value
		r.state.sum = mix(r.state.sum, value)
	}
	r.state.mark.Config, r.state.mark.Installed = b.Config, false
	if r.rand.Float64() < r.flush {
		r.durable = r.state
	}
}

// Mark returns how far the state is durable.
func (r *Registers) Mark() raft.Mark { return r.durable.mark }

// Value returns what a register holds.
func (r *Registers) Value(register int) uint64 { return r.state.values[register%registerCount] }

// Applied returns the last entry that the state reflects, and a sum of the state.
func (r *Registers) Applied() (raft.Position, uint64) {
	sum := r.state.sum
	for _, v := range r.state.values {
		sum = mix(sum, v)
	}
	return r.state.mark.Position, sum
}

// Crash takes back what is not durable.
func (r *Registers) Crash() { r.state = r.durable }

// Lose takes away everything.
func (r *Registers) Lose() { r.state, r.durable = registers{}, registers{} }

// Snapshot returns the present state or the durable one, as chance will have it.
func (r *Registers) Snapshot() (raft.Snapshot, error) {
	s := r.state
	if r.rand.IntN(2) == 0 {
		s = r.durable
	}
	if s.mark.Index == 0 {
		return nil, errors.New("rafttest: there is no state to take a snapshot of")
	}
	b := binary.LittleEndian.AppendUint64(nil, s.sum)
	for _, v := range s.values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return &registersSnapshot{Reader: bytes.NewReader(b), mark: s.mark}, nil
}

type registersSnapshot struct {
	io.Reader
	mark raft.Mark
}

func (s *registersSnapshot) Mark() raft.Mark { return s.mark }
func (s *registersSnapshot) Close() error    { return nil }

// Restore reads a snapshot.
func (r *Registers) Restore(mark raft.Mark, from io.Reader) (raft.Installation, error) {
	var b [8 * (1 + registerCount)]byte
	if _, err := io.ReadFull(from, b[:]); err != nil {
		return nil, fmt.Errorf("rafttest: restore: %w", err)
	}
	s := registers{mark: mark, sum: binary.LittleEndian.Uint64(b[:])}
	s.mark.Installed = true
	for i := range s.values {
		s.values[i] = binary.LittleEndian.Uint64(b[8*(i+1):])
	}
	return &registersInstallation{r, s}, nil
}

type registersInstallation struct {
	machine *Registers
	state   registers
}

func (i *registersInstallation) Commit() error {
	i.machine.state, i.machine.durable = i.state, i.state
	return nil
}

func (i *registersInstallation) Discard() {}
