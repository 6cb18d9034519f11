package history

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kind says what an operation does.
type Kind string

// The kinds.
const (
	Acquire  Kind = "acquire"   // a lock, a lease, slots, several names, a leadership
	Release  Kind = "release"   // what Token names
	Renew    Kind = "renew"     // a lease
	HandOn   Kind = "hand-on"   // a lease: Before is its token, Token the new one in the end
	SetValue Kind = "set-value" // an election's leader proclaims
	Query    Kind = "query"     // who holds it
	Held     Kind = "held"      // the process believes, at Call, that it holds Token until Until; see [Recorder.Note]
	Lost     Kind = "lost"      // the process has learned that it holds Token no more; see [Recorder.Note]
	Write    Kind = "write"     // an increment at the resource named Keys[0], under Token
)

// Mode says how a lock is held.
type Mode string

// The modes.
const (
	Exclusive Mode = "exclusive"
	Shared    Mode = "shared"
	Slot      Mode = "slot"
)

// Outcome says how an operation ended.
type Outcome string

// The outcomes.
const (
	Unknown Outcome = ""        // nobody told: it may have happened, and may still happen
	OK      Outcome = "ok"      // it happened
	Refused Outcome = "refused" // it had no effect and will have none
)

// Operation is what one process did and saw. Which fields mean something depends on the Kind; names of fields are short in the file.
type Operation struct {
	Process string `json:"-"`
	ID      uint64 `json:"-"` // within the process, from 1

	Kind  Kind     `json:"kind,omitempty"`
	Keys  []string `json:"keys,omitempty"`  // names of the lock, or of the resource
	Mode  Mode     `json:"mode,omitempty"`  // of an Acquire
	Limit int      `json:"limit,omitempty"` // of a Slot lock
	Lease bool     `json:"lease,omitempty"` // it does not live with the session
	Try   bool     `json:"try,omitempty"`   // of an Acquire: it does not wait
	// Reentrant: of an Acquire that may enter a hold of its own once more, which has then the same token.
	Reentrant bool `json:"reentrant,omitempty"`

	Call   int64 `json:"-"` // when it began
	Return int64 `json:"-"` // when it ended; 0: it did not

	Outcome Outcome `json:"outcome,omitempty"`
	Reason  string  `json:"reason,omitempty"` // why it was refused, or is not known
	Token   uint64  `json:"token,omitempty"`  // of the hold; of a Query the newest holder's, 0 if there is none
	Index   uint64  `json:"index,omitempty"`  // of the log, if the process was told

	// Until is until when the process believes, at the end of the operation, that it holds. A hold is valid from the Return of its Acquire
	// to the latest Until that was told before its Release began or it was Lost.
	Until int64 `json:"until,omitempty"`

	Before uint64 `json:"before,omitempty"` // of a Write: the value that was read, one less than the one written; of a HandOn: the old token
	Order  uint64 `json:"order,omitempty"`  // of a Write that was accepted: its place among all that the resource accepted, from 1
}

// Now returns the nanoseconds of CLOCK_MONOTONIC, asked of the kernel: it is not the clock of the runtime, which a test may have changed.
func Now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(fmt.Sprintf("history: CLOCK_MONOTONIC: %v", err)) // every Linux has it
	}
	return t.Nano()
}

// End returns when the operation ended, the end of all time if it did not.
func (o *Operation) End() int64 {
	if o.Return == 0 || o.Outcome == Unknown {
		return forever
	}
	return o.Return
}

const forever int64 = 1<<63 - 1

// String returns the operation in one line, for people.
func (o *Operation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s#%d %s %s", o.Process, o.ID, o.Kind, strings.Join(o.Keys, ","))
	if o.Mode != "" && o.Mode != Exclusive {
		fmt.Fprintf(&b, " %s", o.Mode)
	}
	if o.Token > 0 {
		fmt.Fprintf(&b, " token %d", o.Token)
	}
	if o.Kind == Write {
		fmt.Fprintf(&b, " %d→%d (write %d)", o.Before, o.Before+1, o.Order)
	}
	fmt.Fprintf(&b, " [%s, %s]", moment(o.Call), moment(o.End()))
	if o.Index > 0 {
		fmt.Fprintf(&b, " at %d", o.Index)
	}
	if o.Until > 0 {
		fmt.Fprintf(&b, " valid until %s", moment(o.Until))
	}
	if o.Outcome == Unknown {
		b.WriteString(" unknown")
	} else {
		fmt.Fprintf(&b, " %s", o.Outcome)
	}
	if o.Reason != "" {
		fmt.Fprintf(&b, " (%s)", o.Reason)
	}
	return b.String()
}

func moment(at int64) string {
	if at == forever {
		return "…"
	}
	return fmt.Sprintf("%.6fs", time.Duration(at).Seconds())
}
