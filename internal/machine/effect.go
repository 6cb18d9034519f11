package machine

import "time"

// Slot is one of the two connections a machine may have.
type Slot uint8

const (
	slotCount = 2
	noSlot    = Slot(slotCount)
)

// CallID names an operation towards the caller. It outlives the life of the session the operation began in.
type CallID uint64

// An Effect is something the owner of a Machine has to do, or to tell its callers. The set is closed.
type Effect interface{ effect() }

type (
	// Send hands a message to the connection of a slot. If it is down by now, the message is dropped.
	Send struct {
		Slot    Slot
		Message Message
	}

	// Dial asks for a connection to a node other than that of the other slot, and to go on trying, over different
	// nodes, until it stands; and again whenever it broke; until Hang.
	Dial struct{ Slot Slot }

	// Hang ends what Dial began. Disconnected is not reported for it.
	Hang struct{ Slot Slot }

	// Opened tells that a new life began.
	Opened struct{ Life Life }

	// Jeopardy tells that more than half of the validity is used up without a confirmation.
	Jeopardy struct{ ValidUntil time.Duration }

	// Safe tells that the session was confirmed after Jeopardy.
	Safe struct{ ValidUntil time.Duration }

	// Lost tells that the life is over and with it every hold of Holds. Waits go on in the next life, at the end of
	// their queues.
	Lost struct {
		Life  Life
		Cause LossCause
		Holds []CallID
	}

	// Acquired tells that a call holds its lock, as long as the session is valid; or has got its lease, and that is
	// all there is of this call.
	Acquired struct {
		Call  CallID
		Token uint64
		Body  any
	}

	// Finished tells the outcome of a call that holds nothing.
	Finished struct {
		Call CallID
		Code Code
		Body any
	}

	// Ended tells that the hold of a call was ended by somebody else while the session lives.
	Ended struct {
		Call  CallID
		Token uint64
		Body  any
	}

	// Closed is the last effect of a machine: it was closed, or refused for good with Reason.
	Closed struct{ Reason any }
)

func (Send) effect()     {}
func (Dial) effect()     {}
func (Hang) effect()     {}
func (Opened) effect()   {}
func (Jeopardy) effect() {}
func (Safe) effect()     {}
func (Lost) effect()     {}
func (Acquired) effect() {}
func (Finished) effect() {}
func (Ended) effect()    {}
func (Closed) effect()   {}

// LossCause is why a life was lost.
type LossCause uint8

// The causes of a loss.
const (
	_            LossCause = iota
	LossValidity           // ValidUntil passed without a confirmation
	LossUnknown            // the cluster said that the life has ended
	LossClock              // cluster time gained so much that the own clock must have stood still
)

// String returns the cause in words.
func (c LossCause) String() string {
	switch c {
	case LossValidity:
		return "validity"
	case LossUnknown:
		return "unknown"
	case LossClock:
		return "clock"
	default:
		return "?"
	}
}
