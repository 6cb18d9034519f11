package wal

import (
	"errors"
	"fmt"
	"syscall"
)

var (
	// ErrNoLog is returned by Open for a directory without a log. A node that was told an id and finds no log that
	// names it must come as a new node: it may have voted under the old one.
	ErrNoLog = errors.New("wal: there is no log here")
	// ErrExists is wrapped by the error of Create for a directory that holds a log, or the remains of one.
	ErrExists = errors.New("wal: there is a log here already")
	// ErrIdentity is wrapped by the error of Open for a log of another identity.
	ErrIdentity = errors.New("wal: the log belongs to another node")
	// ErrVersion is wrapped by the error of Open for a format that this build does not know.
	ErrVersion = errors.New("wal: unknown format version")
	// ErrRetired is wrapped by the error of Open, now and ever after, for a log that was found damaged.
	ErrRetired = errors.New("wal: this identity is retired, as its log has lost entries or votes; " +
		"move the directory away and start the node with an empty one, so that it joins as a new node")
	// ErrClosed is returned by the methods of a Log after Close.
	ErrClosed = errors.New("wal: closed")
)

// CorruptError says that a log has lost something it had promised to keep. It wraps ErrRetired.
type CorruptError struct {
	File   string
	Offset int64 // where in the file, in bytes
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("wal: %s is damaged at byte %d: %s", e.File, e.Offset, e.Reason)
}

// Unwrap returns ErrRetired.
func (e *CorruptError) Unwrap() error { return ErrRetired }

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
