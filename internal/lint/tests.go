package lint

import (
	"go/ast"
	"slices"
	"strings"
)

// testSupport are packages that hold no tests and run inside those of others.
var testSupport = []string{"raft/rafttest", "raft/memnet", "internal/memnet", "internal/sim", "internal/simworld", "internal/simproto"}

// Sleeps finds tests that spend real time. In a testing/synctest bubble a sleep is how time passes, so it is allowed inside a function
// literal given to synctest.Test, or to a function of the package's tests that runs its argument in one, and in a function that itself
// calls synctest.Wait, which panics outside a bubble.
func Sleeps(t *Tree) []Finding {
	var found []Finding
	bubbles := bubbleMakers(t)
	for _, f := range t.Files {
		if f.Syntax == nil || !f.IsTest() && !slices.Contains(testSupport, f.Dir()) {
			continue
		}
		ast.PreorderStack(f.Syntax, nil, func(n ast.Node, stack []ast.Node) bool {
			if what := sleep(n); what != "" && !isLimit(stack) && !inBubble(stack, bubbles[f.Dir()]) {
				found = append(found, t.finding(n, "%s outside a synctest bubble: wait for the cause instead", what))
			}
			return true
		})
	}
	return found
}

// sleep returns how a node waits for a time and nothing else, empty when it does not.
func sleep(n ast.Node) string {
	switch n := n.(type) {
	case *ast.CallExpr:
		if pkg, name := callee(n); pkg == "time" && name == "Sleep" {
			return "time.Sleep"
		}
	case *ast.ExprStmt:
		receive, ok := n.X.(*ast.UnaryExpr)
		if !ok {
			return ""
		}
		call, ok := receive.X.(*ast.CallExpr)
		if !ok {
			return ""
		}
		if pkg, name := callee(call); pkg == "time" && (name == "After" || name == "Tick") {
			return "<-time." + name
		}
	}
	return ""
}

// isLimit reports whether the innermost node on the stack is one of several cases of a select: the wait ends with the cause, and a
// time only bounds it.
func isLimit(stack []ast.Node) bool {
	if len(stack) < 2 {
		return false
	}
	if _, ok := stack[len(stack)-1].(*ast.CommClause); !ok {
		return false
	}
	cases, ok := stack[len(stack)-2].(*ast.BlockStmt)
	return ok && len(cases.List) > 1
}

// bubbleMakers returns, for each directory, the functions of its tests that call synctest.Test and are no tests themselves.
func bubbleMakers(t *Tree) map[string][]string {
	found := make(map[string][]string)
	for _, f := range t.Files {
		if f.Syntax == nil || !f.IsTest() {
			continue
		}
		for _, d := range f.Syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && !isTest(fn) && fn.Body != nil && calls(fn.Body, "synctest", "Test") {
				found[f.Dir()] = append(found[f.Dir()], fn.Name.Name)
			}
		}
	}
	return found
}

func inBubble(stack []ast.Node, makers []string) bool {
	for i, n := range slices.Backward(stack) {
		switch n := n.(type) {
		case *ast.FuncDecl:
			return calls(n.Body, "synctest", "Wait")
		case *ast.FuncLit:
			if calls(n.Body, "synctest", "Wait") {
				return true
			}
			if call, ok := stack[i-1].(*ast.CallExpr); ok {
				if pkg, name := callee(call); pkg == "synctest" && name == "Test" {
					return true
				}
				if maker, ok := ast.Unparen(call.Fun).(*ast.Ident); ok && slices.Contains(makers, maker.Name) {
					return true
				}
			}
		}
	}
	return false
}

// calls reports whether pkg.name is called in the body itself, not in a function literal within.
func calls(body *ast.BlockStmt, pkg, name string) bool {
	var found bool
	ast.Inspect(body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncLit:
			return false
		case *ast.CallExpr:
			p, f := callee(n)
			found = found || p == pkg && f == name
		}
		return !found
	})
	return found
}

// Assertions finds tests that cannot fail: they call no method of their *testing.T (or *testing.F) that fails, and give it to nobody.
func Assertions(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Syntax == nil || !f.IsTest() {
			continue
		}
		for _, d := range f.Syntax.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !isTest(fn) || canFail(fn) {
				continue
			}
			found = append(found, t.finding(fn, "%s cannot fail: it asserts nothing", fn.Name.Name))
		}
	}
	return found
}

// isTest reports whether the function is a test or a fuzz target by its name and its first parameter.
func isTest(fn *ast.FuncDecl) bool {
	name := fn.Name.Name
	if fn.Recv != nil || fn.Body == nil || name == "TestMain" || !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "Fuzz") {
		return false
	}
	return len(fn.Type.Params.List) == 1 && len(fn.Type.Params.List[0].Names) == 1
}

func canFail(fn *ast.FuncDecl) bool {
	param := fn.Type.Params.List[0].Names[0].Name
	var found bool
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return !found
		}
		_, method := callee(call)
		found = found || strings.HasPrefix(method, "Fatal") || strings.HasPrefix(method, "Error") || strings.HasPrefix(method, "Fail")
		for _, arg := range call.Args { // t itself, or t of a sub-test, handed on
			x, ok := arg.(*ast.Ident)
			found = found || ok && (x.Name == param || x.Name == "t")
		}
		return !found
	})
	return found
}

// Skips finds tests that are skipped without a word, or at the will of nobody: a skip gives its reason, and stands under a condition.
func Skips(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if f.Syntax == nil || !f.IsTest() && !slices.Contains(testSupport, f.Dir()) {
			continue
		}
		ast.PreorderStack(f.Syntax, nil, func(n ast.Node, stack []ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			_, method := callee(call)
			if method != "Skip" && method != "Skipf" && method != "SkipNow" {
				return true
			}
			if len(call.Args) == 0 {
				found = append(found, t.finding(n, "a skip without a reason"))
			}
			if !slices.ContainsFunc(stack, func(n ast.Node) bool { _, ok := n.(*ast.IfStmt); return ok }) {
				found = append(found, t.finding(n, "a skip without a condition"))
			}
			return true
		})
	}
	return found
}
