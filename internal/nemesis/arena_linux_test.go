package nemesis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/lockd/lockd/internal/history"
	"github.com/lockd/lockd/internal/netlab"
	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/testdisk"
)

const (
	clusterSize = 5
	workerCount = 3
	clients     = 6 // of each worker
	ttl         = 3 * time.Second
	epoch       = 2 * time.Second

	resource = clusterSize + workerCount // host of the registers and of this process's own requests, which no fault touches
	hosts    = resource + 1

	diskSize = 700 // megabytes of each node
)

// arena is a cluster with its clients, each process on a host of its own.
type arena struct {
	t         testing.TB
	dir       string // of everything that is kept of a failure
	log       *os.File
	begin     time.Time
	lab       *netlab.Lab
	network   *network
	disks     []*testdisk.Disk
	cluster   *testcluster.Processes
	clocks    [clusterSize]clockLine
	taken     [clusterSize]bool // by a fault
	crooked   []crooked
	registers *registers
	workers   []*crew
	http      *http.Client
}

// newArena starts everything. Change, if not nil, changes what the workers are told.
func newArena(t testing.TB, dir string, seed uint64, fenced bool, change func(*workerConfig)) *arena {
	t.Helper()
	a := &arena{t: t, dir: dir, begin: time.Now(), lab: netlab.New(t, hosts, seed), registers: newRegisters(fenced)}
	a.network = newNetwork(a.lab, hosts)
	a.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return a.lab.Dial(resource)(ctx, address)
		},
		DisableKeepAlives: true,
	}}
	var err error
	if a.log, err = os.Create(filepath.Join(dir, "events")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.log.Close() })
	a.startNodes()
	address := a.serveRegisters()
	start := history.Now()
	for i, host := range a.workerHosts() {
		config := workerConfig{
			Name: fmt.Sprintf("w%d", i+1), Endpoints: a.cluster.Endpoints(), Register: address, Clients: clients, Group: i % 2,
			Seed: seed<<8 + uint64(i), Start: start, TTL: ttl, Epoch: epoch, Think: 2 * time.Millisecond,
		}
		if change != nil {
			change(&config)
		}
		a.workers = append(a.workers, a.newCrew(host, config))
	}
	return a
}

func (a *arena) startNodes() {
	a.t.Helper()
	var places []testcluster.Place
	for i := range clusterSize {
		disk := testdisk.Ext4(a.t, diskSize)
		a.disks = append(a.disks, disk)
		places = append(places, testcluster.Place{
			Dir: disk.Dir, Host: a.lab.Addr(i).String(), Log: filepath.Join(a.dir, fmt.Sprintf("n%d.log", i+1)),
			Command: func(ctx context.Context, name string, args ...string) *exec.Cmd {
				cmd := a.lab.Command(ctx, i, name, args...)
				cmd.Env = append(cmd.Environ(), auditEnv+"="+auditFile(a.dir, i))
				if err := a.clocks[i].attach(cmd); err != nil {
					a.t.Fatal(err)
				}
				return cmd
			},
		})
	}
	a.t.Cleanup(func() {
		for i := range a.clocks {
			a.clocks[i].close()
		}
	})
	a.cluster = testcluster.StartAt(a.t, places)
}

// auditFile is where node i writes what it applies.
func auditFile(dir string, i int) string { return filepath.Join(dir, fmt.Sprintf("audit-n%d", i+1)) }

func (a *arena) serveRegisters() string {
	a.t.Helper()
	address := net.JoinHostPort(a.lab.Addr(resource).String(), "7000")
	l, err := a.lab.Listen(resource, address)
	if err != nil {
		a.t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		a.registers.serve(l)
	}()
	a.t.Cleanup(func() {
		_ = l.Close()
		<-served // who is connected is gone by now, or is given up soon
	})
	return address
}

// workerHosts returns the hosts of the workers.
func (a *arena) workerHosts() []int {
	var list []int
	for i := range workerCount {
		list = append(list, clusterSize+i)
	}
	return list
}

// exposed returns the hosts that faults of the network touch.
func (a *arena) exposed() []int {
	var list []int
	for i := range resource {
		list = append(list, i)
	}
	return list
}

// event writes down what happens.
func (a *arena) event(format string, args ...any) {
	_, _ = fmt.Fprintf(a.log, "%8.3fs %d "+format+"\n", append([]any{time.Since(a.begin).Seconds(), history.Now()}, args...)...)
}

// await asks again and again until it is so.
func (a *arena) await(what string, limit time.Duration, is func() bool) error {
	ctx, cancel := context.WithTimeoutCause(a.t.Context(), limit, errors.New("it takes too long"))
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: not within %v", what, limit)
		}
	}
	return nil
}
