package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockd/lockd/lockd"
)

// Limits beyond which something is told.
const (
	syncSlow    = 10 * time.Millisecond  // p99: every grant waits for the disk of a majority
	syncTooSlow = 200 * time.Millisecond // p99: a fifth of the time after which a leader is missed
	aheadMuch   = time.Second            // of wall clocks, which decide nothing but seed the tokens of a restored cluster
	aheadFar    = 10 * time.Minute       // certificates and token seeds go wrong
	fasterMuch  = 0.001                  // of clock rates
	fasterWrong = 0.01                   // the bound that two holders are kept apart by
	filesSpare  = 512                    // besides those of clients
	filesFew    = 1024
)

// host judges the machine of a node.
func (f *findings) host(h lockd.Host, l *loaded) {
	f.disk(h.Disk)
	f.clock(h)
	want := uint64(max(l.MaxConnections, 0)) + filesSpare
	const raise = "raise the limit of open files: LimitNOFILE= of the unit, or ulimit -n"
	switch {
	case h.Files == 0:
	case h.FilesOpen*10 > h.Files*8:
		f.problem("files", "this node", raise, "%d of %d files are open", h.FilesOpen, h.Files)
	case h.Files < filesFew:
		f.problem("files", "this node", raise, "at most %d files may be open: too few for a log, a state and clients", h.Files)
	case h.Files < want:
		f.warn("files", "this node", raise+"; or lower --max-connections", "at most %d files may be open, and up to %d connections want %d", h.Files, l.MaxConnections, want)
	default:
		f.ok("files", "this node", "%d of %d are open", h.FilesOpen, h.Files)
	}
	f.processors(h)
}

func (f *findings) processors(h lockd.Host) {
	has := fmt.Sprintf("%s, GOMAXPROCS %d", plural(h.Processors, "processor", "processors"), h.Parallel)
	if h.Quota == 0 {
		f.ok("processors", "this node", "%s", has)
		return
	}
	has += fmt.Sprintf(", of which the control group may use %.3g", h.Quota)
	if h.Throttled > 0 {
		has += fmt.Sprintf("; it has been stopped %d times for that", h.Throttled)
	}
	switch most := int(math.Ceil(h.Quota)) + 2; { // lockd serve has two for the disk
	case h.Quota < 1:
		f.warn("processors", "this node", "give it a whole one: it is stopped for the rest of each tenth of a second, and a leader that stops is replaced", "%s", has)
	case h.Parallel > most:
		f.warn("processors", "this node", fmt.Sprintf("start it with GOMAXPROCS=%d in its environment: who runs on more at once uses up the quota and is stopped", most), "%s", has)
	default:
		f.ok("processors", "this node", "%s", has)
	}
}

func (f *findings) disk(d lockd.DiskCheck) {
	if d.Path == "" {
		f.warn("disk", "this node", "give it a --data-dir, unless everything may be lost with the process", "everything is kept in memory")
		return
	}
	const slow = "use a disk of its own, an SSD or NVMe, not one over a network; every grant waits for it"
	took := fmt.Sprintf("%d records became durable in %s, each in %s at p50, %s at p99, %s at most", d.Records, d.Path, short(d.P50), short(d.P99), short(d.Max))
	switch {
	case d.Error != "":
		f.problem("disk", "this node", "the user of lockd must be able to write there", "%s", d.Error)
	case d.Kind != "" && d.Kind != "nfs" && d.Kind != "smb":
		f.problem("disk", "this node", "use a directory on a disk: what a node has voted must outlive the machine", "%s is in memory: %s", d.Path, d.Kind)
	case d.Kind != "":
		f.warn("disk", "this node", "use a disk of the machine's own: a server of files that forgets or stalls makes nodes that do", "%s; %s", d.Kind, took)
	case d.P99 > syncTooSlow:
		f.problem("disk", "this node", slow, "%s: a leader with it is given up", took)
	case d.P99 > syncSlow:
		f.warn("disk", "this node", slow, "%s", took)
	default:
		f.ok("disk", "this node", "%s", took)
	}
	free, mark := size(d.Free).about(), size(d.Mark).about()
	const room = "make room: what grows the state is refused below that mark (--min-free)"
	switch {
	case d.Free == 0 && d.Error != "":
	case d.Free < d.Mark:
		f.problem("space", "this node", room, "%s free, less than %s", free, mark)
	case d.Free < 2*d.Mark:
		f.warn("space", "this node", room, "%s free, not far from %s", free, mark)
	case d.Free > 0:
		f.ok("space", "this node", "%s free", free)
	}
}

func (f *findings) clock(h lockd.Host) {
	const ntp = "run a time service, such as chrony: systemctl enable --now chrony"
	switch {
	case h.ClockError != "":
		f.problem("clock", "this node", "set the clock: no cluster can be founded, restored or recovered by this one", "%s", h.ClockError)
	case h.Sync.Known && !h.Sync.Synced:
		f.warn("clock", "this node", ntp, "nobody keeps it right, as the kernel says: NTP is not in step")
	case h.Sync.Known:
		f.ok("clock", "this node", "NTP keeps it right, to %s at worst", about(time.Duration(h.Sync.Error)*time.Millisecond))
	default:
		f.ok("clock", "this node", "%s; whether NTP keeps it right is not known", moment(h.Time))
	}
}

// peers judges the way to the other nodes.
func (f *findings) peers(c *lockd.Checkup) {
	for _, own := range []struct{ port, at string }{{"client", c.Listens.Client}, {"raft", c.Listens.Raft}, {"gossip", c.Listens.Gossip}, {"http", c.Listens.HTTP}} {
		if own.at != "" {
			f.ok("ports", "this node", "%s port %s", own.port, own.at)
		}
	}
	for _, p := range c.Peers {
		f.reach(p.Name, "Raft", p.Raft, p.RaftError, "is it running? Else let TCP through to that port; nothing is decided with it otherwise")
		if p.Client != "" {
			f.reach(p.Name, "client", p.Client, p.ClientError, "let TCP through to that port: nodes pass on there what clients ask")
		}
		if p.Gossip != "" {
			f.reach(p.Name, "gossip (UDP)", p.Gossip, p.UDPError, "let UDP through to that port, both ways")
			f.reach(p.Name, "gossip (TCP)", p.Gossip, p.TCPError, "let TCP through to that port; if it answers: compare the keys, lockd keyring list")
		}
		if p.RaftError == "" {
			f.compared(p.Name, p.Clock)
		}
	}
}

func (f *findings) reach(name, port, at, err, do string) {
	if err != "" {
		f.problem("ports", name, do, "%s port %s: %s", port, at, err)
		return
	}
	f.ok("ports", name, "%s port %s answers", port, at)
}

// compared judges the clock of another node. What may be an error of the measurement is no finding.
func (f *findings) compared(name string, k lockd.ClockCheck) {
	if !k.Known {
		return
	}
	way := "ahead of"
	if k.Ahead < 0 {
		way = "behind"
	}
	found := fmt.Sprintf("%s %s this node's (± %s); runs %s", short(k.Ahead.Abs()), way, short(k.Uncertainty), rate(k))
	ahead, faster := k.Ahead.Abs()-k.Uncertainty, math.Abs(k.Faster)-k.Uncertain
	const ntp = "run a time service on both, such as chrony"
	switch {
	case faster > fasterWrong:
		f.problem("clock", name, "find out whose clock is wrong, and take that machine out: by more than 1 % two may hold one lock, and tokens alone keep them apart", "%s", found)
	case ahead > aheadFar:
		f.problem("clock", name, ntp+": certificates and the first token of a restored cluster go by it", "%s", found)
	case faster > fasterMuch || ahead > aheadMuch:
		f.warn("clock", name, ntp, "%s", found)
	default:
		f.ok("clock", name, "%s", found)
	}
}

func rate(k lockd.ClockCheck) string {
	if k.Uncertain > fasterWrong || k.Uncertain == 0 {
		return "at a rate that could not be measured"
	}
	than := "faster"
	if k.Faster < 0 {
		than = "slower"
	}
	return fmt.Sprintf("%.2f %% %s (± %.2f)", math.Abs(k.Faster)*100, than, k.Uncertain*100)
}

// versions compares what nodes run.
func (f *findings) versions(c *lockd.Checkup) {
	by := map[string][]string{c.Version: {c.Node}}
	for _, p := range c.Peers {
		if p.Version != "" {
			by[p.Version] = append(by[p.Version], p.Name)
		}
	}
	if len(by) == 1 {
		f.ok("versions", "cluster", "%s on %s", c.Version, plural(len(by[c.Version]), "node", "nodes"))
		return
	}
	found := eachOf(by)
	switch apart, known := minorsApart(slices.Collect(maps.Keys(by))); {
	case !known:
		f.warn("versions", "cluster", "end the upgrade: the same version on all nodes", "%s", found)
	case apart > 1:
		f.problem("versions", "cluster", "upgrade by one minor version at a time, all nodes each time", "%s: %d minor versions apart", found, apart)
	default:
		f.warn("versions", "cluster", "end the upgrade: the same version on all nodes", "%s: %s apart", found, plural(apart, "minor version", "minor versions"))
	}
}

// eachOf says who runs which version.
func eachOf(by map[string][]string) string {
	var told []string
	for _, v := range slices.Sorted(maps.Keys(by)) {
		slices.Sort(by[v])
		told = append(told, v+" on "+strings.Join(by[v], ", "))
	}
	return strings.Join(told, "; ")
}

// otherMajor is further apart than any two minor versions.
const otherMajor = 1000

// minorsApart returns how many minor versions lie between the first and the last; not known if one of them is no release.
func minorsApart(versions []string) (apart int, known bool) {
	var all []int
	for _, v := range versions {
		parts := strings.SplitN(strings.TrimPrefix(v, "v"), ".", 3)
		if len(parts) < 3 || v[0] != 'v' {
			return 0, false
		}
		major, err1 := strconv.Atoi(parts[0])
		minor, err2 := strconv.Atoi(parts[1])
		if errors.Join(err1, err2) != nil {
			return 0, false
		}
		all = append(all, major*otherMajor+minor)
	}
	return slices.Max(all) - slices.Min(all), true
}

// quorum judges how many may fail.
func (f *findings) quorum(h *lockd.ClusterHealth, err error) {
	if err != nil {
		f.problem("quorum", "cluster", "more than half of the voters must run and reach each other; for good: lockd help cluster recover", "%v", err)
		return
	}
	found := quorumOf(h)
	var unwell []string
	for _, s := range h.Servers {
		if !s.Fit {
			unwell = append(unwell, s.Name)
		}
	}
	switch {
	case h.Margin < 0:
		f.problem("quorum", "cluster", "start the others", "%s", found)
	case len(unwell) > 0:
		f.problem("quorum", "cluster", "look at their logs; one that is lost for good: lockd cluster remove NODE", "%s; not well: %s", found, strings.Join(unwell, ", "))
	case h.Margin == 0:
		f.warn("quorum", "cluster", "three voters bear the loss of one, five of two: add nodes with --join", "%s", found)
	default:
		f.ok("quorum", "cluster", "%s", found)
	}
}

// keys judges whether all who gossip can hear each other.
func (f *findings) keys(gossip []lockd.GossipMember) {
	primaries, rings := map[string][]string{}, map[string][]string{}
	for _, g := range gossip {
		if g.Status != "alive" {
			continue
		}
		primaries[g.Key] = append(primaries[g.Key], g.Name)
		all := slices.Sorted(slices.Values(g.Keys))
		rings[strings.Join(all, " ")] = append(rings[strings.Join(all, " ")], g.Name)
	}
	const rotate = "end the rotation of the keys: lockd keyring list shows who has which"
	switch _, open := primaries[""]; {
	case len(primaries) == 0:
		return // nobody gossips
	case open && len(primaries) == 1:
		f.warn("keys", "gossip", "begin with a key: lockd keyring generate, then --gossip-key-file on every node", "it is not encrypted: whoever reaches the port can pretend to be a node")
	case len(primaries) > 1:
		var told []string
		for _, k := range slices.Sorted(maps.Keys(primaries)) {
			told = append(told, cmp.Or(k, "nothing")+": "+strings.Join(primaries[k], ", "))
		}
		f.problem("keys", "gossip", rotate, "nodes encrypt with different keys: %s", strings.Join(told, "; "))
	case len(rings) > 1 || strings.Contains(slices.Collect(maps.Keys(rings))[0], " "):
		f.warn("keys", "gossip", rotate, "all encrypt with one key, and some still know others")
	default:
		f.ok("keys", "gossip", "all encrypt with %s and know no other", slices.Collect(maps.Keys(primaries))[0])
	}
}

// short is a small duration for people.
func short(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(10 * time.Microsecond).String()
	}
	return about(d)
}

// about is the size for people, in the largest unit of which it has one.
func (s size) about() string {
	for _, u := range sizeUnits {
		if s >= u.of {
			return fmt.Sprintf("%.4g %s", float64(s)/float64(u.of), u.name)
		}
	}
	return s.String()
}
