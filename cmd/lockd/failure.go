package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	client "github.com/lockd/lockd/client/go"
)

// The codes the program ends with, besides those of a command it ran. 69, 75 and 77 are those of sysexits.h.
const (
	exitFailure       = 1
	exitUsage         = 2
	exitUnavailable   = 69
	exitNotAcquired   = 75
	exitLost          = 76
	exitDenied        = 77
	exitNotExecutable = 126
	exitNotFound      = 127
	exitSignal        = 128 // and the signal's number
)

// usageError says that the words of the command line make no sense.
type usageError struct {
	text string
	path []string // of the command, for the hint
}

func (e *usageError) Error() string { return e.text }

func (e *usageError) hint() string {
	return "see: " + strings.Join(append([]string{"lockd help"}, e.path...), " ")
}

// failure is an error with what it means for the end of the program.
type failure struct {
	code int
	err  error  // nil: nothing is to be said
	hint string // what to do next; empty: what the error itself suggests
}

func (f *failure) Error() string {
	if f.err == nil {
		return fmt.Sprintf("exit code %d", f.code)
	}
	return f.err.Error()
}

func (f *failure) Unwrap() error { return f.err }

// advice is what an error of the client means here. The first that fits counts.
var advice = []struct {
	err  error
	code int
	hint string
}{
	{client.ErrNotAcquired, exitNotAcquired, "see who holds it: lockd show NAME"},
	{client.ErrUnauthenticated, exitDenied, "the cluster wants to know who you are: --credential-file, or --cert and --key"},
	{client.ErrForbidden, exitDenied, ""},
	{client.ErrNotFound, exitFailure, ""},
	{client.ErrNoLeader, exitFailure, ""},
	{client.ErrWrongKind, exitFailure, "see what it is in use as: lockd show NAME"},
	{client.ErrNotHeld, exitFailure, "it was released, taken over, or its time has run out: lockd show NAME"},
	{client.ErrVersion, exitUnavailable, "this lockd and the nodes are of different versions: lockd version, lockd status"},
	{client.ErrDiskFull, exitUnavailable, "free space on the nodes' disks; releases and reads go on meanwhile"},
	{client.ErrOverloaded, exitUnavailable, "try again later"},
	{client.ErrInvalid, exitUsage, ""},
	{client.ErrUnavailable, exitUnavailable, unavailableHint},
	{context.DeadlineExceeded, exitUnavailable, unavailableHint},
	{client.ErrLockLost, exitLost, ""},
}

const unavailableHint = `is lockd running there? To try it: lockd serve --dev
other nodes are named by -e HOST:PORT,... or LOCKD_ENDPOINTS`

// verdict returns the exit code of an error, and the hint for it.
func verdict(err error) (code int, hint string) {
	if err == nil {
		return 0, ""
	}
	if usage, ok := errors.AsType[*usageError](err); ok {
		return exitUsage, usage.hint()
	}
	if s, ok := errors.AsType[*signalError](err); ok {
		return exitSignal + int(s.signal), ""
	}
	code = exitFailure
	for _, a := range advice {
		if errors.Is(err, a.err) {
			code, hint = a.code, a.hint
			break
		}
	}
	if f, decided := errors.AsType[*failure](err); decided { // also for 0: a command's own, or that of -E
		code, hint = f.code, orElse(f.hint, hint)
	}
	return code, hint
}

// complain tells people what went wrong and what to do next, and returns the exit code.
func (p *program) complain(err error) int {
	code, hint := verdict(err)
	_, signalled := errors.AsType[*signalError](err)
	if f, ok := errors.AsType[*failure](err); err == nil || signalled || ok && f.err == nil {
		return code
	}
	label := "lockd: "
	if p.colored(p.err) {
		label = "\x1b[1;31mlockd:\x1b[0m "
	}
	text := strings.TrimPrefix(err.Error(), "lockd: ")
	if hint != "" {
		text += "\n" + hint
	}
	fmt.Fprintln(p.err, label+strings.ReplaceAll(text, "\n", "\n       "))
	return code
}

// colored reports whether w is a terminal whose user has nothing against colors.
func (p *program) colored(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}
