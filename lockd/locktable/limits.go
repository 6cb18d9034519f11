package locktable

import "time"

// Limits. All of them are part of the replicated behaviour: a change needs a new command version.
const (
	NameMax           = 512         // bytes of a name
	NamesMax          = 64          // names of one Acquire
	ValueMax          = 64 << 10    // bytes of a value
	DelayMax          = time.Minute // longest lock-delay
	WaitMax           = 30 * 24 * time.Hour
	LeaseMin          = time.Second // shortest TTL of a lease
	LeaseMax          = 30 * 24 * time.Hour
	SlotsMax          = 1 << 20       // slots of one lock
	SeenMax           = 64            // waits named as seen in one request
	ExpireMax         = 250           // lives in one Expire
	HoldsMax          = 1_000_000     // holds of one session
	WaitsMax          = 100_000       // waits of one session, decided but unseen ones counted
	WaitersMax        = 200_000       // waiters of one lock
	RecordsPerNameMax = 64            // holds and waits of one session on one name
	SeedMax           = 1<<53 - 1<<44 // highest token seed; tokens stay below 2^53
	EntryRecordsMax   = 1000          // records one entry changes
	EntryBytesMax     = 512 << 10     // bytes of records one entry changes
	EmbargoMin        = time.Minute   // shortest default pause of grants after a restore
)
