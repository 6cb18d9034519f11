package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The documents that say what is tested, and by what; and what was found by it.
const (
	testingDoc     = "docs/TESTING.md"
	reliabilityDoc = "docs/RELIABILITY.md"
)

// A Row is one row of a table in a document.
type Row struct {
	Line  int
	Cells []string
}

// rows returns the rows of every table whose last column has one of these titles.
func rows(f *File, titles ...string) []Row {
	var found []Row
	var inTable, wanted bool
	for i, line := range strings.Split(string(f.Data), "\n") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inTable = false
			continue
		}
		if strings.Trim(line, "|-: ") == "" { // the line below the titles
			continue
		}
		cells := strings.Split(strings.TrimSuffix(line[1:], "|"), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		if !inTable {
			last := cells[len(cells)-1]
			inTable, wanted = true, slices.ContainsFunc(titles, func(title string) bool { return strings.EqualFold(last, title) })
			continue
		}
		if wanted {
			found = append(found, Row{Line: i + 1, Cells: cells})
		}
	}
	return found
}

var (
	testName = regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark|Example)[A-Z0-9_]\w*(?:/[\w.-]+)*`)
	fileName = regexp.MustCompile(`[\w./-]*\btestdata/[\w./-]+`)
	linkTo   = regexp.MustCompile(`\]\([^)]*\)`)
)

// Tables finds rows of docs/TESTING.md and docs/RELIABILITY.md, in every table whose last column is titled Test or Tests, that name no
// test and no script, or one that does not exist. A sub-test must be the name of a file or a string in the source of a test.
func Tables(t *Tree) []Finding {
	known := t.tests()
	var found []Finding
	for _, name := range []string{testingDoc, reliabilityDoc} {
		doc := t.File(name)
		if doc == nil {
			found = append(found, Finding{File: name, Text: "is missing"})
			continue
		}
		found = append(found, t.tables(doc, known)...)
	}
	return found
}

func (t *Tree) tables(doc *File, known map[string]bool) []Finding {
	var found []Finding
	for _, row := range rows(doc, "test", "tests") {
		cell := linkTo.ReplaceAllString(row.Cells[len(row.Cells)-1], "]")
		scripts := fileName.FindAllString(cell, -1)
		names := testName.FindAllString(fileName.ReplaceAllString(cell, ""), -1)
		if len(scripts)+len(names) == 0 {
			found = append(found, Finding{File: doc.Path, Line: row.Line, Text: "row " + row.Cells[0] + " names no test"})
		}
		for _, name := range scripts {
			if !t.hasSuffix(strings.TrimRight(name, ".")) {
				found = append(found, Finding{File: doc.Path, Line: row.Line, Text: "row " + row.Cells[0] + " names " + name + ", which does not exist"})
			}
		}
		for _, name := range names {
			for part := range strings.SplitSeq(name, "/") {
				if !known[part] {
					found = append(found, Finding{File: doc.Path, Line: row.Line, Text: "row " + row.Cells[0] + " names " + name + ", which does not exist"})
					break
				}
			}
		}
	}
	return found
}

// hasSuffix reports whether a file's path is the name, or ends in it.
func (t *Tree) hasSuffix(name string) bool {
	for _, f := range t.Files {
		if f.Path == name || strings.HasSuffix(f.Path, "/"+name) {
			return true
		}
	}
	return false
}

// tests returns the names of all tests, and what may be the name of a sub-test: the strings in their source, as the testing package
// rewrites them, and the names of the files in testdata.
func (t *Tree) tests() map[string]bool {
	known := make(map[string]bool)
	for _, f := range t.Files {
		if strings.Contains(f.Path, "testdata/") {
			known[path.Base(f.Path)] = true
			known[strings.TrimSuffix(path.Base(f.Path), path.Ext(f.Path))] = true
		}
		if f.Syntax == nil {
			continue
		}
		for _, d := range f.Syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && testName.MatchString(fn.Name.Name) {
				known[fn.Name.Name] = true
			}
		}
		if !f.IsTest() {
			continue
		}
		ast.Inspect(f.Syntax, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil {
					known[strings.ReplaceAll(s, " ", "_")] = true
				}
			}
			return true
		})
	}
	return known
}

var stage = regexp.MustCompile(`(?m)^stage\s+(\S+)\s+(\d+)\s+(\d+)\s`)

// Stages finds stages of .ci/run whose budget docs/TESTING.md does not give, or gives otherwise, and stages of the document that do not
// run. The document's table has the columns Stage, ..., Budget; a budget is in seconds.
func Stages(t *Tree) []Finding {
	doc, script := t.File(testingDoc), t.File(".ci/run")
	if doc == nil || script == nil {
		return []Finding{{File: testingDoc, Text: "it or .ci/run is missing"}}
	}
	budgets := make(map[string]string)
	var found []Finding
	for _, m := range stage.FindAllSubmatchIndex(script.Data, -1) {
		name, budget := string(script.Data[m[2]:m[3]]), string(script.Data[m[4]:m[5]])
		if _, ok := budgets[name]; ok {
			line := 1 + bytes.Count(script.Data[:m[0]], []byte("\n"))
			found = append(found, Finding{File: script.Path, Line: line, Text: "stage " + name + " stands twice"})
		}
		budgets[name] = budget
	}
	documented := make(map[string]bool)
	for _, row := range rows(doc, "budget") {
		name, budget := strings.Trim(row.Cells[0], "`"), row.Cells[len(row.Cells)-1]
		documented[name] = true
		if budgets[name]+" s" != budget {
			found = append(found, Finding{
				File: testingDoc, Line: row.Line,
				Text: fmt.Sprintf("stage %s has the budget %q; .ci/run says %q", name, budget, budgets[name]+" s"),
			})
		}
	}
	for _, m := range stage.FindAllSubmatch(script.Data, -1) {
		if !documented[string(m[1])] {
			found = append(found, Finding{File: testingDoc, Text: "stage " + string(m[1]) + " of .ci/run has no row"})
		}
	}
	return found
}
