package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lockd/lockd/internal/reliability"
)

// asProgram, in the environment, makes the test binary be the program itself, so that tests run it as a process.
const asProgram = "LOCKD_TEST_AS_PROGRAM"

// ours are variables of the tests themselves.
var ours = []string{"LOCKD_SEEDS", "LOCKD_SEED", "LOCKD_FORMING", reliability.Variable}

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		_ = os.Unsetenv(asProgram) // not for the children
		main()
		return
	}
	for _, v := range os.Environ() { // what the tester's own cluster needs is not for the tests
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "LOCKD_") && !slices.Contains(ours, name) {
			_ = os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// runHere runs the program in this process.
func runHere(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	p := &program{in: os.Stdin, out: &out, err: &errs}
	code = p.run(t.Context(), args)
	return out.String(), errs.String(), code
}
