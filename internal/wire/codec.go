package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
)

// FrameMax is the largest length of a frame: its type and its body.
const FrameMax = 1 << 20

// headerSize is the length of a frame and its type.
const headerSize = 4 + 1

// ErrFrameTooLarge is what writing returns for a message that does not fit a frame.
var ErrFrameTooLarge = errors.New("wire: the message does not fit a frame")

// Append appends the frame of a message to b. If the message breaks a limit of its fields it returns b and a *[FormatError]: what
// Append takes, every reader of this version takes. It is safe for concurrent use.
func Append(b []byte, m Message) ([]byte, error) {
	e := registry[m.Type()]
	if e == nil || e.goal != reflect.TypeOf(m) {
		return b, fmt.Errorf("wire: a %T cannot be written", m)
	}
	start := len(b)
	w := pen{b: append(b, 0, 0, 0, 0, byte(m.Type()))}
	e.shape.put(&w, reflect.ValueOf(m).UnsafePointer())
	framed := w.b
	body := framed[start+headerSize:]
	if len(body)+1 > FrameMax {
		return b, fmt.Errorf("%w: %s has %d bytes, a frame at most %d", ErrFrameTooLarge, e.name, len(body)+1, FrameMax)
	}
	if w.wrong { // verify tells what, and where
		if err := e.shape.verify(body, e.name); err != nil {
			return b, err
		}
	}
	binary.BigEndian.PutUint32(framed[start:], uint32(len(body)+1))
	return framed, nil
}

// Decode reads the body of a frame. What is wrong with it is told by a *[FormatError]; a type that is not known gives an *[Unknown].
// Nothing in the message is a part of body. It allocates at most 32 times the length of the body and a constant. It is safe for
// concurrent use.
func Decode(t Type, body []byte) (Message, error) {
	e := registry[t]
	if e == nil {
		u := &Unknown{Kind: t}
		if u.IsRequest() {
			id, ok := RequestID(body)
			if !ok {
				return nil, &FormatError{Message: t.String(), Path: ".id", Problem: "a request of a later version without an id"}
			}
			u.ID = id
		}
		return u, nil
	}
	if err := e.shape.verify(body, e.name); err != nil {
		return nil, err
	}
	m := e.fresh()
	e.shape.get(&cursor{body: body}, reflect.ValueOf(m).UnsafePointer())
	return m, nil
}

// RequestID returns the first field of a body, which in every request is its id, however wrong the rest is.
func RequestID(body []byte) (id uint64, ok bool) {
	c := cursor{body: body}
	if n, ok := c.length(arrayFormats); !ok || n == 0 {
		return 0, false
	}
	return c.uint()
}
