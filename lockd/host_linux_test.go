package lockd

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestQuota takes the least of what the groups above a process allow.
func TestQuota(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pod/cpu.max", "150000 100000\n")
	write("pod/cpu.stat", "usage_usec 1\nnr_throttled 7\nthrottled_usec 9\n")
	write("pod/one/cpu.max", "max 100000\n")
	write("pod/two/cpu.max", "400000 100000\n")
	for own, want := range map[string]float64{
		"0::/pod/one\n": 1.5, "4:cpu:/x\n0::/pod/two\n": 1.5, "0::/\n": 0, "": 0, "0::/gone/../pod": 1.5,
	} {
		got, throttled := quota(root, own)
		if got != want || (throttled == 7) != (want > 0) {
			t.Errorf("%q: %v, %d", own, got, throttled)
		}
	}
	for _, bad := range []string{"", "max", "1 0", "x y", "-1"} {
		if q := parseQuota(bad); q != 0 {
			t.Errorf("%q: %v", bad, q)
		}
	}
}

// TestHostSeesTheProcess: what the kernel tells of it, and the file system in memory.
func TestHostSeesTheProcess(t *testing.T) {
	h := CheckHost(t.Context(), "/dev/shm")
	if h.Files == 0 || h.FilesOpen == 0 || h.Disk.Kind != "tmpfs" {
		t.Errorf("%+v", h)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if h := CheckHost(ctx, t.TempDir()); h.Disk.Error == "" || h.Disk.Records != 0 {
		t.Errorf("of a check that was cut short: %+v", h.Disk)
	}
}
