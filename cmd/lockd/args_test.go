package main

import (
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFlagsStandAnywhere: package cli alone takes every one of these for a command without flags.
func TestFlagsStandAnywhere(t *testing.T) {
	app := (&program{out: io.Discard, err: io.Discard}).app()
	for _, test := range []struct{ given, want string }{
		{"ls", "lockd ls --"},
		{"ls -o json", "lockd --output=json ls --"},
		{"-o json ls jobs/", "lockd --output=json ls -- jobs/"},
		{"ls jobs/ --stale -o=json", "lockd --output=json ls --stale=true -- jobs/"},
		{"lock a --ttl 5s -- cmd", "lockd lock --ttl=5s -- a -- cmd"},
		{"lock --ttl 5s a -- sh -c ls", "lockd lock --ttl=5s -- a -- sh -c ls"},
		{"lock --ttl 5s -- a cmd", "lockd lock --ttl=5s -- -- a cmd"},
		{"lock a -n -E 0 -v -- cmd -n --help", "lockd --verbose=true lock --try=true --conflict-exit-code=0 -- a -- cmd -n --help"},
		{"lock a -c x=y", "lockd lock --command=x=y -- a"},
		{"lock a -w -5s", "lockd lock --wait=-5s -- a"},
		{"lease renew ref --ttl 2h -e n1", "lockd --endpoints=n1 lease renew --ttl=2h -- ref"},
		{"lock - -- cmd", "lockd lock -- - -- cmd"},
		{"lock help -- x", "lockd lock -- help -- x"},
	} {
		w, err := read(app, strings.Fields(test.given))
		if err != nil {
			t.Errorf("%s: %v", test.given, err)
			continue
		}
		if diff := cmp.Diff(test.want, strings.Join(w.ordered(), " ")); diff != "" {
			t.Errorf("%s: %s", test.given, diff)
		}
	}
}

// TestWrongUsage: exit code 2, nothing on standard output, and on standard error what is wrong and where to read on, not the whole help.
func TestWrongUsage(t *testing.T) {
	for _, test := range []struct{ given, says, hint string }{
		{"lok", `unknown command "lok"; did you mean lock?`, "lockd help"},
		{"frobnicate", `unknown command "frobnicate"`, "lockd help"},
		{"lease acqire x", `unknown command "acqire"; did you mean acquire?`, "lockd help lease"},
		{"lease", "a command is missing", "lockd help lease"},
		{"lock a --trry -- x", "unknown flag --trry; did you mean --try?", "lockd help lock"},
		{"lock a --ouptut json", "unknown flag --ouptut; did you mean --output?", "lockd help lock"},
		{"lock a --ttl", "--ttl needs a value", "lockd help lock"},
		{"lock a --ttl -- x", "--ttl needs a value", "lockd help lock"},
		{"lock a --ttl soon -- x", `invalid value "soon" for --ttl: parse error`, "lockd help lock"},
		{"lock", "NAME is missing: it stands before --", "lockd help lock"},
		{"lock -- x", "NAME is missing: it stands before --", "lockd help lock"},
		{"lock a --", "COMMAND is missing behind --", "lockd help lock"},
		{"lock a b -- x", `unexpected argument "b": a command stands behind --, several names need --all`, "lockd help lock"},
		{"lock a -c x -- y", "-c STRING and -- COMMAND exclude each other", "lockd help lock"},
		{"lock a --try --wait 1s -- x", "--try and --wait exclude each other", "lockd help lock"},
		{"lock a --shared --slots 3", "--shared and --slots exclude each other", "lockd help lock"},
		{"lock a --slots 0", "--slots 0: say at least 1", "lockd help lock"},
		{"lock a -E 256", "--conflict-exit-code 256 is not between 0 and 255", "lockd help lock"},
		{"lock a --ttl 4s --stop-time 3s", "--stop-time 3s is more than half of --ttl, or --grace, 4s", "lockd help lock"},
		{"ls a b", `unexpected argument "b"`, "lockd help ls"},
		{"ls -o yaml", `unknown output "yaml": say table or json`, "lockd help ls"},
		{"show", "NAME is missing", "lockd help show"},
		{"check-token a x", `TOKEN "x" is no number`, "lockd help check-token"},
		{"lease renew nonsense", `invalid: "nonsense" is no lease reference of the form ID.TOKEN.NAME`, "lockd help lease renew"},
		{"session show 12", `ID "12" is not 32 hexadecimal digits`, "lockd help session show"},
		{"completion tcsh", `no completion for "tcsh": say bash, zsh or fish`, "lockd help completion"},
		{"bench --clients 0", "--clients 0 is not between 1 and 10000", "lockd help bench"},
	} {
		out, errs, code := runHere(t, strings.Fields(test.given)...)
		want := "lockd: " + test.says + "\n       see: " + test.hint + "\n"
		if code != exitUsage || out != "" || errs != want {
			t.Errorf("%s: code %d, standard output %q, standard error\n%swant\n%s", test.given, code, out, errs, want)
		}
	}
}

func TestBadEnvironmentIsNamed(t *testing.T) {
	t.Setenv("LOCKD_TIMEOUT", "soon")
	_, errs, code := runHere(t, "ls")
	if code != exitUsage || !strings.Contains(errs, "LOCKD_TIMEOUT") || !strings.Contains(errs, "soon") {
		t.Errorf("code %d, %s", code, errs)
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"acquire", "release", "renew", "o"}
	for word, want := range map[string]string{
		"acqire": "; did you mean acquire?", "relaese": "; did you mean release?", "renews": "; did you mean renew?", "x": "", "entirely": "",
	} {
		if got := didYouMean(word, known, ""); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
}

// TestCommandThatCannotRun is found out before anything is asked of a cluster: there is none here.
func TestCommandThatCannotRun(t *testing.T) {
	for _, test := range []struct {
		command string
		code    int
		says    string
	}{
		{"no-such-command-here", exitNotFound, "no-such-command-here: command not found"},
		{"./no/such/file", exitNotFound, "./no/such/file: command not found"},
		{"./main.go", exitNotExecutable, "./main.go: cannot be executed: permission denied"},
	} {
		_, errs, code := runHere(t, "lock", "a", "-e", "127.0.0.1:1", "--", test.command)
		if code != test.code || errs != "lockd: "+test.says+"\n" {
			t.Errorf("%s: code %d, want %d; %s", test.command, code, test.code, errs)
		}
	}
}
