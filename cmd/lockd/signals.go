package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signals are those that were sent to this program, from the moment they are caught.
type signals struct{ c chan os.Signal }

// manySignals may arrive before they are handled; more of them are lost.
const manySignals = 16

// catchSignals begins to catch signals. What the parent ignores, as nohup does with SIGHUP, stays ignored, here and in a child.
func catchSignals(which ...os.Signal) *signals {
	s := &signals{c: make(chan os.Signal, manySignals)}
	for _, sig := range which {
		if !signal.Ignored(sig) {
			signal.Notify(s.c, sig)
		}
	}
	return s
}

// stop leaves the signals to what they usually do.
func (s *signals) stop() { signal.Stop(s.c) }

// ending returns a context that ends, with a *signalError as its cause, when a signal comes that ends a program. After the function
// it returns was called, the signals can be read from c again.
func (s *signals) ending(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case sig := <-s.c:
				if number, ok := sig.(syscall.Signal); ok && endsWait(sig) {
					cancel(&signalError{number})
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx, func() {
		cancel(nil)
		<-done
	}
}

// untilSignal returns a context that ends with the first signal that asks the program to stop. The second one ends the program.
func untilSignal(ctx context.Context) (context.Context, func()) {
	s := catchSignals(os.Interrupt, syscall.SIGTERM)
	ctx, release := s.ending(ctx)
	unregister := context.AfterFunc(ctx, s.stop)
	return ctx, func() {
		unregister()
		s.stop()
		release()
	}
}

// signalError says that a signal ended the program.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return e.signal.String() }

// stoppedBy returns the signal that ended ctx, nil if something else did.
func stoppedBy(ctx context.Context) *signalError {
	cause, _ := context.Cause(ctx).(*signalError) //nolint:errorlint // the cause is set as it is
	return cause
}
