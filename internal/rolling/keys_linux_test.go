package rolling

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd"
	"github.com/lockd/lockd/membership"
)

// TestKeys changes the gossip key of five nodes under load, by the commands of an operator, each given at another node. Nobody takes
// another node for dead, no leader changes, and no request fails. A node that then comes with the old key alone is refused.
func TestKeys(t *testing.T) {
	n := max(rounds(t), 1)
	f := newFleet(t, 5, true)
	f.found()
	f.awaitMembers(f.machines, f.machines...)
	before := f.counts()
	l := startLoad(t, clientsOf(f.machines))
	see := f.watchMembers()
	l.more()
	old := f.keyFile()
	var ring []byte
	for round := range n {
		at := func(step int) *machine { return f.machines[(round+step)%len(f.machines)] }
		if round == n-1 {
			ring = f.ringOf(f.machines[4])
		}
		old = f.keyFile()
		next := f.newKey()
		f.order(at(0), next.String(), "install")
		l.more()
		f.order(at(1), "", "use", next.ID().String())
		l.more()
		f.order(at(2), "", "remove", old.ID().String())
		l.more()
		f.writeKey(next)
		f.onlyKey(next, at(3))
	}
	for _, text := range see() {
		t.Error(text)
	}
	for name, count := range f.counts() {
		if count != before[name] {
			t.Errorf("%s rose from %v to %v", name, before[name], count)
		}
	}
	f.strangerIsRefused(old)
	f.oldRingIsRefused(f.machines[4], ring)
	l.more()
	requests := l.finish()
	t.Logf("%d rotations, %d requests", n, requests)
	record(t, "keys", fmt.Sprintf("make keys ROUNDS=%d", n), n, requests, map[string]int64{"key rotation": int64(n)})
}

// TestKeysInterrupted lets a node be down at each step of a rotation, and stops one in the middle of each. The step is refused or says
// who has not followed, nobody is locked out, and the same step again, with all nodes, is followed. The short form stops one in the
// middle of the second step only: each time it takes seconds until the others know.
func TestKeysInterrupted(t *testing.T) {
	long := rounds(t) > 0
	if !long {
		t.Parallel()
	}
	f := newFleet(t, 3, true)
	f.found()
	f.awaitMembers(f.machines, f.machines...)
	old, next := f.keyFile(), f.newKey()
	down, hung := f.machines[2], f.machines[1]
	for _, step := range []struct {
		stdin string
		args  []string
	}{
		{next.String(), []string{"install"}},
		{"", []string{"use", next.ID().String()}},
		{"", []string{"remove", old.ID().String()}},
	} {
		f.terminate(down)
		f.awaitStatus(f.machines[0], down, "left")
		f.refused(step.stdin, step.args, down.name)
		f.start(down)
		f.awaitWell(down)
		f.awaitMembers(f.machines, f.machines...)

		if long || step.args[0] == "use" {
			f.signal(hung, syscall.SIGSTOP)
			f.refused(step.stdin, step.args, hung.name) // by the time it is taken for dead, at the latest
			f.signal(hung, syscall.SIGCONT)
			f.awaitWell(hung)
			f.awaitMembers(f.machines, f.machines...)
		}

		f.order(f.machines[0], step.stdin, step.args...)
		if step.args[0] == "install" {
			f.writeKey(next) // from here on a node starts with either
		}
	}
	f.onlyKey(next, f.machines[1])
	f.oldKeyFileIsRefused(down, old)
}

// order gives an order about keys at a node; all must follow.
func (f *fleet) order(at *machine, stdin string, args ...string) {
	f.t.Helper()
	if err := f.keyring(at, stdin, args...); err != nil {
		f.t.Fatal(err)
	}
}

// refused gives an order that must fail and name a node.
func (f *fleet) refused(stdin string, args []string, name string) {
	f.t.Helper()
	err := f.keyring(f.machines[0], stdin, args...)
	if err == nil || !strings.Contains(err.Error(), name) {
		f.t.Errorf("without %s: %v", name, err)
	}
}

func (f *fleet) keyring(at *machine, stdin string, args ...string) error {
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	args = slices.Concat([]string{"keyring"}, args, []string{"--http", at.http()})
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("lockd %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func (f *fleet) newKey() membership.Key {
	f.t.Helper()
	key, err := membership.ParseKey(f.must(f.run("keyring", "generate")))
	if err != nil {
		f.t.Fatal(err)
	}
	return key
}

// keyFile is the key that nodes are started with, and writeKey puts another one there.
func (f *fleet) keyFile() membership.Key {
	f.t.Helper()
	text, err := os.ReadFile(f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	key, err := membership.ParseKey(string(text))
	if err != nil {
		f.t.Fatal(err)
	}
	return key
}

func (f *fleet) writeKey(key membership.Key) {
	f.t.Helper()
	if err := os.WriteFile(f.key, []byte(key.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

const ringFile = "gossip.keyring"

func (f *fleet) ringOf(m *machine) []byte {
	f.t.Helper()
	ring, err := os.ReadFile(filepath.Join(m.dir, ringFile))
	if err != nil {
		f.t.Fatal(err)
	}
	return ring
}

func (f *fleet) writeRing(m *machine, ring []byte) {
	f.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, ringFile), ring, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// keysOf returns the keys of a machine, as another one has heard of them.
func (f *fleet) keysOf(by, m *machine) (keys []string) {
	f.t.Helper()
	for _, g := range f.membersBy(by) {
		if g.Name == m.name {
			keys = g.Keys
		}
	}
	return keys
}

// onlyKey requires that each node has this key alone, now, and waits until another node has heard so of all.
func (f *fleet) onlyKey(key membership.Key, by *machine) {
	f.t.Helper()
	want := []string{key.ID().String()}
	for _, m := range f.machines {
		if keys := f.keysOf(m, m); !slices.Equal(keys, want) {
			f.t.Errorf("after the rotation to %s, %s has the keys %v", want, m.name, keys)
		}
	}
	for _, m := range f.machines {
		f.await(by.name+" hears of the keys of "+m.name, func() error {
			if keys := f.keysOf(by, m); !slices.Equal(keys, want) {
				return fmt.Errorf("%v", keys)
			}
			return nil
		})
	}
}

func (f *fleet) membersBy(m *machine) (members []lockd.GossipMember) {
	f.t.Helper()
	if err := f.get(m, "/gossip", &members); err != nil {
		f.t.Fatal(err)
	}
	return members
}

// statuses returns how a machine sees others.
func (f *fleet) statuses(by *machine) (map[string]string, error) {
	var members []lockd.GossipMember
	err := f.get(by, "/gossip", &members)
	seen := map[string]string{}
	for _, g := range members {
		seen[g.Name] = g.Status
	}
	return seen, err
}

// awaitMembers waits until some machines see exactly these as alive.
func (f *fleet) awaitMembers(by []*machine, alive ...*machine) {
	f.t.Helper()
	for _, m := range by {
		f.await(m.name+" sees all members", func() error {
			seen, err := f.statuses(m)
			for _, other := range alive {
				if seen[other.name] != "alive" {
					return errors.Join(err, fmt.Errorf("it sees %v", seen))
				}
			}
			return err
		})
	}
}

func (f *fleet) awaitStatus(by, m *machine, status string) {
	f.t.Helper()
	f.await(by.name+" sees that "+m.name+" is "+status, func() error {
		seen, err := f.statuses(by)
		if seen[m.name] != status {
			return errors.Join(err, fmt.Errorf("it sees %v", seen))
		}
		return err
	})
}

// watchMembers looks at the members that each node sees until the returned function is called, which tells who was missing.
func (f *fleet) watchMembers() (missing func() []string) {
	ctx, cancel := context.WithCancel(f.t.Context())
	found := make(chan []string, 1)
	go func() {
		var list []string
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		looks := 0
		for ctx.Err() == nil {
			for _, by := range f.machines {
				seen, err := f.statuses(by)
				looks++
				for _, m := range f.machines {
					if err != nil || seen[m.name] != "alive" {
						list = append(list, fmt.Sprintf("%s sees %s as %q: %v", by.name, m.name, seen[m.name], err))
					}
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		if looks == 0 {
			list = append(list, "nobody has looked at the members")
		}
		found <- list
	}()
	return func() []string {
		cancel()
		return <-found
	}
}

// counts adds up what must not rise while nothing is wrong: members that were taken for dead, and elections.
func (f *fleet) counts() map[string]float64 {
	f.t.Helper()
	sum := map[string]float64{"lockd_gossip_failures_total": 0, "lockd_gossip_suspicions_total": 0, "lockd_raft_elections_won_total": 0}
	told := map[string]int{}
	for _, m := range f.machines {
		for line := range strings.Lines(f.page(m, "/metrics")) {
			name, _, _ := strings.Cut(strings.Fields(line)[0], "{")
			if _, ok := sum[name]; !ok {
				continue
			}
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndexByte(line, ' ')+1:]), 64)
			if err != nil {
				f.t.Fatal(err)
			}
			sum[name] += n
			told[name]++
		}
	}
	for name := range sum {
		if told[name] < len(f.machines) {
			f.t.Errorf("not all nodes tell of %s", name)
		}
	}
	return sum
}

func (f *fleet) page(m *machine, path string) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.http()+path, http.NoBody)
	if err != nil {
		f.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		f.t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	var page bytes.Buffer
	if _, err := page.ReadFrom(answer.Body); err != nil {
		f.t.Fatal(err)
	}
	return page.String()
}

// awaitLog waits until a node has logged a line, after an offset, in which all of the words are.
func (f *fleet) awaitLog(m *machine, after int64, words ...string) {
	f.t.Helper()
	f.await(fmt.Sprintf("%s logs %q", m.name, words), func() error {
		log, err := os.Open(m.log)
		if err != nil {
			return err
		}
		defer func() { _ = log.Close() }()
		if _, err := log.Seek(after, 0); err != nil {
			return err
		}
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(lines.Text(), w) }) {
				return nil
			}
		}
		return errors.New("it does not")
	})
}

func (f *fleet) logged(m *machine) int64 {
	f.t.Helper()
	info, err := os.Stat(m.log)
	if err != nil {
		f.t.Fatal(err)
	}
	return info.Size()
}

// strangerIsRefused starts a new node with an old key: both sides say why it is no member.
func (f *fleet) strangerIsRefused(old membership.Key) {
	f.t.Helper()
	present, living := slices.Clone(f.machines), f.machines[0]
	at := f.logged(living)
	path := filepath.Join(f.dir, "old.key")
	if err := os.WriteFile(path, []byte(old.String()), 0o600); err != nil {
		f.t.Fatal(err)
	}
	m := f.add("late", "--join", living.address("7402"), "--gossip-key-file", path)
	f.start(m)
	f.awaitLog(m, 0, living.address("7402"), "other gossip keys", old.ID().String())
	f.awaitLog(living, at, "not a member", "other gossip keys")
	for _, by := range present {
		if seen, err := f.statuses(by); err != nil || seen[m.name] != "" {
			f.t.Errorf("%s sees who has the old key as %q: %v", by.name, seen[m.name], err)
		}
	}
	f.kill(m)
	f.machines = present
}

// oldRingIsRefused starts a node with the ring of before the rotation. It votes, as it did, but is no member, and both sides say why; with
// the file given to all nodes and the ring put aside it is one again.
func (f *fleet) oldRingIsRefused(m *machine, ring []byte) {
	f.t.Helper()
	others := slices.DeleteFunc(slices.Clone(f.machines), func(o *machine) bool { return o == m })
	good := f.ringOf(m)
	f.terminate(m)
	f.writeRing(m, ring)
	at, there := f.logged(m), f.logged(others[1]) // which the stranger has not asked
	f.startWithoutKey(m)
	f.awaitReady(m)
	f.awaitLog(m, at, "other gossip keys")
	f.awaitLog(others[1], there, "not a member", "other gossip keys")
	for _, by := range others {
		if seen, err := f.statuses(by); err != nil || seen[m.name] == "alive" {
			f.t.Errorf("%s sees who has the old ring as %q: %v", by.name, seen[m.name], err)
		}
	}
	f.terminate(m)
	f.writeRing(m, good)
	f.start(m)
	f.awaitWell(m)
	f.awaitMembers(others, f.machines...)
}

// startWithoutKey starts a node that has a ring without the file of the first key.
func (f *fleet) startWithoutKey(m *machine) {
	f.t.Helper()
	flags := m.flags
	i := slices.Index(flags, "--gossip-key-file")
	m.flags = slices.Delete(slices.Clone(flags), i, i+2)
	f.start(m)
	m.flags = flags
}

// oldKeyFileIsRefused starts a node that has followed with the file of before: it does not start, and says what to do.
func (f *fleet) oldKeyFileIsRefused(m *machine, old membership.Key) {
	f.t.Helper()
	f.terminate(m)
	now := f.keyFile()
	f.writeKey(old)
	at := f.logged(m)
	f.start(m)
	if err := f.awaitEnd(m); err == nil {
		f.t.Error("a node started with a key that is not in its ring, and ended well")
	}
	f.awaitLog(m, at, old.ID().String(), "lockd keyring")
	f.writeKey(now)
	f.start(m)
	f.awaitWell(m)
}
