package wire

import "io"

// flushAt is how many bytes a Writer keeps before it writes them unasked.
const flushAt = 64 << 10

// Writer writes frames to a stream, many of them with one write. It keeps at most 64 KiB and one frame. It is not safe for concurrent use.
type Writer struct {
	dst io.Writer
	buf []byte
	err error // of the stream; it stays
}

// NewWriter returns a Writer to a stream.
func NewWriter(dst io.Writer) *Writer { return &Writer{dst: dst} }

// Write takes a message, to be written by Flush, or at once when much is waiting: only then it may block. An error of the message (see
// [Append]) leaves the stream as it was; an error of the stream stays.
func (w *Writer) Write(m Message) error {
	if w.err != nil {
		return w.err
	}
	framed, err := Append(w.buf, m)
	if err != nil {
		return err
	}
	w.buf = framed
	if len(w.buf) >= flushAt {
		return w.Flush()
	}
	return nil
}

// WriteFrames takes frames as [Append] made them: what goes to many connections is encoded once.
func (w *Writer) WriteFrames(frames []byte) error {
	if w.err != nil {
		return w.err
	}
	w.buf = append(w.buf, frames...)
	if len(w.buf) >= flushAt {
		return w.Flush()
	}
	return nil
}

// Buffered returns how many bytes wait for Flush.
func (w *Writer) Buffered() int { return len(w.buf) }

// Flush writes what waits, in one write. After an error the stream has got a part of it, and the Writer writes no more.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.dst.Write(w.buf)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	w.err = err
	w.buf = w.buf[:0]
	if cap(w.buf) > 2*flushAt {
		w.buf = nil
	}
	return err
}
