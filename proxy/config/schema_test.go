package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/metrics/accesslog/line"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

var update = flag.Bool("update", false, "write what is generated from the types instead of comparing it")

// generator makes the JSON Schema from the types, their tags and comments.
type generator struct {
	t           *testing.T
	comments    map[string]string
	definitions map[string]any
}

type object = map[string]any

func (g *generator) schema() object {
	var names []string
	var branches []any
	for _, k := range kinds() {
		names = append(names, k.name)
		required := []string{"apiVersion", "kind", "metadata"}
		if needsSpec(k.spec) {
			required = append(required, "spec")
		}
		branches = append(branches, object{
			"if": object{"properties": object{"kind": object{"const": k.name}}, "required": []string{"kind"}},
			"then": object{
				"description": g.comments[k.name],
				"properties":  object{"spec": g.reference(k.spec)},
				"required":    required,
			},
		})
	}
	return object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "urn:hallmark.dev:v1alpha1",
		"title":       "Hallmark configuration",
		"description": "A resource of " + APIVersion + ".",
		"type":        "object",
		"properties": object{
			"apiVersion": object{"const": APIVersion},
			"kind":       object{"enum": names},
			"metadata":   g.metadata(),
			"spec":       object{"type": "object"},
			"status":     object{"description": "What an API server adds. It is ignored."},
		},
		"required":             []string{"apiVersion", "kind", "metadata"},
		"additionalProperties": false,
		"allOf":                branches,
		"$defs":                g.definitions,
	}
}

// metadata is the schema of metadata, with what an API server adds.
func (g *generator) metadata() object {
	reference := g.reference(reflect.TypeFor[Metadata]())
	properties := g.definitions["Metadata"].(object)["properties"].(object)
	for _, name := range serverMetadata() {
		properties[name] = true
	}
	return reference
}

func needsSpec(spec reflect.Type) bool {
	for _, f := range fieldsOf(spec) {
		if f.required && !f.has {
			return true
		}
	}
	return false
}

// reference defines a struct once and refers to it.
func (g *generator) reference(of reflect.Type) object {
	if g.definitions[of.Name()] == nil {
		definition := object{"type": "object", "additionalProperties": false}
		g.definitions[of.Name()] = definition
		properties := object{}
		var required []string
		for _, f := range fieldsOf(of) {
			properties[f.name] = g.property(of, f)
			if f.required && !f.has {
				required = append(required, f.name)
			}
		}
		definition["properties"] = properties
		if required != nil {
			definition["required"] = required
		}
		if of == reflect.TypeFor[Expectation]() {
			definition["minProperties"], definition["maxProperties"] = 1, 1
		}
	}
	return object{"$ref": "#/$defs/" + of.Name()}
}

func (g *generator) property(of reflect.Type, f field) object {
	typ := of.Field(f.index).Type
	property := g.typed(typ, f)
	property["description"] = described(g.t, g.comments, of, f)
	if f.has {
		v := reflect.New(typ).Elem()
		setDefault(v, f.initial)
		property["default"] = encodeValue(v, false, false)
	}
	return property
}

func (g *generator) typed(typ reflect.Type, f field) object {
	if _, ok := scalarOf(typ); ok {
		return scalarSchema(typ, f)
	}
	switch typ.Kind() {
	case reflect.Struct:
		return g.reference(typ)
	case reflect.Slice:
		element := f
		element.required = true // none of them is empty
		list := object{"type": "array", "items": g.typed(typ.Elem(), element)}
		if f.required || f.nonempty {
			list["minItems"] = 1
		}
		return list
	default:
		element := f
		element.required = f.form != ""
		entries := object{"type": "object", "additionalProperties": g.typed(typ.Elem(), element)}
		if f.form == "value" {
			entries["propertyNames"] = object{"pattern": formPattern("attribute"), "maxLength": 63}
		}
		return entries
	}
}

func scalarSchema(typ reflect.Type, f field) object {
	if e, ok := reflect.TypeAssert[enum](reflect.Zero(typ)); ok {
		return object{"enum": f.among(e)}
	}
	pattern := func(p string) object { return object{"type": "string", "pattern": p} }
	least := 0
	if f.positive {
		least = 1
	}
	switch typ {
	case reflect.TypeFor[time.Duration]():
		return pattern(`^(0|([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+)$`)
	case reflect.TypeFor[Quantity]():
		return object{"anyOf": []any{pattern(`^[0-9]+(k|M|G|Ki|Mi|Gi)?$`), object{"type": "integer", "minimum": 0}}}
	case reflect.TypeFor[Ratio]():
		return object{"anyOf": []any{object{"type": "number", "minimum": 0, "maximum": 1}, pattern(`^[0-9.eE+-]*$`)}}
	case reflect.TypeFor[spiffeid.ID]():
		return pattern(`^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)*$`)
	case reflect.TypeFor[spiffeid.TrustDomain]():
		return pattern(`^[a-z0-9._-]+$`)
	case reflect.TypeFor[netip.Prefix]():
		return pattern(`^[0-9A-Fa-f:.]+/[0-9]{1,3}$`)
	case reflect.TypeFor[tlsctx.Provenance]():
		return object{"enum": []string{tlsctx.Asserted.String(), tlsctx.Verified.String(), tlsctx.Attested.String()}}
	case reflect.TypeFor[tlsctx.Protocol]():
		s := pattern(`^[a-z][a-z0-9_-]{0,31}$`)
		s["not"] = object{"const": string(tlsctx.Unknown)}
		return s
	case reflect.TypeFor[line.Line]():
		return object{"type": "string", "minLength": 1, "maxLength": line.MaxText}
	case reflect.TypeFor[tlsctx.Template]():
		return pattern(`^(/([A-Za-z0-9._-]+|\{[a-z][a-z0-9_.]*\}))+$`)
	}
	switch typ.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int:
		return object{"type": "integer", "minimum": least, "maximum": 1<<31 - 1}
	case reflect.Uint16:
		return object{"type": "integer", "minimum": 1, "maximum": 65535}
	default:
		return textSchema(f)
	}
}

// textSchema is the schema of text: what is not required may be empty.
func textSchema(f field) object {
	s := object{"type": "string"}
	p := formPattern(f.form)
	switch {
	case p != "" && f.required:
		s["pattern"] = p
	case p != "":
		s["pattern"] = "^$|" + p
	case f.required:
		s["minLength"] = 1
	}
	if most := map[string]int{"name": 253, "label": 63, "target": tlsctx.MaxTarget, "attribute": 63, "disclosed": 63}[f.form]; most > 0 {
		s["maxLength"] = most
	}
	return s
}

// formPattern is what a regular expression can say of a form.
func formPattern(form string) string {
	const label = `[a-z0-9]([a-z0-9-]*[a-z0-9])?`
	switch form {
	case "name":
		return `^` + label + `(\.` + label + `)*$`
	case "label":
		return `^` + label + `$`
	case "listen":
		return `^([0-9.]+|\[[0-9A-Fa-f:.]+(%[^\]]+)?\])?:[0-9]{1,5}$`
	case "dial":
		return `^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+(%[^\]]+)?\]):[0-9]{1,5}$`
	case "target":
		return `^[!-~]+$`
	case "sni":
		return `^[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$`
	case "workload-api":
		return `^(unix:(//)?/.+|tcp://.+:[0-9]+)$`
	case "attribute":
		return `^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$`
	case "disclosed":
		return `^(\*|[a-z][a-z0-9_]*(\.[a-z0-9_]+)*)$`
	case "value":
		return `^[^\x00-\x1f\x7f]{1,255}$`
	default:
		return ""
	}
}

func TestSchemaIsOfTheTypes(t *testing.T) {
	g := &generator{t: t, comments: comments(t), definitions: object{}}
	var want bytes.Buffer
	e := json.NewEncoder(&want)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(g.schema()); err != nil {
		t.Fatal(err)
	}
	compare(t, "schema/hallmark.schema.json", want.String())
	if !*update && string(Schema()) != want.String() {
		t.Error("what is embedded is another")
	}
}

// compare compares a file with what was generated, or writes it.
func compare(t *testing.T, file, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) == want {
		return
	}
	gotLines, wantLines := strings.Split(string(got), "\n"), strings.Split(want, "\n")
	for i := range min(len(gotLines), len(wantLines)) {
		if gotLines[i] != wantLines[i] {
			t.Fatalf("%s:%d: %q should be %q: go test ./proxy/config -update", file, i+1, gotLines[i], wantLines[i])
		}
	}
	t.Fatalf("%s has %d lines and should have %d: go test ./proxy/config -update", file, len(gotLines), len(wantLines))
}
