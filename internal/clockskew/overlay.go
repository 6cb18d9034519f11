package clockskew

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// change replaces a text that stands exactly once in a file of package runtime.
type change struct{ file, old, new string }

// changes put lockdMono and lockdNow between the machine's clocks and everybody who asks for the time.
var changes = []change{
	{
		"time_nofake.go",
		"func nanotime() int64 {\n\treturn nanotime1()\n}\n",
		"func nanotime() int64 {\n\treturn lockdMono()\n}\n",
	},
	{
		"timeasm.go",
		"//go:linkname time_now time.now\nfunc time_now() (sec int64, nsec int32, mono int64)\n",
		"//go:linkname time_now time.now\n//go:nosplit\nfunc time_now() (sec int64, nsec int32, mono int64) { return lockdNow() }\n\n" +
			"func lockdMachineNow() (sec int64, nsec int32, mono int64)\n",
	},
	{"time_linux_amd64.s", "TEXT time·now<ABIInternal>(SB),NOSPLIT,$16-24\n", "TEXT ·lockdMachineNow<ABIInternal>(SB),NOSPLIT,$16-24\n"},
}

// addition is a new file of package runtime. Its struct is that of Set. Whoever reads the clock may stand in a signal handler or on a
// stack that can't grow: nothing here may be split, allocate or wait. A product overflows after 100 days at a drift of 1,000,000.
const addition = `//go:build !faketime

package runtime

import (
	"internal/runtime/atomic"
	"unsafe"
)

//go:linkname lockdClock
var lockdClock unsafe.Pointer

type lockdState struct{ base, offset, drifted, before, drift, wall int64 }

//go:nosplit
func (s *lockdState) gained(mono int64) int64 {
	drift := s.drift
	if mono < s.base {
		drift = s.before
	}
	return s.drifted + (mono-s.base)/1000*drift/1000
}

//go:nosplit
func lockdMono() int64 {
	for {
		s := (*lockdState)(atomic.Loadp(unsafe.Pointer(&lockdClock)))
		mono := nanotime1()
		if s != (*lockdState)(atomic.Loadp(unsafe.Pointer(&lockdClock))) {
			continue // the thread may have stood still between the two: that time belongs to the state before
		}
		if s == nil {
			return mono
		}
		return mono + s.offset + s.gained(mono)
	}
}

//go:nosplit
func lockdNow() (sec int64, nsec int32, mono int64) {
	var s *lockdState
	for {
		s = (*lockdState)(atomic.Loadp(unsafe.Pointer(&lockdClock)))
		sec, nsec, mono = lockdMachineNow()
		if s == (*lockdState)(atomic.Loadp(unsafe.Pointer(&lockdClock))) {
			break
		}
	}
	if s == nil {
		return sec, nsec, mono
	}
	gained := s.gained(mono)
	ahead := s.wall + gained + int64(nsec)
	sec += ahead / 1e9
	ahead %= 1e9
	if ahead < 0 {
		ahead += 1e9
		sec--
	}
	return sec, int32(ahead), mono + s.offset + gained
}
`

// Overlay writes into dir what "go build -overlay" needs to let the clocks of a program built with the distribution at goroot be
// changed, and returns the overlay file. The error names a text that is not, or not only once, where it has to be.
func Overlay(goroot, dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	runtime := filepath.Join(goroot, "src", "runtime")
	replace := map[string]string{}
	write := func(name, text string) error {
		to := filepath.Join(dir, name)
		replace[filepath.Join(runtime, name)] = to
		return os.WriteFile(to, []byte(text), 0o644)
	}
	for _, c := range changes {
		text, err := os.ReadFile(filepath.Join(runtime, c.file))
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), c.old); n != 1 {
			return "", fmt.Errorf("%s: stands %d times instead of once: %q", filepath.Join(runtime, c.file), n, c.old)
		}
		if err := write(c.file, strings.Replace(string(text), c.old, c.new, 1)); err != nil {
			return "", err
		}
	}
	if err := write("lockd_clock.go", addition); err != nil {
		return "", err
	}
	list, err := json.MarshalIndent(map[string]any{"Replace": replace}, "", "\t")
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, list, 0o644)
}
