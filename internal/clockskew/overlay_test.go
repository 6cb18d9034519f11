package clockskew_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/clockskew"
)

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// TestSkewed runs the tests of this package that move the clock, in a binary with the changed runtime.
func TestSkewed(t *testing.T) {
	if clockskew.Enabled {
		t.Skip("this is that binary")
	}
	if testing.Short() {
		t.Skip("-short: it builds package runtime")
	}
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skipf("the clock of %s/%s is read by other files of the distribution", runtime.GOOS, runtime.GOARCH)
	}
	overlay, err := clockskew.Overlay(goroot(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-v", "-timeout=24h", "-overlay="+overlay, "-tags=clockskew", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestDrift") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestOverlayOfAnotherDistribution looks for every text that is to be changed in a file without it, and with it twice.
func TestOverlayOfAnotherDistribution(t *testing.T) {
	names := []string{"time_nofake.go", "timeasm.go", "time_linux_amd64.s"}
	root := goroot(t)
	for _, damaged := range names {
		for _, copies := range []int{0, 2} {
			other := t.TempDir()
			if err := os.MkdirAll(filepath.Join(other, "src", "runtime"), 0o755); err != nil {
				t.Fatal(err)
			}
			for _, name := range names {
				text, err := os.ReadFile(filepath.Join(root, "src", "runtime", name))
				if err != nil {
					t.Fatal(err)
				}
				if name == damaged {
					text = []byte(strings.Repeat(string(text), copies))
				}
				if err := os.WriteFile(filepath.Join(other, "src", "runtime", name), text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := clockskew.Overlay(other, t.TempDir()); err == nil || !strings.Contains(err.Error(), damaged) {
				t.Errorf("%s, %d times its text: %v", damaged, copies, err)
			}
		}
	}
	if _, err := clockskew.Overlay(t.TempDir(), t.TempDir()); err == nil {
		t.Error("an overlay was made of nothing")
	}
}
