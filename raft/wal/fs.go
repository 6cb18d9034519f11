package wal

import "io"

// FS is one directory. DirFS is a real one; rafttest.Disk is one in memory that loses power.
//
// An implementation keeps these rules: WriteAt past the end extends the file, a gap reads as zeros. What was written to
// a file is durable when a later Sync of that file has returned nil, and not before. A name is durable when a SyncDir
// after its creation, renaming or removal has returned nil. A lack of space is an error that is syscall.ENOSPC or
// syscall.EDQUOT. All methods are safe for concurrent use.
type FS interface {
	// Open opens a file for reading and writing. With create it makes an empty one, which must not exist yet.
	Open(name string, create bool) (File, error)
	// Rename gives a file another name, atomically.
	Rename(from, to string) error
	// Remove removes a name; an open file goes on until it is closed.
	Remove(name string) error
	// List returns the names of all files, sorted.
	List() ([]string, error)
	// SyncDir makes the names durable.
	SyncDir() error
}

// File is an open file of an FS.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes what was written durable.
	Sync() error
	// Size returns the length in bytes.
	Size() (int64, error)
	Close() error
}
