package lint

import (
	"fmt"
	"go/ast"
	"maps"
	"path"
	"slices"
	"strings"
)

const (
	maxFileLines = 500  // of a file that is not a test
	maxCoreLines = 2800 // of raft.Core: what one reader can hold in the head in a day
)

// Lengths finds the files that are too long to read in one sitting. Tests may be longer.
func Lengths(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Syntax == nil || f.IsTest() || f.Lines() <= maxFileLines {
			continue
		}
		found = append(found, Finding{File: f.Path, Text: fmt.Sprintf("%d lines: split it; the limit is %d", f.Lines(), maxFileLines)})
	}
	return found
}

// CoreLength finds a raft.Core that has outgrown its limit: the files of raft/ but its driver's.
func CoreLength(t *Tree) []Finding {
	var lines int
	for _, f := range t.Files {
		if f.Syntax != nil && f.Dir() == "raft" && !f.IsTest() && !isDriver(f.Path) {
			lines += f.Lines()
		}
	}
	if lines <= maxCoreLines {
		return nil
	}
	return []Finding{{File: "raft", Text: fmt.Sprintf("the core has %d lines; the limit is %d", lines, maxCoreLines)}}
}

// isDriver reports whether a file of package raft belongs to raft.Node, which may use goroutines and clocks.
func isDriver(name string) bool { return strings.HasPrefix(path.Base(name), "node") }

// PackageDocs finds packages without a package comment, or with several: it stands once, in doc.go, or in a command's main.go.
func PackageDocs(t *Tree) []Finding {
	packages := make(map[string][]*File) // by directory
	for _, f := range t.Files {
		if f.Syntax != nil && !f.IsTest() {
			packages[f.Dir()] = append(packages[f.Dir()], f)
		}
	}
	var found []Finding
	for _, dir := range slices.Sorted(maps.Keys(packages)) {
		var documented int
		for _, f := range packages[dir] {
			if f.Syntax.Doc == nil {
				continue
			}
			documented++
			found = append(found, packageDoc(t, f)...)
		}
		if documented != 1 {
			found = append(found, Finding{File: dir, Text: fmt.Sprintf("%d package comments; write one", documented)})
		}
	}
	return found
}

func packageDoc(t *Tree, f *File) []Finding {
	if f.Syntax.Name.Name == "main" {
		return nil
	}
	var found []Finding
	if path.Base(f.Path) != "doc.go" {
		found = append(found, t.finding(f.Syntax.Doc, "the package comment stands in doc.go"))
	}
	if begin := "Package " + f.Syntax.Name.Name + " "; !strings.HasPrefix(f.Syntax.Doc.Text(), begin) {
		found = append(found, t.finding(f.Syntax.Doc, "the package comment begins with %q", begin))
	}
	return found
}

// callee returns the package name and the function of a call like time.Sleep(d), as they are written.
func callee(call *ast.CallExpr) (pkg, name string) {
	sel, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return x.Name, sel.Sel.Name
}
