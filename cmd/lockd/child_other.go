//go:build !unix

package main

import (
	"os"
	"syscall"
)

// child is a command.
type child struct {
	process *os.Process
	states  chan childState
}

// childState is something that happened to a child.
type childState struct {
	stopped bool // never here
	code    int  // what it ended with
}

// startChild runs a program with the standard streams of this one.
func startChild(path string, argv, env []string) (*child, error) {
	process, err := os.StartProcess(path, argv, &os.ProcAttr{Env: env, Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err != nil {
		return nil, notStarted(argv[0], err)
	}
	c := &child{process: process, states: make(chan childState)}
	go c.watch()
	return c, nil
}

func (c *child) watch() {
	defer close(c.states)
	state, err := c.process.Wait()
	if err != nil {
		c.states <- childState{code: exitFailure}
		return
	}
	c.states <- childState{code: state.ExitCode()}
}

// signal does nothing: a console sends its interrupts to the child itself.
func (c *child) signal(os.Signal) {}

// terminate kills the child: there is no gentler way.
func (c *child) terminate() { c.kill() }

func (c *child) kill() { _ = c.process.Kill() }

func (c *child) suspend() bool { return false }

func (c *child) resume() {}

func (c *child) takeBack() {}

// catchable are the signals that are handed on to a child.
func catchable() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// endsWait reports whether a signal ends a program that has no child yet.
func endsWait(os.Signal) bool { return true }
