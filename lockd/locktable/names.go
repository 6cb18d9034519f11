package locktable

import "strconv"

var codeNames = [...]string{
	OK: "ok", Granted: "granted", Reentered: "reentered", Queued: "queued", Held: "held", TimedOut: "timed out",
	Cancelled: "cancelled", NotHeld: "not held", Gone: "gone", AlreadyHeld: "already held", WrongKind: "wrong kind",
	SessionUnknown: "session unknown", Stale: "stale", WindowFull: "window full", Invalid: "invalid", Embargo: "embargo",
	TooManyHolds: "too many holds", TooManyWaits: "too many waits", TooManyWaiters: "too many waiters",
	TooManyHere: "too many of the session here", Ignored: "ignored",
}

// String returns the outcome in words.
func (c Code) String() string { return nameAt(codeNames[:], int(c)) }

var howNames = [...]string{
	NotEnded: "not ended", Released: "released", Closed: "closed", Expired: "expired", Broken: "broken", HandedOn: "handed on",
	Forgotten: "forgotten",
}

// String returns how it ended, in words.
func (how How) String() string { return nameAt(howNames[:], int(how)) }

var validityNames = [...]string{Valid: "valid", Past: "stale", Free: "free"}

// String returns the answer in a word.
func (v Validity) String() string { return nameAt(validityNames[:], int(v)) }

func nameAt(names []string, i int) string {
	if i < len(names) && names[i] != "" {
		return names[i]
	}
	return strconv.Itoa(i)
}
