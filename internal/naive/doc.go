// Package naive is the replicated state machine of lockd once more, as simply as it can be written: slices, linear scans, no
// index, no cache, no budget. It is slow on purpose, so that it can be read against the guarantees line by line.
//
// It serves as the reference that lockd/locktable is compared with, reply by reply and effect by effect, over random histories,
// and that the protocol simulator runs beside the real table. What it leaves out: entries have no budget here, so a history must
// not change more than an entry may (locktable.EntryRecordsMax) at once.
package naive
