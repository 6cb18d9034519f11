//go:build unix

package main

import (
	"errors"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// child is a command in a process group of its own, which has the terminal if this program had it.
type child struct {
	pid      int
	terminal int // descriptor of the terminal that was given to it, -1 for none
	states   chan childState
}

// childState is something that happened to a child.
type childState struct {
	stopped bool // by a signal; it goes on later. Else it has ended
	code    int  // of an end, as a shell tells it
}

// startChild runs a program with the standard streams of this one. What went wrong has the exit code that shells use for it.
func startChild(path string, argv, env []string) (*child, error) {
	c := &child{terminal: -1, states: make(chan childState)}
	if foreground(int(os.Stdin.Fd())) {
		c.terminal = int(os.Stdin.Fd())
	}
	attr := &syscall.ProcAttr{
		Env: env, Files: []uintptr{os.Stdin.Fd(), os.Stdout.Fd(), os.Stderr.Fd()},
		Sys: &syscall.SysProcAttr{Setpgid: true, Foreground: c.terminal >= 0, Ctty: max(c.terminal, 0)},
	}
	dieWithParent(attr.Sys)
	started := make(chan error)
	go func() {
		// The child is to die with its parent, and for the kernel that is this thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var err error
		c.pid, _, err = syscall.StartProcess(path, argv, attr)
		started <- err
		if err == nil {
			c.watch()
		}
	}()
	if err := <-started; err != nil {
		return nil, notStarted(argv[0], err)
	}
	if c.terminal >= 0 {
		signal.Ignore(syscall.SIGTTOU) // from here on this program is in the background of its terminal
	}
	return c, nil
}

// watch sends every state of the child, up to its end.
func (c *child) watch() {
	defer close(c.states)
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(c.pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil: // somebody else has reaped it, and its code with it
			c.states <- childState{code: exitFailure}
			return
		case status.Stopped():
			c.states <- childState{stopped: true}
		case status.Signaled():
			c.states <- childState{code: exitSignal + int(status.Signal())}
			return
		case status.Exited():
			c.states <- childState{code: status.ExitStatus()}
			return
		}
	}
}

// signal sends a signal to the whole group. That nobody is left to get it is no error.
func (c *child) signal(s os.Signal) {
	if s, ok := s.(syscall.Signal); ok {
		_ = syscall.Kill(-c.pid, s)
	}
}

// terminate asks the group to end, also when it is stopped.
func (c *child) terminate() {
	c.signal(syscall.SIGTERM)
	c.signal(syscall.SIGCONT)
}

func (c *child) kill() { c.signal(syscall.SIGKILL) }

// suspend stops this program as its child was stopped, so that the shell goes on, and returns when the shell continues it.
// A child without the terminal was stopped by somebody who will also continue it.
func (c *child) suspend() (suspended bool) {
	if c.terminal < 0 {
		return false
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	c.takeBack()
	if syscall.Kill(0, syscall.SIGSTOP) == nil {
		<-continued // the stop may come a moment after the call
	}
	return true
}

// resume continues a suspended child, with the terminal if the shell put this program into its foreground.
func (c *child) resume() {
	if foreground(c.terminal) {
		setForeground(c.terminal, c.pid)
	}
	c.signal(syscall.SIGCONT)
}

// takeBack makes this program's group the one that reads the terminal, unless the shell does: then the user put this program into
// the background.
func (c *child) takeBack() {
	if c.terminal < 0 {
		return
	}
	group, err := unix.IoctlGetInt(c.terminal, unix.TIOCGPGRP)
	if shell, e := syscall.Getpgid(syscall.Getppid()); err == nil && (e != nil || group != shell) {
		setForeground(c.terminal, syscall.Getpgrp())
	}
}

// foreground reports whether this program's group is the one that reads the terminal.
func foreground(terminal int) bool {
	group, err := unix.IoctlGetInt(terminal, unix.TIOCGPGRP)
	return err == nil && group == syscall.Getpgrp()
}

// setForeground fails only when the terminal is gone, and then there is nothing to give.
func setForeground(terminal, group int) {
	_ = unix.IoctlSetPointerInt(terminal, unix.TIOCSPGRP, group)
}

// catchable are the signals that are handed on to a child.
func catchable() []os.Signal {
	return []os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
	}
}

// endsWait reports whether a signal ends a program that has no child yet.
func endsWait(s os.Signal) bool {
	return s != syscall.SIGUSR1 && s != syscall.SIGUSR2 && s != syscall.SIGWINCH
}
