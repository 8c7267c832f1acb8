package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
)

// sleepReason is why a test does not sleep.
const sleepReason = "a sleeping test is slow, and flaky on a loaded machine: wait for the event, or let testing/synctest's clock pass"

// Sleepers returns the places where a test waits with time.Sleep, in files that
// do not import testing/synctest (in its bubbles, sleeping takes no time). Code
// below test counts as tests.
func (m *Module) Sleepers(root string) ([]Violation, error) {
	var found []Violation
	for _, p := range m.packages {
		for _, f := range p.files {
			if !f.test && !within("test", p.dir) || slices.Contains(f.imports, "testing/synctest") {
				continue
			}
			lines, err := sleeps(filepath.Join(root, f.name))
			if err != nil {
				return nil, fmt.Errorf("arch: look for sleeping tests: %w", err)
			}
			for _, line := range lines {
				found = append(found, Violation{fmt.Sprintf("%s:%d", f.name, line), "calls time.Sleep", sleepReason})
			}
		}
	}
	return found, nil
}

// sleeps returns the lines of a file where time.Sleep is mentioned.
func sleeps(name string) ([]int, error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var lines []int
	ast.Inspect(parsed, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "time" {
				lines = append(lines, files.Position(s.Pos()).Line)
			}
		}
		return true
	})
	return lines, nil
}
