package main

import (
	"context"
	"errors"
	"os"
	"time"
)

// hold is what a command runs under: a *client.Lock.
type hold interface {
	Context() context.Context // ends with the hold
	Err() error               // nil as long as it is held
	ValidUntil() time.Time    // moves forwards while the cluster confirms it
}

// supervisor runs a command for as long as a lock is held and not longer.
//
// The command is asked to end (TERM) as soon as the lock is lost, or when its validity is about to end because the
// cluster has not confirmed it, and is killed before the validity ends. So it is dead before anybody else can hold the lock, as long as
// this program runs.
type supervisor struct {
	hold     hold
	signals  *signals
	stopTime time.Duration // from TERM to the end of the validity
	say      func(format string, args ...any)

	child      *child
	killAt     time.Time // the zero time as long as the command has not been asked to end
	lost       error     // why it was
	interrupts int
}

// errUnconfirmed is why a command is stopped before its lock is lost.
var errUnconfirmed = errors.New("the cluster has not confirmed the lock for too long")

// killLead is how long before the end of the validity a command is killed: the time for the kernel to do so.
const killLead = 200 * time.Millisecond

// ended is how a command ended.
type ended struct {
	code int   // as a shell tells it
	lost error // not nil: the lock was lost while it ran, or was about to be
}

// run runs the command to its end.
func (s *supervisor) run(path string, argv, env []string) (ended, error) {
	var err error
	if s.child, err = startChild(path, argv, env); err != nil {
		return ended{}, err
	}
	defer s.child.takeBack()
	alarm := time.NewTimer(s.next())
	defer alarm.Stop()
	held := s.hold.Context().Done()
	for {
		select {
		case state := <-s.child.states:
			if !state.stopped {
				return s.end(state), nil
			}
			s.pause()
		case sig := <-s.signals.c:
			s.forward(sig)
		case <-held:
			held = nil
			s.giveUp(s.hold.Err())
		case <-alarm.C:
			s.check()
		}
		alarm.Reset(s.next())
	}
}

// next returns how long nothing has to be done if nothing happens.
func (s *supervisor) next() time.Duration {
	if s.lost != nil {
		return max(time.Until(s.killAt), time.Millisecond)
	}
	return max(time.Until(s.hold.ValidUntil())-s.stopTime, time.Millisecond)
}

// check does what is due.
func (s *supervisor) check() {
	switch now := time.Now(); {
	case s.lost != nil && !now.Before(s.killAt):
		s.child.kill()
		s.killAt = now.Add(time.Second) // for what is started in the group meanwhile
	case s.lost == nil && !now.Before(s.hold.ValidUntil().Add(-s.stopTime)):
		s.giveUp(errUnconfirmed)
	}
}

// giveUp asks the command to end, and kills it if the validity is over already. There is no way back.
func (s *supervisor) giveUp(why error) {
	if s.lost != nil {
		return
	}
	if why == nil {
		why = context.Cause(s.hold.Context())
	}
	s.lost = why
	s.killAt = s.hold.ValidUntil().Add(-min(killLead, s.stopTime/2))
	s.say("%v; the command is stopped", why)
	s.child.terminate()
	s.check()
}

// forward hands a signal on. Who interrupts twice means it.
func (s *supervisor) forward(sig os.Signal) {
	if sig == os.Interrupt {
		if s.interrupts++; s.interrupts > 1 {
			s.child.kill()
			return
		}
	}
	s.child.signal(sig)
}

// pause lets the user's shell go on while the command is suspended. The lock is not renewed meanwhile: if it was lost, the command
// does not get to run another instruction.
func (s *supervisor) pause() {
	if !s.child.suspend() {
		return
	}
	if err := s.hold.Err(); err != nil {
		s.child.kill()
		s.giveUp(err)
		return
	}
	s.child.resume()
}

// end decides what an end means, and leaves nobody behind who works for a lock that is lost.
func (s *supervisor) end(state childState) ended {
	if s.lost == nil {
		s.lost = s.hold.Err()
	}
	if s.lost != nil {
		s.child.kill()
	}
	return ended{code: state.code, lost: s.lost}
}
