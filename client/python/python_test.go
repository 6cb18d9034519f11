package python_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/testcluster"
	"github.com/lockd/lockd/lockd"
)

const interpreter = "/usr/bin/python3"

// needMsgpack sees to the interpreter's module: with CI=true it is installed or the test fails, elsewhere the test is skipped without.
func needMsgpack(t *testing.T) {
	t.Helper()
	missing := func() error { return exec.CommandContext(t.Context(), interpreter, "-c", "import msgpack").Run() }
	if missing() != nil && os.Getenv("CI") == "true" {
		if out, err := exec.CommandContext(t.Context(), "sh", "install.sh").CombinedOutput(); err != nil {
			t.Fatalf("install.sh: %v\n%s", err, out)
		}
	}
	if err := missing(); err != nil {
		const help = "%s with Debian's python3-msgpack is missing (%v): run client/python/install.sh"
		if os.Getenv("CI") == "true" {
			t.Fatalf(help, interpreter, err)
		}
		t.Skipf(help, interpreter, err)
	}
}

// TestClientWrittenFromTheSpecification runs exercise.py, whose client was written from client/README.md alone, against three nodes.
// The node that it is connected to ends as in a crash on the way.
func TestClientWrittenFromTheSpecification(t *testing.T) {
	needMsgpack(t)
	cluster := testcluster.Start(t, 3, func(_ int, c *lockd.Config) { c.Memory, c.DataDir = true, "" })
	endpoints := cluster.Endpoints()
	cmd := exec.CommandContext(t.Context(), interpreter, append([]string{"-B", "exercise.py"}, endpoints...)...)
	errors := new(strings.Builder)
	cmd.Stderr = errors
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		line := lines.Text()
		said = append(said, line)
		if address, ok := strings.CutPrefix(line, "connected to "); ok {
			cluster.Crash(slices.Index(endpoints, address))
			if _, err := io.WriteString(stdin, "go on\n"); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("exercise.py: %v, after saying\n%s\nand\n%s", err, strings.Join(said, "\n"), errors)
	}
	for _, want := range []string{
		"acquired ", "kept alive past its TTL", "released", "a try is refused, and a wait ends at its limit", "waited, and was granted when the holder released", "gave a wait up",
		"held several at once, and shared one", "took a lease, handed it on, and waited for one", "lost: ",
		"was told how the hold before it ended", "connected to ", "lost its connection, and went on over another node", "done",
	} {
		if len(said) == 0 || !strings.HasPrefix(said[0], want) {
			t.Fatalf("exercise.py said %q where %q was expected", said, want)
		}
		said = said[1:]
	}
}
