// Package wal keeps a raft.Node's log and hard state in segment files: an implementation of raft.Storage that costs one
// write and one flush for every batch.
//
// # Format
//
// A log is a directory of its own. Segment n is the file "%016x.wal" of n; segments are numbered from 1 without a gap.
// Files called "*.spare" are space for segments to come and hold nothing. A file called RETIRED ends the log for good.
// All numbers are little endian, all sums CRC32C.
//
// A segment begins with a header of one page of 4096 bytes, or more if the configuration needs it:
//
//	  0  magic "lockdwal"
//	  8  format version, 4 bytes
//	 12  sum of all other bytes of the header, 4 bytes
//	 16  length of the header, 4 bytes; zero, 4 bytes
//	 24  identity: cluster, 16 bytes; node, 8 bytes; incarnation, 8 bytes
//	 56  number of the segment, 8 bytes
//	 64  number of the last batch before this segment, 8 bytes
//	 72  hard state when the segment began: term, vote's node, vote's incarnation, 24 bytes
//	 96  flags, 8 bytes: 1 = the log begins here, older segments are void; 2 = the segment got its name only when its
//	     first batch was on disk
//	104  length of the mark, 4 bytes
//	108  mark before the first entry, when the segment began: index, term, index of the configuration in force there,
//	     24 bytes, and that configuration as its entry holds it
//
// Records follow, each at a multiple of 8 bytes:
//
//	 0  length of the payload, 4 bytes; never 0
//	 4  sum of the payload, 4 bytes
//	 8  number of the batch, 8 bytes
//	16  kind: 1 hard state, 2 truncation, 3 entries, 4 seal
//	17  flags: 1 = the last record of its batch
//	18  zero, 2 bytes
//	20  sum of the 20 bytes before, 4 bytes
//	24  payload: the hard state, 24 bytes; the mark at the log's end after a truncation, as in the header; one or more
//	    entries in their own encoding, with their own sums; or the number of the following segment, 8 bytes
//
// The sums of records start from a seed made of the identity and the segment's number, so that what an earlier life of
// a recycled file has left is never taken for a record.
//
// # Guarantees
//
// A batch is what one call of Write stores. It is written by one WriteAt and made durable by one Sync, and never begun
// before the batch before it was durable. A batch that finds no room in the present segment begins the next one, and
// comes into being together with it, by the renaming of a file that is already on disk. So at start
//
//   - a damaged record of the highest batch that can be found is a torn tail: a power cut has interrupted a Write that
//     never returned. The batch is removed whole, and its place filled with zeros before anything else is written.
//   - a damaged record before that, or a missing segment, means that the log has lost what it had acknowledged. Open
//     gives a CorruptError and retires the identity: a node that forgot its vote or its entries must never vote or
//     acknowledge under its old name.
//
// Damage inside the very last batch cannot be told from a torn tail, unless it is the first of its segment.
//
// What the last batch holds is written and flushed once more by Open: it may have been read from a cache that a failed
// flush has left behind.
//
// # Concurrency
//
// A Log is used by one writer (Write, Compact, Close) and any number of readers (Read). The next segment is filled with
// zeros on a goroutine of its own, or wherever Options.Background puts it; Close waits for it.
package wal
