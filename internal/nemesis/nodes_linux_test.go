package nemesis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lockd/lockd/lockd"
)

// errNobody: there is nobody whom a fault could hit now. It is tried again a little later.
var errNobody = errors.New("there is nobody whom it could hit")

// order returns the nodes in an order that the fault draws.
func (a *arena) order(f fault) []int {
	return rand.New(rand.NewPCG(f.pick, 0)).Perm(clusterSize)
}

// free draws a node that serves and that no other fault has taken.
func (a *arena) free(f fault) (int, error) {
	for _, i := range a.order(f) {
		if !a.taken[i] && a.serves(i) {
			return i, nil
		}
	}
	return 0, errNobody
}

// serves reports whether a node runs and has said that it serves.
func (a *arena) serves(i int) bool {
	if !a.cluster.Running(i) {
		return false
	}
	select {
	case <-a.cluster.Ready(i):
		return true
	default:
		return false
	}
}

// leader returns the node that leads in the highest term, if no fault has taken it.
func (a *arena) leader() (int, error) {
	best, term := -1, uint64(0)
	for i, s := range a.statuses() {
		if s.Role == "leader" && s.Term > term {
			best, term = i, s.Term
		}
	}
	if best < 0 || a.taken[best] {
		return 0, errNobody
	}
	return best, nil
}

// statuses asks all nodes that are not taken how they are; the zero status is of one that does not answer.
func (a *arena) statuses() [clusterSize]lockd.NodeStatus {
	var all [clusterSize]lockd.NodeStatus
	for i := range all {
		if a.taken[i] || !a.serves(i) {
			continue
		}
		if err := a.status(i, &all[i]); err != nil {
			all[i] = lockd.NodeStatus{}
		}
	}
	return all
}

func (a *arena) status(i int, s *lockd.NodeStatus) error {
	ctx, cancel := context.WithTimeout(a.t.Context(), time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.cluster.Addresses(i).HTTP+"/status", nil)
	if err != nil {
		return err
	}
	reply, err := a.http.Do(req)
	if err != nil {
		return err
	}
	body, err := io.ReadAll(reply.Body)
	if err = errors.Join(err, reply.Body.Close()); err != nil {
		return err
	}
	return json.Unmarshal(body, s)
}

// take keeps other faults away from nodes until give.
func (a *arena) take(nodes ...int) {
	for _, i := range nodes {
		a.taken[i] = true
	}
}

func (a *arena) give(nodes ...int) {
	for _, i := range nodes {
		a.taken[i] = false
	}
}

// kill ends nodes at once. The function that it returns starts them again.
func (a *arena) kill(list ...int) (restart func() int64) {
	a.take(list...)
	a.cluster.Kill(list...)
	return func() int64 {
		for _, i := range list {
			a.cluster.Run(i)
		}
		a.give(list...)
		return int64(len(list))
	}
}

// target draws a node, the leader for a kind that is about leaders.
func (a *arena) target(f fault) (int, error) {
	if f.kind == killLeader || f.kind == stopLeader || (f.kind == hungDisk || f.kind == slowDisk) && f.pick%2 == 0 {
		return a.leader()
	}
	return a.free(f)
}

// crash kills one node or several.
func (a *arena) crash(f fault) (func() int64, error) {
	want := map[kind]int{killMinority: clusterSize / 2, killAll: clusterSize}[f.kind]
	if want == 0 {
		one, err := a.target(f)
		if err != nil {
			return nil, err
		}
		return a.kill(one), nil
	}
	list := slices.DeleteFunc(a.order(f), func(i int) bool { return a.taken[i] || !a.cluster.Running(i) })
	if len(list) < min(want, clusterSize-1) { // one may be down already
		return nil, errNobody
	}
	return a.kill(list[:min(want, len(list))]...), nil
}

// freeze stops a node's process.
func (a *arena) freeze(f fault) (func() int64, error) {
	one, err := a.target(f)
	if err != nil {
		return nil, err
	}
	a.take(one)
	a.cluster.Signal(one, syscall.SIGSTOP)
	return func() int64 {
		stopped := a.cluster.Running(one) && strings.Contains(states(a.cluster.PID(one)), "T")
		a.cluster.Signal(one, syscall.SIGCONT)
		a.give(one)
		return count(stopped)
	}, nil
}

func count(hit bool) int64 {
	if hit {
		return 1
	}
	return 0
}

// states returns the states of a process's threads, a letter for each: R runs, S sleeps, D waits for a disk, T is stopped.
func states(pid int) string {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return ""
	}
	var all strings.Builder
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		all.WriteString(rest[:min(1, len(rest))])
	}
	return all.String()
}

// blackout takes the power from one node or all. The processes are stopped before: a flush that is under way when the file system
// goes may be told that it has succeeded, which with real power nobody would hear.
func (a *arena) blackout(f fault) (func() int64, error) {
	var list []int
	if f.kind == powerCutAll {
		list = slices.DeleteFunc(a.order(f), func(i int) bool { return a.taken[i] || !a.cluster.Running(i) })
		if len(list) < clusterSize-1 {
			return nil, errNobody
		}
	} else {
		one, err := a.free(f)
		if err != nil {
			return nil, err
		}
		list = []int{one}
	}
	for _, i := range list {
		a.cluster.Signal(i, syscall.SIGSTOP)
	}
	for _, i := range list {
		if err := a.await("stop of "+strconv.Itoa(i), 5*time.Second, func() bool { return strings.Trim(states(a.cluster.PID(i)), "TD") == "" }); err != nil {
			return nil, err
		}
	}
	for _, i := range list {
		a.disks[i].CutPower(a.t)
	}
	restart := a.kill(list...)
	for _, i := range list {
		a.disks[i].Restart(a.t)
	}
	return restart, nil
}

// hang lets a node's disk stand still.
func (a *arena) hang(f fault) (func() int64, error) {
	one, err := a.target(f)
	if err != nil {
		return nil, err
	}
	a.take(one)
	a.disks[one].Freeze(a.t)
	return func() int64 {
		waits := a.hangs(one)
		a.disks[one].Thaw(a.t)
		a.give(one)
		return count(waits)
	}, nil
}

// hungMost is how much longer a disk hangs for a node that is cut off and has had nothing to write.
const hungMost = 10 * time.Second

// hangs waits until a node waits for its disk, and reports whether it does.
func (a *arena) hangs(one int) bool {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for begun := time.Now(); a.cluster.Running(one); <-look.C {
		if strings.Contains(states(a.cluster.PID(one)), "D") {
			return true
		}
		if time.Since(begun) > hungMost {
			return false
		}
	}
	return false
}

// fill takes all room from a node's disk, or nearly all.
func (a *arena) fill(f fault) (func() int64, error) {
	one, err := a.free(f)
	if err != nil {
		return nil, err
	}
	a.take(one)
	ballast, err := os.Create(filepath.Join(a.disks[one].Dir, "ballast"))
	if err != nil {
		return nil, err
	}
	left := int64(0)
	if f.size < 0.5 {
		left = 16 << 20 // less than what the node wants to be free
	}
	full, err := occupy(ballast, left)
	if err != nil {
		return nil, err
	}
	return func() int64 {
		// A power cut must not bring it back.
		if err := errors.Join(os.Remove(ballast.Name()), unix.Syncfs(int(ballast.Fd())), ballast.Close()); err != nil {
			a.t.Errorf("make room again: %v", err)
		}
		a.give(one)
		return count(full)
	}, nil
}

// occupy grows a file until only so many bytes are free.
func occupy(f *os.File, left int64) (full bool, err error) {
	size := int64(0)
	for step := int64(64 << 20); step >= 4096; {
		var s unix.Statfs_t
		if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
			return false, err
		}
		if free := int64(s.Bavail) * s.Bsize; free-step < left {
			step /= 2
			continue
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, size, step); {
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		case err != nil:
			return false, fmt.Errorf("fill a disk: %w", err)
		default:
			size += step
		}
	}
	return size > 0, nil
}

// brake lets a node's disk take few writes a second.
func (a *arena) brake(f fault) (func() int64, error) {
	one, err := a.target(f)
	if err != nil {
		return nil, err
	}
	a.take(one)
	slow, err := a.throttle(a.disks[one].Dir, a.cluster.PID(one), 10+int(f.size*40))
	if err != nil {
		return nil, err
	}
	return func() int64 {
		hits, err := slow.end()
		if err != nil {
			a.t.Errorf("slow disk: %v", err)
		}
		a.give(one)
		return hits
	}, nil
}
