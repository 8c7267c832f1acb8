package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// function is a test or a fuzz target.
type function struct {
	pkg  string // as the go command takes it: "./tlsctx"
	name string
}

// tags decides by the build tags of a file whether it is looked at.
type tags func(dir, name string) (bool, error)

// always are the files that every build has.
func always(dir, name string) (bool, error) {
	return with().MatchFile(dir, name)
}

// unlessRace are the files that a build with the race detector leaves out.
func unlessRace(dir, name string) (bool, error) {
	return differs(dir, name, with(), with("race"))
}

// onlyLong are the files that only a build with the tag long has.
func onlyLong(dir, name string) (bool, error) {
	return differs(dir, name, with("long"), with())
}

func differs(dir, name string, in, out *build.Context) (bool, error) {
	first, err := in.MatchFile(dir, name)
	if err != nil || !first {
		return false, err
	}
	second, err := out.MatchFile(dir, name)
	return !second, err
}

func with(tags ...string) *build.Context {
	c := build.Default
	c.BuildTags = tags
	c.CgoEnabled = true
	return &c
}

// discover returns the functions of the module's test files that begin with a
// prefix ("Test", "Fuzz"), in files that tags lets pass, sorted.
func discover(root, prefix string, tags tags) ([]function, error) {
	var found []function
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return skip(root, name, entry.Name())
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		if ok, err := tags(filepath.Dir(name), entry.Name()); err != nil || !ok {
			return err
		}
		names, err := functionsOf(name, prefix)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		for _, n := range names {
			found = append(found, function{pkg: "./" + filepath.ToSlash(dir), name: n})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for %s functions: %w", prefix, err)
	}
	slices.SortFunc(found, func(a, b function) int {
		return strings.Compare(a.pkg+"\x00"+a.name, b.pkg+"\x00"+b.name)
	})
	return found, nil
}

// skip leaves out the folders that the go command leaves out of "./...".
func skip(root, name, base string) error {
	if name != root && (base == "testdata" || base == "vendor" || base[0] == '.' || base[0] == '_') {
		return filepath.SkipDir
	}
	return nil
}

// functionsOf returns the names of a file's functions that begin with the prefix
// and go on with no lower case letter.
func functionsOf(name, prefix string) ([]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Recv != nil {
			continue
		}
		rest, ok := strings.CutPrefix(f.Name.Name, prefix)
		if first, _ := utf8.DecodeRuneInString(rest); ok && !unicode.IsLower(first) && f.Name.Name != "TestMain" {
			names = append(names, f.Name.Name)
		}
	}
	return names, nil
}

// packagesOf returns the packages of functions, each once.
func packagesOf(functions []function) []string {
	var all []string
	for _, f := range functions {
		all = append(all, f.pkg)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// patternOf returns what -run takes to run the functions and no others of their
// packages (but for one of the same name in another of them).
func patternOf(functions []function) string {
	var names []string
	for _, f := range functions {
		names = append(names, regexp.QuoteMeta(f.name))
	}
	slices.Sort(names)
	return "^(" + strings.Join(slices.Compact(names), "|") + ")$"
}
