package arch

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the Go source of a module, as far as its rules look at it.
type Module struct {
	path     string
	packages []*pkg
}

// pkg is a folder with Go files, its tests included.
type pkg struct {
	dir   string // relative to the module; "." is the module's root
	names map[string]bool
	files []file
}

type file struct {
	name    string // relative to the module
	test    bool
	doc     bool
	imports []string
	lines   int
}

// Load parses every Go file of the module whose go.mod is in the folder root,
// whatever its build tags are. It leaves out what the go command leaves out of
// "./...": testdata, vendor, names that begin with "." or "_", and modules below.
func Load(root string) (*Module, error) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, fmt.Errorf("arch: read the module: %w", err)
	}
	m := &Module{}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "module "); ok {
			m.path = strings.TrimSpace(name)
		}
	}
	if m.path == "" {
		return nil, errors.New("arch: go.mod names no module")
	}
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return m.loadDir(root, name, entry)
		default:
			return nil
		}
	})
	if err != nil {
		return nil, fmt.Errorf("arch: read the module: %w", err)
	}
	return m, nil
}

// loadDir adds the package of a folder, if it holds one.
func (m *Module) loadDir(root, dir string, entry fs.DirEntry) error {
	if dir != root && leftOut(dir, entry.Name()) {
		return filepath.SkipDir
	}
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(sources) == 0 {
		return err
	}
	relative, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	p := &pkg{dir: filepath.ToSlash(relative), names: map[string]bool{}}
	for _, source := range sources {
		if err := p.parse(root, source); err != nil {
			return err
		}
	}
	m.packages = append(m.packages, p)
	return nil
}

func leftOut(dir, base string) bool {
	if base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_' {
		return true
	}
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

func (p *pkg) parse(root, source string) error {
	text, err := os.ReadFile(source)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(token.NewFileSet(), source, text, parser.ImportsOnly|parser.ParseComments)
	if err != nil {
		return err
	}
	relative, err := filepath.Rel(root, source)
	if err != nil {
		return err
	}
	f := file{
		name:  filepath.ToSlash(relative),
		test:  strings.HasSuffix(source, "_test.go"),
		doc:   isDoc(parsed),
		lines: bytes.Count(text, []byte("\n")),
	}
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		f.imports = append(f.imports, imported)
	}
	p.names[parsed.Name.Name] = true
	p.files = append(p.files, f)
	return nil
}

// isDoc reports whether the file has a package comment in the usual form. A
// comment of another beginning, such as a licence, is none.
func isDoc(f *ast.File) bool {
	begins := "Package " + f.Name.Name + " "
	if f.Name.Name == "main" {
		begins = "Command "
	}
	return strings.HasPrefix(strings.ReplaceAll(f.Doc.Text(), "\n", " "), begins)
}

// documented reports whether a file has the package comment; that of a test
// counts only where there are nothing but tests.
func (p *pkg) documented() bool {
	onlyTests := !slices.ContainsFunc(p.files, func(f file) bool { return !f.test })
	return slices.ContainsFunc(p.files, func(f file) bool { return f.doc && (onlyTests || !f.test) })
}

// Long returns the files, tests aside, with more than a number of lines, as
// "name (lines)". It is a smell and no violation.
func (m *Module) Long(most int) []string {
	var long []string
	for _, p := range m.packages {
		for _, f := range p.files {
			if !f.test && f.lines > most {
				long = append(long, fmt.Sprintf("%s (%d lines)", f.name, f.lines))
			}
		}
	}
	return long
}
