package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Mark is the position of a state: the last entry it reflects and the configuration in force there.
type Mark struct {
	Position
	Config Config
	// Installed says that the state came from a snapshot and has taken no entry since, so the log need not reach it.
	// It is a matter of one node and not part of the encoded form.
	Installed bool
}

const markVersion = 1

// ErrBadMark is wrapped by the errors of DecodeMark.
var ErrBadMark = errors.New("raft: bad mark")

// AppendBinary appends the encoded form of m.
func (m Mark) AppendBinary(b []byte) []byte {
	b = append(b, markVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Index))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Term))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Config.Index))
	return m.Config.AppendBinary(b)
}

// DecodeMark reads what AppendBinary wrote; b must hold nothing else. The error wraps ErrBadMark.
func DecodeMark(b []byte) (Mark, error) {
	const fixed = 1 + 8 + 8 + 8
	if len(b) < fixed || b[0] != markVersion {
		return Mark{}, fmt.Errorf("%w: %d bytes, or a version that is not %d", ErrBadMark, len(b), markVersion)
	}
	config, err := DecodeConfig(Index(binary.LittleEndian.Uint64(b[17:])), b[fixed:])
	if err != nil {
		return Mark{}, fmt.Errorf("%w: %w", ErrBadMark, err)
	}
	at := Position{Index(binary.LittleEndian.Uint64(b[1:])), Term(binary.LittleEndian.Uint64(b[9:]))}
	return Mark{Position: at, Config: config}, nil
}
