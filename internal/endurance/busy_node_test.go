package endurance

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/telemetry"
	"github.com/lockd/lockd/lockd"
)

const (
	busyDir = "LOCKD_BUSY_DIR" // names the directory in which every node writes down when it stood still; set, its process is busy
	busyKey = "LOCKD_BUSY_KEY" // the key of its gossip

	spinners   = 4 // in every process
	leastStall = 100 * time.Millisecond
)

// busy is the configuration of a node that gossips, shows its metrics, and shares its process with work that takes what it can get.
func busy(c *lockd.Config) error {
	dir := os.Getenv(busyDir)
	if dir == "" {
		return nil
	}
	for _, m := range c.InitialCluster {
		host, _, err := net.SplitHostPort(m.Raft)
		if err != nil {
			return err
		}
		c.Join = append(c.Join, net.JoinHostPort(host, "7402"))
		echoes := net.JoinHostPort(host, "7404")
		if m.Name != c.Name {
			f, err := appendTo(filepath.Join(dir, c.Name+" to "+m.Name))
			if err != nil {
				return err
			}
			go askForEchoes(echoes, f)
			continue
		}
		c.ListenGossip = net.JoinHostPort(host, "7402")
		l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", echoes)
		if err != nil {
			return err
		}
		go echo(l)
	}
	c.GossipKey = os.Getenv(busyKey)
	all, err := telemetry.Setup(context.Background(), telemetry.Options{Service: "lockd", Instance: c.Name})
	if err != nil {
		return err
	}
	c.MeterProvider, c.Metrics = all.MeterProvider, all.Metrics
	f, err := appendTo(filepath.Join(dir, c.Name))
	if err != nil {
		return err
	}
	go probe(f)
	for range spinners {
		go allocate()
	}
	return nil
}

func appendTo(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// echo gives back what it gets.
func echo(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { _, _ = io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c}) }() // in this process, not in the kernel
	}
}

// askForEchoes writes down when one took its time: this is what a node sees of another, whatever it is that stands still.
func askForEchoes(address string, f *os.File) {
	tick := time.NewTicker(20 * time.Millisecond)
	var c net.Conn
	b := make([]byte, 1)
	for range tick.C {
		var err error
		if c == nil {
			if c, err = new(net.Dialer).DialContext(context.Background(), "tcp", address); err != nil {
				c = nil // it does not run yet
				continue
			}
		}
		asked := time.Now()
		if _, err = c.Write(b); err == nil {
			_, err = io.ReadFull(c, b)
		}
		if err != nil {
			_ = c.Close()
			c = nil
		}
		if took := time.Since(asked); took >= leastStall {
			_, _ = fmt.Fprintf(f, "%d %d\n", asked.UnixNano(), took) // who reads it sees that there are none
		}
	}
}

// kept is where the compiler must suppose that somebody looks.
var kept atomic.Pointer[[]byte]

// allocate takes a processor and memory, and never ends.
func allocate() {
	for work := make([][]byte, 0, 1024); ; {
		b := make([]byte, 4096)
		kept.Store(&b)
		if work = append(work, b); len(work) == cap(work) {
			work = work[:0]
		}
	}
}

// probe writes down when a goroutine that should have run every 10 ms did not, for whatever reason: no processor, a collection of
// garbage, a stop of the process.
func probe(f *os.File) {
	const every = 10 * time.Millisecond
	tick := time.NewTicker(every)
	for last := time.Now(); ; {
		<-tick.C
		now := time.Now()
		if late := now.Sub(last) - every; late >= leastStall {
			_, _ = fmt.Fprintf(f, "%d %d\n", last.UnixNano(), late) // who reads it sees that there are none
		}
		last = now
	}
}

// stall is a time in which a node did not run, had no answer of another, or waited for its disk.
type stall struct {
	node       string
	begin, end time.Time
}

func (s stall) took() time.Duration { return s.end.Sub(s.begin) }

func (s stall) String() string {
	return fmt.Sprintf("%s stood still for %v from %s", s.node, s.took().Round(time.Millisecond), s.begin.UTC().Format("15:04:05.000"))
}

// stalls reads what the nodes have written down.
func stalls(t *testing.T, dir string) (all []stall) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var at, took int64
			if _, err := fmt.Sscan(lines.Text(), &at, &took); err != nil && strings.Count(lines.Text(), " ") == 1 {
				t.Fatal(err)
			}
			begin := time.Unix(0, at)
			all = append(all, stall{filepath.Base(name), begin, begin.Add(time.Duration(took))})
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
