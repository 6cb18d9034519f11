package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// A Finding is one place that breaks a rule.
type Finding struct {
	File string // slash-separated, relative to the root of the tree
	Line int    // from 1; 0 when the finding is about the whole file or directory
	Text string
}

// String returns the finding in the form that editors jump to.
func (f Finding) String() string {
	if f.Line == 0 {
		return f.File + ": " + f.Text
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// A File is one text file of the tree.
type File struct {
	Path   string // slash-separated, relative to the root of the tree
	Data   []byte
	Syntax *ast.File // nil unless the name ends in .go
}

// IsTest reports whether the file is compiled into tests only.
func (f *File) IsTest() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Dir returns the directory of the file.
func (f *File) Dir() string { return path.Dir(f.Path) }

// Lines returns the number of lines.
func (f *File) Lines() int { return bytes.Count(f.Data, []byte("\n")) }

// A Tree is a directory of source, read once.
type Tree struct {
	Root  string
	Files []*File // in the order of their paths
	fset  *token.FileSet
}

// unread are directories with nothing of ours to read: products of the build, and samples that are bad on purpose.
var unread = []string{".git", ".cache", "bin", "data", "internal/lint/testdata", "internal/mutants/testdata"}

// Load reads every text file below root. A Go file that does not parse is an error.
func Load(root string) (*Tree, error) {
	t := &Tree{Root: root, fset: token.NewFileSet()}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return fmt.Errorf("load the tree: %w", err)
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			if slices.Contains(unread, rel) || strings.HasSuffix(rel, "testdata/fuzz") {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return t.read(rel)
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Tree) read(rel string) error {
	data, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(rel)))
	if err != nil {
		return fmt.Errorf("load the tree: %w", err)
	}
	if bytes.IndexByte(data, 0) >= 0 { // not a text
		return nil
	}
	f := &File{Path: rel, Data: data}
	if strings.HasSuffix(rel, ".go") {
		f.Syntax, err = parser.ParseFile(t.fset, rel, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return fmt.Errorf("load the tree: %w", err)
		}
	}
	t.Files = append(t.Files, f)
	return nil
}

// File returns the file of that path, nil when there is none.
func (t *Tree) File(name string) *File {
	i := slices.IndexFunc(t.Files, func(f *File) bool { return f.Path == name })
	if i < 0 {
		return nil
	}
	return t.Files[i]
}

// finding places a text at a node of one of the tree's files.
func (t *Tree) finding(n ast.Node, format string, args ...any) Finding {
	p := t.fset.Position(n.Pos())
	return Finding{File: p.Filename, Line: p.Line, Text: fmt.Sprintf(format, args...)}
}
