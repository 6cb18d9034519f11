package lint

import (
	"bytes"
	"path"
	"regexp"
	"strings"
)

// The patterns are written so that they do not match themselves.
var words = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`\b(TOD[O]|FIXM[E]|XX[X])\b`), "finish it, or say what is left in the documents"},
	{regexp.MustCompile(`(^|[^\w.)}])/(wor[k]|roo[t]|hom[e]|User[s])/`), "a path of one machine"},
	{regexp.MustCompile(`(?i)\b(proxy|sum|pkg)\.golan[g]\.org|goprox[y]\.|npmj[s]\.org|\bpyp[i]\.org|crate[s]\.io`), "a host of a package registry"},
	{regexp.MustCompile(`(?i)\bissue #?\d{1,2}\b`), "the number of a task: say the reason instead"},
}

// Words finds what no text of the repository may say: loose ends, paths of one machine, hosts of package registries, numbers of tasks.
func Words(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if path.Base(f.Path) == "go.sum" {
			continue
		}
		for i, line := range bytes.Split(f.Data, []byte("\n")) {
			for _, w := range words {
				if m := w.pattern.Find(line); m != nil {
					found = append(found, Finding{File: f.Path, Line: i + 1, Text: "says " + quote(m) + ": " + w.why})
				}
			}
		}
	}
	return found
}

func quote(b []byte) string { return `"` + strings.TrimSpace(string(b)) + `"` }

var citation = regexp.MustCompile(`(https?://\S*)|[\w./-]*\w\.md\b`)

// Citations finds names of documents, in documents and in Go source, that are not in the repository. A name may be relative to the
// root, to docs/ or to the file that cites it; addresses of the web are not followed.
func Citations(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Syntax == nil && path.Ext(f.Path) != ".md" {
			continue
		}
		for i, line := range bytes.Split(f.Data, []byte("\n")) {
			for _, m := range citation.FindAll(line, -1) {
				if name := string(m); !strings.Contains(name, "://") && !t.cites(f, name) {
					found = append(found, Finding{File: f.Path, Line: i + 1, Text: "cites " + name + ", which is not here"})
				}
			}
		}
	}
	return found
}

func (t *Tree) cites(f *File, name string) bool {
	for _, dir := range []string{"", "docs", f.Dir()} {
		if t.File(path.Join(dir, name)) != nil {
			return true
		}
	}
	return false
}
