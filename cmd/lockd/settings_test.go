package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// checked returns what --check-config prints.
func checked(t *testing.T, args ...string) (settings, errs string, code int) {
	t.Helper()
	return runHere(t, append([]string{"serve", "--check-config"}, args...)...)
}

// TestFileErrorsNameTheLine, all of them at once.
func TestFileErrorsNameTheLine(t *testing.T) {
	file := writeFile(t, "lockd.yaml", `# a node
name: n1
listen_cleint: 127.0.0.1:7400
drain_timeout: soon
initial_cluster:
  - n1=127.0.0.1:7401
max_connections: many
name: n2
min_free: 1 GB
pprof: perhaps
heartbeat:
lock_classes: [[a]]
token_floor: -1
advertise_raft: {a: b}
`)
	_, errs, code := checked(t, "--config", file)
	want := strings.ReplaceAll(`lockd: FILE:3: unknown key "listen_cleint"; did you mean listen_client?
       FILE:4: drain_timeout: "soon" is no time such as 500ms, 10s or 1h
       FILE:7: max_connections: "many" is no number
       FILE:8: name stands in line 2 already
       FILE:9: min_free: "1 GB" is no size such as 4MiB or 1GiB
       FILE:10: pprof: "perhaps" is neither true nor false
       FILE:11: heartbeat: a value is missing, or not a single one
       FILE:12: lock_classes: not a list of texts
       FILE:13: token_floor: "-1" is no number
       FILE:14: advertise_raft: a value is missing, or not a single one
       see: lockd help serve
`, "FILE", file)
	if diff := cmp.Diff(want, errs); diff != "" || code != exitUsage {
		t.Errorf("code %d: %s", code, diff)
	}
}

func TestFileThatIsNone(t *testing.T) {
	for text, says := range map[string]string{
		"name: [":             "line 1: did not find expected node content",
		"- a\n- b\n":          "FILE:1: not a list of keys with values",
		"a: b\n\tc: d\n":      "line 2: found a tab character",
		"name: n1\n---\na: b": "", // only the first document counts, and is in order
	} {
		file := writeFile(t, "lockd.yaml", text)
		_, errs, code := checked(t, "--config", file)
		says = strings.ReplaceAll(says, "FILE", file)
		if !strings.Contains(errs, says) || (code == exitUsage) != (says != "") {
			t.Errorf("%q: code %d, %s", text, code, errs)
		}
	}
	_, errs, code := checked(t, "--config", "no/such/file.yaml")
	if code != exitUsage || !strings.Contains(errs, "--config: open no/such/file.yaml: no such file") {
		t.Errorf("code %d, %s", code, errs)
	}
}

// TestPrecedence: flag, then environment, then file, then default; and the print says which.
func TestPrecedence(t *testing.T) {
	file := writeFile(t, "lockd.yaml", "name: file\ncluster_name: file\ndata_dir: file\nmin_free: 1GiB\n")
	t.Setenv("LOCKD_NAME", "env")
	t.Setenv("LOCKD_CLUSTER_NAME", "env")
	t.Setenv("LOCKD_PPROF", "true")
	t.Setenv("LOCKD_LOCK_CLASSES", "jobs/, db/")
	out, errs, code := checked(t, "--name", "flag", "--config", file, "--heartbeat=20ms")
	if code != 0 {
		t.Fatal(errs)
	}
	for _, want := range []string{
		"name: flag # flag --name", "cluster_name: env # LOCKD_CLUSTER_NAME", "data_dir: file # " + file + ":3", "log_level: info # default",
		"pprof: true # LOCKD_PPROF", "lock_classes: [jobs/, db/] # LOCKD_LOCK_CLASSES", "heartbeat: 20ms # flag --heartbeat",
		"min_free: 1GiB # " + file + ":4",
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, out)
		}
	}
}

// TestPrintedSettingsCanBeRead again, and mean the same.
func TestPrintedSettingsCanBeRead(t *testing.T) {
	out, errs, code := checked(t, "--name", "n2", "--initial-cluster", "n1=127.0.0.1:1,n2=127.0.0.1:2", "--max-queue", "3MiB", "--token-floor", "77", "--no-wait", "--log-format", "json")
	if code != 0 {
		t.Fatal(errs)
	}
	again, errs, code := checked(t, "--config", writeFile(t, "again.yaml", out))
	if code != 0 {
		t.Fatal(errs)
	}
	strip := func(text string) string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			setting, _, _ := strings.Cut(line, " # ")
			b.WriteString(setting + "\n")
		}
		return b.String()
	}
	if diff := cmp.Diff(strip(out), strip(again)); diff != "" {
		t.Error(diff)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer hunter2")
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
	out, errs, code := checked(t)
	if code != 0 || strings.Contains(out, "hunter2") || !strings.Contains(out, "# OTEL_EXPORTER_OTLP_HEADERS=(masked)\n") ||
		!strings.Contains(out, "# OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317\n") {
		t.Errorf("code %d, %s\n%s", code, errs, out)
	}
}

// TestSettingsThatMakeNoNode are refused before anything is opened.
func TestSettingsThatMakeNoNode(t *testing.T) {
	for _, test := range []struct{ args, says string }{
		{"--initial-cluster a", `initial_cluster: "a" is not NAME=HOST:PORT`},
		{"--log-level loud", `log_level: "loud" is not debug, info, warn or error`},
		{"--log-format xml", `log_format: "xml" is neither text nor json`},
		{"--listen-client nowhere", `listen_client "nowhere" is not host:port`},
		{"--dev --data-dir /tmp/x", "data_dir and dev exclude each other"},
		{"--tls-key x", "tls_cert is missing"},
		{"--tls-cert x --tls-key y --initial-cluster lockd-1=a:1,b=b:1", "tls_ca is missing"},
		{"--tls-cert no.pem --tls-key no.key", "no.pem"},
		{"--heartbeat 1s --election-timeout 2s", "election_timeout 2s is less than five times heartbeat 1s"},
		{"--max-connections x", `flag --max-connections: "x" is no number`},
	} {
		_, errs, code := checked(t, strings.Fields(test.args)...)
		if code != exitUsage || !strings.Contains(errs, test.says) {
			t.Errorf("%s: code %d, %s", test.args, code, errs)
		}
	}
	if _, errs, code := checked(t, "--dev"); code != 0 {
		t.Errorf("--dev: code %d, %s", code, errs)
	}
}

// TestEverySetting can be set by its flag, its variable and its key, and has a default that can be read.
func TestEverySetting(t *testing.T) {
	defaults := defaultSettings()
	samples := map[string]string{"*string": "x", "*bool": "true", "*int": "7", "*uint64": "8", "*time.Duration": "9s", "*main.size": "3KiB", "*[]string": "a,b"}
	seen := map[any]string{}
	for _, s := range everySetting() {
		field := s.field(defaults)
		if other, ok := seen[field]; ok {
			t.Errorf("%s and %s are the same field", s.name, other)
		}
		seen[field] = s.name
		sample := samples[typeName(field)]
		var fresh settings
		if err := set(s.field(&fresh), sample); err != nil || text(s.field(&fresh)) != sample {
			t.Errorf("%s: %q becomes %q, %v", s.name, sample, text(s.field(&fresh)), err)
		}
		if err := set(s.field(new(settings)), text(field)); err != nil && text(field) != "" {
			t.Errorf("%s: its default: %v", s.name, err)
		}
	}
}

func typeName(field any) string {
	switch field.(type) {
	case *string:
		return "*string"
	case *bool:
		return "*bool"
	case *int:
		return "*int"
	case *uint64:
		return "*uint64"
	case *time.Duration:
		return "*time.Duration"
	case *size:
		return "*main.size"
	default:
		return "*[]string"
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]size{"0": 0, "1": 1, "512MiB": 512 << 20, "4 KiB": 4096, "3GiB": 3 << 30, "10B": 10} {
		var s size
		if err := s.parse(text); err != nil || s != want {
			t.Errorf("%s: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1.5GiB", "1GB", "99999999999GiB"} {
		if s := new(size); s.parse(text) == nil {
			t.Errorf("%q is %d", text, *s)
		}
	}
}
