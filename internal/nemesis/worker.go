package nemesis

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockd/lockd/client/go"
	"github.com/lockd/lockd/internal/clockskew"
	"github.com/lockd/lockd/internal/history"
)

const (
	// finalLimit is how long after the healing everybody must have been granted one more lock.
	finalLimit = 30 * time.Second
	// closeLimit is how long the close of a session may take by then.
	closeLimit = 15 * time.Second
)

// workerConfig is what a worker's process is told.
type workerConfig struct {
	Name      string
	History   string   // file that it records to
	Endpoints []string // of the nodes
	Register  string   // address of the registers
	Clients   int
	Group     int // its clients share names with those of workers of the same group
	Seed      uint64
	Start     int64         // of the scenario, in history.Now
	TTL       time.Duration // of its sessions
	Epoch     time.Duration // after which all work on new names
	Only      string        // the one job that it does; empty: all of them
	Think     time.Duration // between the read and the write of a counter
	Hold      time.Duration // the most that occupy holds a lock
	Careless  bool          // always, and not only now and then, write to the register without looking whether the lock is still held
}

// worker is a process of clients.
type worker struct {
	config   workerConfig
	recorder *history.Recorder
	draining atomic.Bool

	clocks sync.RWMutex // held for writing while the clocks jump, for reading while a belief about the future is written down
	holds  sync.Map     // of *hold: what is believed to be held
}

// runWorker runs the clients until a line on stdin tells it to finish, or stdin is closed: a test that dies takes its workers along.
// It says "ready" at first and in the end that all is done, or why not.
func runWorker(ctx context.Context, text string, in io.Reader, out io.Writer) error {
	var config workerConfig
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return err
	}
	file, err := os.OpenFile(config.History, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := &worker{config: config, recorder: history.NewRecorder(file, config.Name)}
	go w.serveClock()
	if _, err := fmt.Fprintln(out, "ready"); err != nil {
		return err
	}
	go w.obey(in)
	if err := errors.Join(w.run(ctx), w.recorder.Err(), file.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, "done")
	return err
}

// obey waits for the word to finish, and ends the process with its stdin.
func (w *worker) obey(in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		w.draining.Store(true)
	}
	os.Exit(1) //nolint:forbidigo // nobody is left to tell anything
}

func (w *worker) run(ctx context.Context) error {
	errs := make([]error, w.config.Clients)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() {
			if err := w.client(ctx, i); err != nil {
				errs[i] = fmt.Errorf("client %d: %w", i, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// client works until the worker is to finish, then wants one more lock and gives back everything.
func (w *worker) client(ctx context.Context, i int) (err error) {
	c, err := client.New(client.Config{
		Endpoints: w.config.Endpoints, TTL: w.config.TTL, Identity: fmt.Sprintf("%s/%d", w.config.Name, i),
		Dial: w.recorder.Dial(func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}),
	})
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(ctx, closeLimit)
		defer cancel()
		if bad := c.Close(closing); bad != nil {
			err = errors.Join(err, fmt.Errorf("close: %w", bad))
		}
	}()
	a := &actor{
		worker: w, client: c, register: register{address: w.config.Register},
		dice: rand.New(rand.NewPCG(w.config.Seed, uint64(i))),
	}
	defer a.register.close()
	for ctx.Err() == nil && !w.draining.Load() {
		a.step(ctx)
	}
	return a.last(ctx)
}

// serveClock lets the test change the clocks of this process. Before they jump everything that is held counts as lost: what was
// written down as valid until some time is not believed that long.
func (w *worker) serveClock() {
	_ = serveClock(func(c clockskew.Clock) {
		w.clocks.Lock()
		defer w.clocks.Unlock()
		if c.Jump != 0 {
			w.holds.Range(func(key, _ any) bool {
				if h, ok := key.(*hold); ok {
					w.recorder.Note(h.operation(history.Lost))
				}
				return true
			})
		}
		clockskew.Set(c)
	})
}

// clockEnv says that a process's clocks are told how to go over its file clockFile.
const (
	clockEnv  = "LOCKD_TEST_CLOCK"
	clockFile = 3
)

// serveClock sets the clocks as the other end of clockFile says, until it is closed.
func serveClock(set func(clockskew.Clock)) error {
	if os.Getenv(clockEnv) == "" {
		return nil
	}
	file := os.NewFile(clockFile, "clock")
	return clockskew.Serve(file, file, set)
}
