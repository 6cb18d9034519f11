package main

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lockd/lockd/lockd"
)

// judged checks that one finding has a verdict and says something, and that whatever is not well comes with what to do.
func judged(t *testing.T, what string, f *findings, check, verdict, says string) {
	t.Helper()
	found := false
	for _, one := range f.list {
		found = found || one.Check == check && one.Verdict == verdict && strings.Contains(one.Found, says)
		if one.Of == "" || one.Found == "" || (one.Verdict != verdictOK) != (one.Do != "") {
			t.Errorf("%s: %+v", what, one)
		}
	}
	if !found {
		t.Errorf("%s: no %s of %s that says %q in %+v", what, verdict, check, says, f.list)
	}
}

func wellHost() lockd.Host {
	return lockd.Host{
		Time: time.Now(), Sync: lockd.ClockSync{Known: true, Synced: true, Error: 3}, Files: 65536, FilesOpen: 40, Processors: 4, Parallel: 6,
		Disk: lockd.DiskCheck{Path: "/d", Free: 10 << 30, Mark: 512 << 20, Records: 100, P50: 200 * time.Microsecond, P99: time.Millisecond, Max: 2 * time.Millisecond},
	}
}

func TestDoctorJudgesTheHost(t *testing.T) {
	for _, test := range []struct {
		what, check, verdict, says string
		change                     func(h *lockd.Host)
	}{
		{"well", "disk", verdictOK, "200µs at p50, 1ms at p99", func(*lockd.Host) {}},
		{"well", "space", verdictOK, "10 GiB free", func(*lockd.Host) {}},
		{"well", "clock", verdictOK, "NTP keeps it right", func(*lockd.Host) {}},
		{"well", "files", verdictOK, "40 of 65536", func(*lockd.Host) {}},
		{"well", "processors", verdictOK, "4 processors, GOMAXPROCS 6", func(*lockd.Host) {}},
		{"slow", "disk", verdictWarning, "11ms at p99", func(h *lockd.Host) { h.Disk.P99 = 11 * time.Millisecond }},
		{"too slow", "disk", verdictProblem, "a leader with it is given up", func(h *lockd.Host) { h.Disk.P99 = 300 * time.Millisecond }},
		{"not to be written", "disk", verdictProblem, "permission denied", func(h *lockd.Host) { h.Disk.Error = "permission denied" }},
		{"memory", "disk", verdictProblem, "/d is in memory: tmpfs", func(h *lockd.Host) { h.Disk.Kind = "tmpfs" }},
		{"remote", "disk", verdictWarning, "nfs; 100 records", func(h *lockd.Host) { h.Disk.Kind = "nfs" }},
		{"none", "disk", verdictWarning, "in memory", func(h *lockd.Host) { h.Disk = lockd.DiskCheck{} }},
		{"full", "space", verdictProblem, "100 MiB free, less than 512 MiB", func(h *lockd.Host) { h.Disk.Free = 100 << 20 }},
		{"nearly full", "space", verdictWarning, "600 MiB free, not far from", func(h *lockd.Host) { h.Disk.Free = 600 << 20 }},
		{"no NTP", "clock", verdictWarning, "nobody keeps it right", func(h *lockd.Host) { h.Sync.Synced = false }},
		{"NTP unknown", "clock", verdictOK, "is not known", func(h *lockd.Host) { h.Sync = lockd.ClockSync{} }},
		{"before the build", "clock", verdictProblem, "before the build", func(h *lockd.Host) { h.ClockError = "the clock is before the build" }},
		{"few files", "files", verdictProblem, "at most 256", func(h *lockd.Host) { h.Files = 256 }},
		{"fewer files than clients", "files", verdictWarning, "at most 4096", func(h *lockd.Host) { h.Files = 4096 }},
		{"files used up", "files", verdictProblem, "60000 of 65536", func(h *lockd.Host) { h.FilesOpen = 60000 }},
		{"quota", "processors", verdictWarning, "may use 2; it has been stopped 7 times", func(h *lockd.Host) { h.Quota, h.Throttled = 2, 7 }},
		{"small quota", "processors", verdictWarning, "may use 0.5", func(h *lockd.Host) { h.Quota = 0.5 }},
		{"fitting quota", "processors", verdictOK, "may use 4", func(h *lockd.Host) { h.Quota = 4 }},
	} {
		h, f := wellHost(), &findings{}
		test.change(&h)
		f.host(h, &loaded{settings: *defaultSettings()})
		judged(t, test.what, f, test.check, test.verdict, test.says)
		if test.verdict == verdictOK && f.count(verdictOK) < len(f.list) {
			t.Errorf("%s: %+v", test.what, f.list)
		}
	}
}

func TestDoctorJudgesTheOthers(t *testing.T) {
	well := lockd.PeerCheck{
		Name: "n2", Raft: "b:1", Client: "b:2", Gossip: "1.2.3.4:3", Version: "v1.2.0",
		Clock: lockd.ClockCheck{Known: true, Ahead: time.Millisecond, Uncertainty: time.Millisecond, Faster: 0.0001, Uncertain: 0.0005},
	}
	for _, test := range []struct {
		what, check, verdict, says string
		change                     func(p *lockd.PeerCheck)
	}{
		{"well", "ports", verdictOK, "Raft port b:1 answers", func(*lockd.PeerCheck) {}},
		{"well", "ports", verdictOK, "client port b:2 answers", func(*lockd.PeerCheck) {}},
		{"well", "ports", verdictOK, "gossip (UDP) port 1.2.3.4:3 answers", func(*lockd.PeerCheck) {}},
		{"well", "ports", verdictOK, "gossip (TCP) port 1.2.3.4:3 answers", func(*lockd.PeerCheck) {}},
		{"well", "clock", verdictOK, "1ms ahead of this node's (± 1ms); runs 0.01 % faster (± 0.05)", func(*lockd.PeerCheck) {}},
		{"no Raft", "ports", verdictProblem, "Raft port b:1: refused", func(p *lockd.PeerCheck) { p.RaftError = "refused" }},
		{"no clients", "ports", verdictProblem, "client port b:2: refused", func(p *lockd.PeerCheck) { p.ClientError = "refused" }},
		{"no UDP", "ports", verdictProblem, "(UDP) port 1.2.3.4:3: silent", func(p *lockd.PeerCheck) { p.UDPError = "silent" }},
		{"no stream", "ports", verdictProblem, "(TCP) port 1.2.3.4:3: EOF", func(p *lockd.PeerCheck) { p.TCPError = "EOF" }},
		{"ahead", "clock", verdictWarning, "2s ahead of", func(p *lockd.PeerCheck) { p.Clock.Ahead = 2 * time.Second }},
		{"behind", "clock", verdictProblem, "1h behind", func(p *lockd.PeerCheck) { p.Clock.Ahead = -time.Hour }},
		{"a bit fast", "clock", verdictWarning, "runs 0.20 % faster", func(p *lockd.PeerCheck) { p.Clock.Faster = 0.002 }},
		{"too slow", "clock", verdictProblem, "runs 2.00 % slower", func(p *lockd.PeerCheck) { p.Clock.Faster = -0.02 }},
		{"not measured", "clock", verdictOK, "could not be measured", func(p *lockd.PeerCheck) { p.Clock.Faster, p.Clock.Uncertain = 0.02, 0.03 }},
		{"one minor apart", "versions", verdictWarning, "v1.2.0 on n1; v1.3.1 on n2: 1 minor version apart", func(p *lockd.PeerCheck) { p.Version = "v1.3.1" }},
		{"patches", "versions", verdictWarning, "0 minor versions apart", func(p *lockd.PeerCheck) { p.Version = "v1.2.7" }},
		{"three minors apart", "versions", verdictProblem, "3 minor versions apart", func(p *lockd.PeerCheck) { p.Version = "v1.5.0" }},
		{"a build", "versions", verdictWarning, "(devel) on n2", func(p *lockd.PeerCheck) { p.Version = "(devel)" }},
		{"well", "versions", verdictOK, "v1.2.0 on 2 nodes", func(*lockd.PeerCheck) {}},
		{"silent about it", "versions", verdictOK, "v1.2.0 on 1 node", func(p *lockd.PeerCheck) { p.Version = "" }},
	} {
		p, f := well, &findings{}
		test.change(&p)
		c := &lockd.Checkup{Node: "n1", Version: "v1.2.0", Listens: lockd.Addresses{Client: "a:2", Raft: "a:1"}, Peers: []lockd.PeerCheck{p}}
		f.peers(c)
		f.versions(c)
		judged(t, test.what, f, test.check, test.verdict, test.says)
		if test.verdict == verdictOK && f.count(verdictOK) < len(f.list) {
			t.Errorf("%s: %+v", test.what, f.list)
		}
	}
}

func TestDoctorJudgesTheCluster(t *testing.T) {
	health := func(voters, healthy, margin int) lockd.ClusterHealth {
		h := lockd.ClusterHealth{Voters: voters, Healthy: healthy, Needed: voters/2 + 1, Margin: margin}
		for i := range voters {
			h.Servers = append(h.Servers, lockd.ServerHealth{Name: string(rune('a' + i)), Fit: i < healthy})
		}
		return h
	}
	for _, test := range []struct {
		verdict, says string
		health        lockd.ClusterHealth
		err           error
	}{
		{verdictOK, "3 of 3 voters are well and 2 are needed: 1 more may fail", health(3, 3, 1), nil},
		{verdictWarning, "1 of 1 voter are well", health(1, 1, 0), nil},
		{verdictWarning, "2 of 2 voters", health(2, 2, 0), nil},
		{verdictProblem, "not well: c", health(3, 2, 0), nil},
		{verdictProblem, "nothing can be decided", health(3, 1, -1), nil},
		{verdictProblem, "no leader", lockd.ClusterHealth{}, errors.New("no leader")},
	} {
		f := &findings{}
		f.quorum(&test.health, test.err)
		judged(t, "quorum", f, "quorum", test.verdict, test.says)
	}
	member := func(name, key string, keys ...string) lockd.GossipMember {
		return lockd.GossipMember{Name: name, Status: "alive", Key: key, Keys: keys}
	}
	gone := member("n9", "k9", "k9")
	gone.Status = "failed"
	for _, test := range []struct {
		verdict, says string
		members       []lockd.GossipMember
	}{
		{verdictOK, "all encrypt with k1", []lockd.GossipMember{member("n1", "k1", "k1"), member("n2", "k1", "k1"), gone}},
		{verdictWarning, "not encrypted", []lockd.GossipMember{member("n1", ""), member("n2", "")}},
		{verdictProblem, "different keys: k1: n1; k2: n2", []lockd.GossipMember{member("n1", "k1", "k1", "k2"), member("n2", "k2", "k2", "k1")}},
		{verdictProblem, "nothing: n2", []lockd.GossipMember{member("n1", "k1", "k1"), member("n2", "")}},
		{verdictWarning, "still know others", []lockd.GossipMember{member("n1", "k1", "k1"), member("n2", "k1", "k1", "k2")}},
		{verdictWarning, "still know others", []lockd.GossipMember{member("n1", "k1", "k1", "k2"), member("n2", "k1", "k2", "k1")}},
	} {
		f := &findings{}
		f.keys(test.members)
		judged(t, "keys", f, "keys", test.verdict, test.says)
		if len(f.list) != 1 {
			t.Errorf("%+v", f.list)
		}
	}
	f := &findings{}
	if f.keys([]lockd.GossipMember{gone}); len(f.list) != 0 {
		t.Errorf("where nobody gossips: %+v", f.list)
	}
}

func TestDoctorJudgesDoors(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	for _, test := range []struct {
		err           error
		verdict, says string
	}{
		{nil, verdictOK, "answers"},
		{refused, verdictOK, "nobody listens there yet"},
		{&net.DNSError{Err: "no such host", Name: "n2"}, verdictProblem, "no such host"},
		{errors.New("i/o timeout"), verdictProblem, "i/o timeout"},
	} {
		f := &findings{}
		f.door("n2", "Raft", "n2:7401", test.err)
		judged(t, "a door", f, "ports", test.verdict, test.says)
	}
	for listens, want := range map[string]string{
		"0.0.0.0:7403": "127.0.0.1:7403", ":7403": "127.0.0.1:7403", "[::]:7403": "[::1]:7403", "10.0.0.1:7403": "10.0.0.1:7403", "n1:7403": "n1:7403",
	} {
		if got := here(listens); got != want {
			t.Errorf("%s is reached at %s, want %s", listens, got, want)
		}
	}
}
