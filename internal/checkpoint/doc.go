// Package checkpoint keeps the state of the lock service durable without the log: a set of records, written behind in
// whole sets, read back at start, and streamed to other nodes.
//
// # Usage
//
// A [Store] is opened, loaded once, and then given the sets of changed records in their order:
//
//	store, err := checkpoint.Open(checkpoint.Options{Dir: dir})
//	loader, err := locktable.NewLoader(store.Head())
//	err = store.Load(loader.Add)
//	err = store.Flush(set) // durable when it has returned
//
// [Disk] keeps it in badger; [Memory] is its twin for a simulator, which can end at every step where a process can.
//
// # Guarantees
//
// A set is one transaction: after a crash the store is the state after one of the sets, never before the last one whose
// Flush has returned. Every set tells the hash and the number of all records, which Load computes again; what does not
// agree is damaged and never used. Hash and number see what badger's own checks let pass, as it cuts a damaged
// log of its own without a word; a store so cut is an older state and whole, and the raft log tells that it is too old.
//
// What is damaged is renamed aside, and removed only when another state is durable in its place. Load tells of it, and
// goes on telling until then. The store is empty meanwhile and can take a state by Restore, or sets of a log that is
// there from its first entry.
//
// # Directory
//
//	CURRENT           name of the directory in use, one line; replaced by a rename
//	sm-INDEX-RANDOM   a badger store that began with the state at INDEX; all but the one in use are removed at start
//	damaged-*         what was found damaged
//	kept.snapshot     the last stream that Keep has written and read back
//	*.tmp             something unfinished
//
// CURRENT is written before the first store is made. So a store without a CURRENT is never taken for a leftover.
//
// # Stream
//
// All numbers are little endian, all sums CRC32C. A stream begins with the magic "lockdsnp", the version (4 bytes), the
// length of the head (4 bytes) and the head. Blocks follow: length, sum, and records in the order of their keys, each with
// the lengths of key and value as uvarints before them. A block ends with the record that fills 64 KiB. Then come 4 zero
// bytes, the number of records (8 bytes), the sum of the whole stream before it, and the end. The head:
//
//	 0  version, 1 byte; flags, 1 byte: 1 = installed (never in a stream)
//	 2  hash of the state, 16 bytes; number of records, 8 bytes
//	26  length of the mark, 4 bytes; length of the meta record, 4 bytes
//	34  mark, as raft encodes it; meta record; sum of the head before
//
// The store holds the head under the key of one zero byte.
//
// # Concurrency
//
// All methods are safe for concurrent use. Flush, Load and Commit wait for each other; Head, Snapshot and Restore wait for
// none of them. Badger's goroutines live until Close, or until a state that was replaced has no reader.
package checkpoint
