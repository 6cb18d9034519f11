package lint

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Machine is a deterministic package, or the deterministic part of one.
type Machine struct {
	Dir     string
	Pure    func(name string) bool // whether the file of this base name belongs to the machine; nil means all do
	Imports []string               // beyond the common ones
}

// Machines are the deterministic parts of lockd. The simulator replays them by a seed, and every replica must reach the same state.
func Machines() []Machine {
	return []Machine{
		{Dir: "raft", Pure: func(name string) bool { return !isDriver(name) }},
		{Dir: "session"},
		{Dir: "lockd/locktable", Imports: []string{"unicode", "unicode/utf8", "github.com/lockd/lockd/session"}},
		{Dir: "internal/machine"},
	}
}

// pureImports do no I/O, know no clock and start nothing, but for what impure names.
var pureImports = []string{
	"bytes", "cmp", "encoding/binary", "encoding/hex", "errors", "fmt", "hash/crc32", "iter", "maps", "math", "math/bits", "slices", "sort", "strconv", "strings",
	"time",
}

// impure are the functions and variables of the allowed packages that are not deterministic.
var impure = map[string][]string{
	"fmt":  {"Print", "Printf", "Println", "Scan", "Scanf", "Scanln"},
	"iter": {"Pull", "Pull2"},
	"maps": {"All", "Keys", "Values", "DeleteFunc", "EqualFunc"},
	"time": {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Local", "LoadLocation"},
}

// Pure finds what makes a machine depend on anything but its inputs. It needs the go command, to find what the machine imports.
func Pure(ctx context.Context, t *Tree, m Machine) ([]Finding, error) {
	exports, err := exportData(ctx, t.Root, m.Dir)
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, f := range t.Files {
		if f.Syntax != nil && f.Dir() == m.Dir && !f.IsTest() {
			files = append(files, f.Syntax)
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no Go file in %s", m.Dir)
	}
	c := pureCheck{tree: t, machine: m, info: &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue),
		Uses:  make(map[*ast.Ident]types.Object),
	}}
	lookup := func(pkg string) (io.ReadCloser, error) { return os.Open(exports[pkg]) }
	conf := types.Config{Importer: importer.ForCompiler(t.fset, "gc", lookup)}
	if _, err := conf.Check(m.Dir, t.fset, files, c.info); err != nil {
		return nil, fmt.Errorf("check the types of %s: %w", m.Dir, err)
	}
	for _, f := range files {
		if c.isPure(f.Pos()) {
			c.file(f)
		}
	}
	return c.found, nil
}

// exportData returns the compiler's file for each package that the one in dir imports, directly or not.
func exportData(ctx context.Context, root, dir string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", "./"+dir)
	cmd.Dir = filepath.Clean(root)
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("list what %s imports: %w", dir, err)
	}
	exports := make(map[string]string)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		pkg, file, _ := strings.Cut(lines.Text(), "\t")
		exports[pkg] = file
	}
	return exports, nil
}

type pureCheck struct {
	tree    *Tree
	machine Machine
	info    *types.Info
	found   []Finding
}

func (c *pureCheck) isPure(p token.Pos) bool {
	return c.machine.Pure == nil || c.machine.Pure(path.Base(c.tree.fset.Position(p).Filename))
}

// report keeps one finding of a kind for each line.
func (c *pureCheck) report(n ast.Node, format string, args ...any) {
	if f := c.tree.finding(n, format, args...); !slices.Contains(c.found, f) {
		c.found = append(c.found, f)
	}
}

func (c *pureCheck) file(f *ast.File) {
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !slices.Contains(pureImports, name) && !slices.Contains(c.machine.Imports, name) {
			c.report(spec, "imports %s, which is not a pure package", spec.Path.Value)
		}
		if spec.Name != nil && spec.Name.Name == "." {
			c.report(spec, "a dot import hides where a name comes from")
		}
	}
	ast.PreorderStack(f, nil, func(n ast.Node, stack []ast.Node) bool {
		c.node(n, stack)
		return true
	})
}

func (c *pureCheck) node(n ast.Node, stack []ast.Node) {
	switch n := n.(type) {
	case *ast.GoStmt:
		c.report(n, "starts a goroutine")
	case *ast.SelectStmt:
		c.report(n, "uses a channel")
	case *ast.RangeStmt:
		if isMap(c.info.TypeOf(n.X)) && !c.collects(n, stack) {
			c.report(n, "ranges over a map: range over slices.Sorted(maps.Keys(m)), or only collect what is sorted after the loop")
		}
	case *ast.Ident:
		c.use(n, stack)
	case ast.Expr:
	default:
		return
	}
	if e, ok := n.(ast.Expr); ok && isChan(c.info.TypeOf(e)) {
		c.report(n, "uses a channel")
	}
}

// use judges a name by what declares it.
func (c *pureCheck) use(n *ast.Ident, stack []ast.Node) {
	obj := c.info.Uses[n]
	switch {
	case obj == nil || obj.Pkg() == nil:
		if _, ok := obj.(*types.Builtin); ok && (n.Name == "print" || n.Name == "println") {
			c.report(n, "writes to the standard error")
		}
	case obj.Pkg().Path() == c.machine.Dir:
		if obj.Pos().IsValid() && !c.isPure(obj.Pos()) {
			c.report(n, "uses %s, which is declared in the impure %s", n.Name, path.Base(c.tree.fset.Position(obj.Pos()).Filename))
		}
	case obj.Parent() == obj.Pkg().Scope() && slices.Contains(impure[obj.Pkg().Path()], n.Name):
		if obj.Pkg().Path() != "maps" || !c.sorts(stack) {
			c.report(n, "uses %s.%s: its result depends on more than the arguments", obj.Pkg().Name(), n.Name)
		}
	}
}

// sorts reports whether the innermost call on the stack, maps.Keys(m) say, is itself the first argument of slices.Sorted or
// slices.SortedFunc, so that its order cannot be seen.
func (c *pureCheck) sorts(stack []ast.Node) bool {
	i := len(stack) - 1
	for i >= 0 {
		if _, ok := stack[i].(*ast.CallExpr); ok {
			break
		}
		i--
	}
	if i < 1 {
		return false
	}
	outer, ok := stack[i-1].(*ast.CallExpr)
	if !ok || len(outer.Args) == 0 || outer.Args[0] != stack[i] {
		return false
	}
	sel, ok := outer.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	fn, ok := c.info.Uses[sel.Sel].(*types.Func)
	return ok && fn.Pkg() != nil && fn.Pkg().Path() == "slices" && (fn.Name() == "Sorted" || fn.Name() == "SortedFunc")
}

// collects reports whether a loop does nothing but append to slices that statements after it in the same block sort, so that the
// order of the loop cannot be seen.
func (c *pureCheck) collects(loop *ast.RangeStmt, stack []ast.Node) bool {
	block, ok := stack[len(stack)-1].(*ast.BlockStmt)
	if !ok {
		return false
	}
	slicesOf, ok := appendsOnly(loop.Body)
	if !ok || len(slicesOf) == 0 {
		return false
	}
	sorted := make(map[string]bool)
	for _, s := range block.List {
		if x, ok := s.(*ast.ExprStmt); ok && s.Pos() > loop.End() {
			if call, ok := x.X.(*ast.CallExpr); ok && len(call.Args) > 0 && c.isSort(call) {
				sorted[types.ExprString(call.Args[0])] = true
			}
		}
	}
	return !slices.ContainsFunc(slicesOf, func(s string) bool { return !sorted[s] })
}

// appendsOnly reports whether a body holds nothing but s = append(s, ...), continue, and if around them, and to which slices it appends.
func appendsOnly(body *ast.BlockStmt) (to []string, ok bool) {
	for _, s := range body.List {
		switch s := s.(type) {
		case *ast.AssignStmt:
			if len(s.Lhs) != 1 || len(s.Rhs) != 1 || s.Tok != token.ASSIGN {
				return nil, false
			}
			call, ok := s.Rhs[0].(*ast.CallExpr)
			slice := types.ExprString(s.Lhs[0])
			if !ok || types.ExprString(call.Fun) != "append" || types.ExprString(call.Args[0]) != slice {
				return nil, false
			}
			to = append(to, slice)
		case *ast.IfStmt:
			inner, ok := appendsOnly(s.Body)
			if !ok || s.Init != nil || s.Else != nil {
				return nil, false
			}
			to = append(to, inner...)
		case *ast.BranchStmt:
			if s.Tok != token.CONTINUE {
				return nil, false
			}
		default:
			return nil, false
		}
	}
	return to, true
}

// isSort reports whether a call sorts its first argument.
func (c *pureCheck) isSort(call *ast.CallExpr) bool {
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	fn, ok := c.info.Uses[sel.Sel].(*types.Func)
	return ok && fn.Pkg() != nil && fn.Pkg().Path() == "slices" && (fn.Name() == "Sort" || fn.Name() == "SortFunc")
}

func isMap(t types.Type) bool {
	return is(t, func(t types.Type) bool { _, ok := t.(*types.Map); return ok })
}

func isChan(t types.Type) bool {
	return is(t, func(t types.Type) bool { _, ok := t.(*types.Chan); return ok })
}

// is reports whether the type is of a kind, or a type parameter that one of that kind can stand for.
func is(t types.Type, kind func(underlying types.Type) bool) bool {
	if t == nil {
		return false
	}
	set, ok := t.Underlying().(*types.Interface)
	if _, param := t.(*types.TypeParam); !param || !ok {
		return kind(t.Underlying())
	}
	for embedded := range set.EmbeddedTypes() {
		union, ok := embedded.(*types.Union)
		if !ok {
			if kind(embedded.Underlying()) {
				return true
			}
			continue
		}
		for term := range union.Terms() {
			if kind(term.Type().Underlying()) {
				return true
			}
		}
	}
	return false
}
