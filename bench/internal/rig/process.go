package rig

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// Process is a program that was started here and ends with this one.
type Process struct {
	cmd  *exec.Cmd
	said tail          // on its standard error
	done chan struct{} // closed when it has ended
}

// Launch starts a command, which runs until it ends, Kill is called or its context ends. The end of what it says on its standard error
// is kept, also if it is written elsewhere too.
func Launch(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{})}
	if cmd.Stderr == nil {
		cmd.Stderr = &p.said
	} else {
		cmd.Stderr = io.MultiWriter(&p.said, cmd.Stderr)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // its state says how it ended
		close(p.done)
	}()
	return p, nil
}

// PID returns the id of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done returns a channel that is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal; a process that has ended is no error.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Stopped reports whether every thread of the process stands still by SIGSTOP.
func (p *Process) Stopped() (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.PID()))
	if err != nil || len(threads) == 0 {
		return false, fmt.Errorf("process %d has no threads: %w", p.PID(), cmp.Or(err, os.ErrProcessDone))
	}
	for _, file := range threads {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return false, err
		}
		// The name stands in parentheses and may hold anything, parentheses too.
		if !bytes.HasPrefix(b[bytes.LastIndexByte(b, ')')+1:], []byte(" T ")) {
			return false, nil
		}
	}
	return true, nil
}

// Kill ends it by SIGKILL, and returns when it has ended.
func (p *Process) Kill() error {
	err := p.Signal(os.Kill)
	<-p.done
	return err
}

// Alive fails, with its last words, when it has ended.
func (p *Process) Alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("process %d has ended, %v: %s", p.PID(), p.cmd.ProcessState, p.said.String())
	default:
		return nil
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex // guards the field below
	last []byte
}

// Write never fails.
func (t *tail) Write(b []byte) (int, error) {
	const most = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, b...)
	t.last = append(t.last[:0], t.last[max(0, len(t.last)-most):]...)
	return len(b), nil
}

// String returns what was kept.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.last))
}
