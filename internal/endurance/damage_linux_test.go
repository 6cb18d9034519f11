package endurance

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/internal/testdisk"
)

// damage is what happens to a file while its node is down.
type damage struct {
	what string
	do   func(path string, dice *rand.Rand) error
}

var damages = []damage{
	{"a bit is flipped near the start", func(path string, dice *rand.Rand) error { return flip(path, dice, 0, 0.01) }},
	{"a bit is flipped anywhere", func(path string, dice *rand.Rand) error { return flip(path, dice, 0, 1) }},
	{"its tail is torn off", func(path string, dice *rand.Rand) error {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.Truncate(path, int64(float64(len(bytes.TrimRight(b, "\x00")))*dice.Float64()))
	}},
	{"it is empty", func(path string, _ *rand.Rand) error { return os.Truncate(path, 0) }},
	{"it is lost", func(path string, _ *rand.Rand) error { return os.RemoveAll(path) }},
	{"an old copy is restored", nil},
}

// flip flips one bit of what is not zero, between two parts of the file: what was never written is damaged by nobody.
func flip(path string, dice *rand.Rand, from, to float64) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var used []int
	for i := int(from * float64(len(b))); i < max(64, int(to*float64(len(b)))) && i < len(b); i++ {
		if b[i] != 0 {
			used = append(used, i)
		}
	}
	if len(used) == 0 {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	i := used[dice.IntN(len(used))]
	_, err = f.WriteAt([]byte{b[i] ^ 1<<dice.IntN(8)}, int64(i))
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// kinds returns what is in a data directory, the directories too: a name of each kind, by the name without its numbers.
func kinds(t *testing.T, data string) map[string]string {
	t.Helper()
	numbers := regexp.MustCompile(`[0-9a-f]{6,}|[0-9]+`)
	all := map[string]string{}
	err := filepath.WalkDir(data, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(data, path)
		all[numbers.ReplaceAllString(name, "#")] = name
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// copyTree copies a directory as it is, holes included.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("copy %s: %v: %s", from, err, out)
	}
}

// TestDiskDamage damages the files of one node of three, again and again, while it is down after a kill -9 under load: file by file,
// and whole directories. The node either refuses to start and says why, or it serves again and has then the state of the others.
// Nothing that was acknowledged is ever missing.
func TestDiskDamage(t *testing.T) {
	testdisk.Need(t)
	home := t.TempDir()
	cluster, agree := start(t, testcluster.Place{}, testcluster.Place{}, testcluster.Place{Dir: home})
	l := newLedger()
	reader := newClient(t, cluster.Endpoints())
	stop := l.load(t, cluster.Endpoints(), 2)
	defer stop()
	<-l.next()
	const victim = 2
	v := &victimOf{t: t, cluster: cluster, node: victim, data: filepath.Join(home, "data"), before: filepath.Join(home, "before"), old: filepath.Join(home, "old")}
	cluster.Kill(victim)
	copyTree(t, v.data, v.old)
	cluster.Run(victim)
	cluster.WaitReady()
	<-l.next()
	dice := rand.New(rand.NewPCG(uint64(rounds(t, "LOCKD_SEED", 1)), 1))
	turns, met := rounds(t, "LOCKD_DAMAGES", 1), map[string]int64{}
	for turn := range turns {
		for i, kind := range slices.Sorted(maps.Keys(kinds(t, v.data))) {
			harm := damages[(i+turn)%len(damages)]
			v.suffer(kind, harm, dice)
			met[harm.what]++
		}
		l.check(t.Context(), t, reader)
	}
	<-l.next()
	stop()
	if !caughtUp(t, cluster, victim) {
		t.Errorf("the node has ended:\n%s", cluster.Log(victim))
	}
	l.check(t.Context(), t, reader)
	agree()
	if v.refused == 0 || v.repaired == 0 {
		t.Errorf("%d refused, %d repaired: one of them never happened", v.refused, v.repaired)
	}
	t.Logf("%d cases: the node refused to start in %d, and was repaired in %d; %d grants acknowledged", v.refused+v.repaired, v.refused, v.repaired, l.grants)
	recordDisk(t, v.refused+v.repaired, l.grants, met)
}

// victimOf is the node whose files are damaged.
type victimOf struct {
	t                 *testing.T
	cluster           *testcluster.Processes
	node              int
	data, before, old string
	refused, repaired int
}

// suffer kills the node, damages one of its files and starts it. What refuses to start gets the files that it had, as it has told
// nobody anything since.
func (v *victimOf) suffer(kind string, d damage, dice *rand.Rand) {
	v.t.Helper()
	v.cluster.Kill(v.node)
	copyTree(v.t, v.data, v.before)
	name, there := kinds(v.t, v.data)[kind]
	if !there {
		v.t.Logf("%s: is not there now", kind)
		v.start()
		return
	}
	path := filepath.Join(v.data, name)
	info, err := os.Stat(path)
	old, known := kinds(v.t, v.old)[kind]
	switch {
	case err != nil:
	case d.do == nil && known && kind != ".":
		copyTree(v.t, filepath.Join(v.old, old), path)
	case d.do == nil || info.IsDir():
		d.what, err = "it is lost", os.RemoveAll(path)
	default:
		err = d.do(path, dice)
	}
	if err != nil {
		v.t.Fatalf("%s: %s: %v", name, d.what, err)
	}
	v.cluster.Run(v.node)
	if caughtUp(v.t, v.cluster, v.node) {
		v.repaired++
		v.t.Logf("%s: %s: repaired", name, d.what)
		return
	}
	said := v.cluster.Log(v.node)
	v.refused++
	v.t.Logf("%s: %s: refused: %s", name, d.what, lastLine(said))
	if strings.Contains(said, "panic") || strings.Contains(said, "SIGBUS") || strings.Contains(said, "goroutine ") {
		v.t.Errorf("%s: %s: the node died of it:\n%s", name, d.what, said)
	}
	_ = v.cluster.Stop(v.node) // it has ended
	copyTree(v.t, v.before, v.data)
	v.start()
}

func (v *victimOf) start() {
	v.t.Helper()
	v.cluster.Run(v.node)
	v.cluster.WaitReady()
	if !caughtUp(v.t, v.cluster, v.node) {
		v.t.Fatalf("the node has ended:\n%s", v.cluster.Log(v.node))
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return fmt.Sprint(lines[len(lines)-1])
}
