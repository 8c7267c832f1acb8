package config

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// comments returns the doc comments of this package's structs and their fields,
// as Type and Type.Field.
func comments(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			decl, ok := n.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				return true
			}
			for _, spec := range decl.Specs {
				comment(found, decl, spec.(*ast.TypeSpec))
			}
			return true
		})
	}
	return found
}

func comment(found map[string]string, decl *ast.GenDecl, spec *ast.TypeSpec) {
	found[spec.Name.Name] = oneLine(decl.Doc.Text())
	structure, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range structure.Fields.List {
		for _, name := range f.Names {
			found[spec.Name.Name+"."+name.Name] = oneLine(f.Doc.Text())
		}
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// described returns what the comment of a field says of it in a file: with the
// name that it has there.
func described(t *testing.T, comments map[string]string, of reflect.Type, f field) string {
	t.Helper()
	name := of.Field(f.index).Name
	text := comments[of.Name()+"."+name]
	if text == "" {
		t.Errorf("%s.%s has no comment", of.Name(), name)
		return ""
	}
	rest, ok := strings.CutPrefix(text, name+" ")
	if !ok {
		t.Errorf("the comment of %s.%s does not begin with its name", of.Name(), name)
		return text
	}
	rest = regexp.MustCompile(`\[([A-Z][a-z]\w*)\]`).ReplaceAllString(rest, "$1") // links of Go's documentation
	for _, verb := range []string{"is ", "are ", "says that ", "says ", "say "} {
		if what, ok := strings.CutPrefix(rest, verb); ok {
			return strings.ToUpper(what[:1]) + what[1:]
		}
	}
	return strings.ToUpper(rest[:1]) + rest[1:]
}

// kind is a kind of resource and the type of its spec.
type kind struct {
	name string
	spec reflect.Type
}

// kinds are in the order in which they are documented.
func kinds() []kind {
	return []kind{
		{KindProxy, reflect.TypeFor[ProxySpec]()},
		{KindInbound, reflect.TypeFor[InboundSpec]()},
		{KindOutbound, reflect.TypeFor[OutboundSpec]()},
		{KindAuthorizationPolicy, reflect.TypeFor[AuthorizationPolicySpec]()},
	}
}

// Every default can be read, and by the tags of its own field.
func TestDefaults(t *testing.T) {
	var visit func(of reflect.Type)
	visit = func(of reflect.Type) {
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Map {
			of = of.Elem()
		}
		if _, ok := scalarOf(of); ok || of.Kind() != reflect.Struct {
			return
		}
		for _, f := range fieldsOf(of) {
			typ := of.Field(f.index).Type
			visit(typ)
			if !f.has {
				continue
			}
			for part := range strings.SplitSeq(f.initial, ",") {
				element := typ
				if element.Kind() == reflect.Slice {
					element = element.Elem()
				}
				s, ok := scalarOf(element)
				if !ok {
					t.Errorf("%s.%s has a default and is no scalar", of.Name(), f.name)
					continue
				}
				v, err := s.parse(part)
				if err != nil {
					t.Errorf("%s.%s: default %q: %v", of.Name(), f.name, part, err)
					continue
				}
				if err := checkForm(f.form, reflect.ValueOf(v)); err != nil {
					t.Errorf("%s.%s: default %q: %v", of.Name(), f.name, part, err)
				}
			}
		}
	}
	for _, k := range kinds() {
		visit(k.spec)
	}
}
