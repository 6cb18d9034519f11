package nemesis

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// workerEnv has the configuration of a worker, for a test binary that is to be one.
const workerEnv = "LOCKD_TEST_WORKER"

// crew is one worker through all its lives.
type crew struct {
	arena  *arena
	host   int
	config workerConfig // of the present life
	lives  int
	log    *os.File

	cmd     *exec.Cmd
	stdin   io.WriteCloser
	clock   clockLine
	stopped bool
	ended   chan struct{}
	said    string // its last line; set before ended is closed
	end     error  // how it ended; set before ended is closed
}

func (a *arena) newCrew(host int, config workerConfig) *crew {
	w := &crew{arena: a, host: host, config: config}
	var err error
	if w.log, err = os.Create(filepath.Join(a.dir, config.Name+".log")); err != nil {
		a.t.Fatal(err)
	}
	a.t.Cleanup(w.kill)
	w.run()
	return w
}

// run starts a life, under a name of its own, and returns when it has begun.
func (w *crew) run() {
	a := w.arena
	a.t.Helper()
	w.lives++
	base, _, _ := strings.Cut(w.config.Name, ".")
	w.config.Name = fmt.Sprintf("%s.%d", base, w.lives)
	w.config.History = filepath.Join(a.dir, "history-"+w.config.Name)
	text, err := json.Marshal(w.config)
	if err != nil {
		a.t.Fatal(err)
	}
	w.cmd = a.lab.Command(context.WithoutCancel(a.t.Context()), w.host, os.Args[0])
	w.cmd.Env = append(os.Environ(), workerEnv+"="+string(text))
	w.cmd.Stderr = w.log
	if err := w.clock.attach(w.cmd); err != nil {
		a.t.Fatal(err)
	}
	out, err := w.cmd.StdoutPipe()
	if err == nil {
		w.stdin, err = w.cmd.StdinPipe()
	}
	if err == nil {
		err = w.cmd.Start()
	}
	if err != nil {
		a.t.Fatal(err)
	}
	w.ended = make(chan struct{})
	go w.watch(w.cmd, out, w.ended)
}

func (w *crew) watch(cmd *exec.Cmd, out io.Reader, ended chan struct{}) {
	lines := bufio.NewScanner(out)
	said := ""
	for lines.Scan() {
		said = lines.Text()
	}
	w.said, w.end = said, cmd.Wait()
	close(ended)
}

func (w *crew) running() bool {
	select {
	case <-w.ended:
		return false
	default:
		return w.cmd != nil
	}
}

func (w *crew) signal(s syscall.Signal) {
	if err := w.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		w.arena.t.Errorf("worker %s: %v", w.config.Name, err)
	}
	w.stopped = s == syscall.SIGSTOP
}

func (w *crew) kill() {
	if w.cmd == nil {
		return
	}
	w.signal(syscall.SIGKILL)
	<-w.ended
	w.cmd = nil
	w.clock.close()
}

// finish lets the worker do its last, and returns what went wrong.
func (w *crew) finish(limit <-chan time.Time) error {
	select {
	case <-w.ended:
	case <-limit:
		w.signal(syscall.SIGQUIT) // its log tells where it hangs
		return fmt.Errorf("worker %s does not finish", w.config.Name)
	}
	if w.end != nil || w.said != "done" {
		return fmt.Errorf("worker %s: %w; its last word was %q", w.config.Name, errors.Join(w.end, errors.New("it did not finish well")), w.said)
	}
	return nil
}

// idle draws a worker that runs and is not stopped.
func (a *arena) idle(f fault) (*crew, error) {
	for n := range a.workers {
		w := a.workers[(f.pick+uint64(n))%uint64(len(a.workers))]
		if w.running() && !w.stopped {
			return w, nil
		}
	}
	return nil, errNobody
}

// stopWorker stops a process of clients for longer than their sessions live.
func (a *arena) stopWorker(f fault) (func() int64, error) {
	w, err := a.idle(f)
	if err != nil {
		return nil, err
	}
	w.signal(syscall.SIGSTOP)
	return func() int64 {
		stopped := w.running() && strings.Contains(states(w.cmd.Process.Pid), "T")
		w.signal(syscall.SIGCONT)
		return count(stopped)
	}, nil
}

// killWorker ends a process of clients; the next one is another.
func (a *arena) killWorker(f fault) (func() int64, error) {
	w, err := a.idle(f)
	if err != nil {
		return nil, err
	}
	w.kill()
	return func() int64 {
		w.run()
		return 1
	}, nil
}
