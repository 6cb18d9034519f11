package history

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/lockd/lockd/internal/wire"
)

// History is what all processes of a run have recorded.
type History struct {
	Operations []Operation // by Call
	Frames     []Frame     // by time
}

// Frame is a message that went over a connection of a client.
type Frame struct {
	Process string
	Conn    uint64 // within the process
	At      int64  // out: before it was sent; in: when it had been received
	Out     bool   // from the client to the cluster
	Message wire.Message
}

// Read reads the files of Recorders, one or more of each process. A line that is cut off at the end of a file, or before another
// process goes on in it, is left out.
func Read(files ...string) (*History, error) {
	h := &History{}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("history: %w", err)
		}
		if err := errors.Join(h.read(f), f.Close()); err != nil {
			return nil, fmt.Errorf("history: %s: %w", path, err)
		}
	}
	h.sort()
	return h, nil
}

func (h *History) sort() {
	slices.SortStableFunc(h.Operations, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
	slices.SortStableFunc(h.Frames, func(a, b Frame) int { return cmp.Compare(a.At, b.At) })
}

// read adds the lines of one file.
func (h *History) read(src io.Reader) error {
	f := &file{h: h, begun: map[uint64]int{}}
	var torn error
	err := eachLine(src, func(number int, line string, whole bool) error {
		if name, ok := strings.CutPrefix(line, "process "); ok {
			process, err := strconv.Unquote(name)
			if err == nil {
				f.process, torn = process, nil
				clear(f.begun)
			}
			return nil
		}
		if torn != nil {
			return torn
		}
		err := f.line(line)
		if err != nil {
			torn = fmt.Errorf("line %d: %w", number, err)
		}
		return nil
	})
	return err
}

// file is one file that is being read.
type file struct {
	h       *History
	process string
	begun   map[uint64]int // operations without an end: their places in the history
}

func (f *file) line(line string) error {
	what, rest, _ := strings.Cut(line, " ")
	first, rest, _ := strings.Cut(rest, " ")
	second, rest, _ := strings.Cut(rest, " ")
	id, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return err
	}
	at, err := strconv.ParseInt(second, 10, 64)
	if err != nil {
		return err
	}
	switch what {
	case ">", "<":
		return f.frame(id, at, what == ">", rest)
	case "begin", "note", "end":
		return f.event(what, id, at, rest)
	default:
		return fmt.Errorf("%q begins like no line of a history", line)
	}
}

func (f *file) frame(conn uint64, at int64, out bool, text string) error {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return err
	}
	if len(b) < frameHeader || int(binary.BigEndian.Uint32(b))+4 != len(b) {
		return errors.New("it is no frame")
	}
	m, err := wire.Decode(wire.Type(b[4]), b[frameHeader:])
	if err != nil {
		return err
	}
	f.h.Frames = append(f.h.Frames, Frame{Process: f.process, Conn: conn, At: at, Out: out, Message: m})
	return nil
}

func (f *file) event(what string, id uint64, at int64, text string) error {
	var o Operation
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	o.Process, o.ID, o.Call = f.process, id, at
	if what == "end" {
		place, ok := f.begun[id]
		if !ok {
			return fmt.Errorf("operation %d ends and has not begun", id)
		}
		delete(f.begun, id)
		o.Call, o.Return = f.h.Operations[place].Call, at
		f.h.Operations[place] = o
		return nil
	}
	if what == "note" {
		o.Return, o.Outcome = at, OK
	} else {
		f.begun[id] = len(f.h.Operations)
	}
	f.h.Operations = append(f.h.Operations, o)
	return nil
}
