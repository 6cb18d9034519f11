package history

import (
	"bufio"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/lockd/lockd/lockd"
)

// Auditor writes down what a node applies. Its Applied is to be the node's lockd.Config.Applied. Each entry is one write, so a node that
// is killed loses no entry that it answered for.
type Auditor struct {
	clock func() int64

	mu    sync.Mutex // guards the fields below
	file  *os.File
	line  []byte
	fails error
}

// OpenAuditor returns the Auditor of a node that writes to a file, behind what earlier lives of the node have written there.
func OpenAuditor(path, node string) (*Auditor, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	a := &Auditor{clock: Now, file: f}
	// The line before may be torn.
	if _, err := fmt.Fprintf(f, "\nnode %q\n", node); err != nil {
		return nil, fmt.Errorf("history: %w", errors.Join(err, f.Close()))
	}
	return a, nil
}

// UseClock makes the Auditor read another clock than [Now], for a history within a simulation. It is called before anything else.
func (a *Auditor) UseClock(clock func() int64) { a.clock = clock }

// Applied writes down an entry. It is safe for concurrent use.
func (a *Auditor) Applied(e lockd.Entry) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := appendEntry(a.line[:0], &Entry{Entry: e, At: a.clock()})
	a.line = b
	if _, err := a.file.Write(b); err != nil && a.fails == nil {
		a.fails = fmt.Errorf("history: audit: %w", err)
	}
}

// Close closes the file, and returns the first error that there was.
func (a *Auditor) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return errors.Join(a.fails, a.file.Close())
}

// Audit is what one node has applied, in the order in which it told: after a start it may go back, and after a snapshot jump.
type Audit struct {
	Node    string
	Entries []Entry
}

// Entry is one entry that a node applied.
type Entry struct {
	lockd.Entry
	At int64 // when it was applied
}

// appendEntry appends the line of an entry.
func appendEntry(b []byte, e *Entry) []byte {
	b = strconv.AppendUint(b, e.Index, 10)
	b = strconv.AppendUint(append(b, ' '), e.Term, 10)
	b = strconv.AppendInt(append(b, ' '), e.At, 10)
	b = strconv.AppendUint(append(b, ' '), e.Token, 10)
	b = hex.AppendEncode(append(b, ' '), e.Hash[:])
	b = base64.StdEncoding.AppendEncode(append(b, ' '), e.Command)
	return append(b, " .\n"...) // a line without the full stop is torn
}

// ReadAudit reads the file of an Auditor. A line that is cut off where a life of the node ended is left out.
func ReadAudit(path string) (*Audit, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("history: %w", err)
	}
	a, err := readAudit(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("history: audit %s: %w", path, err)
	}
	return a, nil
}

func readAudit(src io.Reader) (*Audit, error) {
	a := &Audit{}
	var torn error
	err := eachLine(src, func(number int, line string, whole bool) error {
		switch {
		case strings.HasPrefix(line, "node "):
			name, err := strconv.Unquote(line[len("node "):])
			if err != nil || !whole {
				return nil //nolint:nilerr // the node was killed while it began
			}
			if a.Node != "" && a.Node != name {
				return fmt.Errorf("line %d: it is of node %q, and the lines before are of %q", number, name, a.Node)
			}
			a.Node, torn = name, nil
			return nil
		case line == "":
			return nil
		case torn != nil:
			return torn
		}
		e, err := parseEntry(line)
		if err != nil || !whole {
			torn = fmt.Errorf("line %d: %q is no entry, and no life of the node ends here: %w", number, line, err)
			return nil
		}
		a.Entries = append(a.Entries, e)
		return nil
	})
	if err == nil && a.Node == "" {
		err = errors.New("it does not name its node")
	}
	return a, err
}

// eachLine calls f with every line without its end; whole is false for a last one that has none.
func eachLine(src io.Reader, f func(number int, line string, whole bool) error) error {
	r := bufio.NewReaderSize(src, 1<<20)
	for number := 1; ; number++ {
		line, err := r.ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if line == "" {
			return nil
		}
		text, whole := strings.CutSuffix(line, "\n")
		if err := f(number, text, whole); err != nil {
			return err
		}
	}
}

var errFields = errors.New("it has not the fields of an entry")

func parseEntry(line string) (e Entry, err error) {
	var fields [7]string
	rest := line
	for i := range fields {
		var more bool
		if fields[i], rest, more = strings.Cut(rest, " "); more != (i < len(fields)-1) {
			return e, errFields
		}
	}
	if fields[6] != "." {
		return e, errFields
	}
	number := func(text string) uint64 {
		n, bad := strconv.ParseUint(text, 10, 63)
		err = errors.Join(err, bad)
		return n
	}
	e.Index, e.Term, e.At, e.Token = number(fields[0]), number(fields[1]), int64(number(fields[2])), number(fields[3])
	if n, bad := hex.Decode(e.Hash[:], []byte(fields[4][:min(len(fields[4]), 2*len(e.Hash))])); bad != nil || n != len(e.Hash) {
		return e, errFields
	}
	var bad error
	e.Command, bad = base64.StdEncoding.DecodeString(fields[5])
	return e, errors.Join(err, bad)
}
