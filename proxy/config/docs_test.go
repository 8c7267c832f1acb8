package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// docs is where the documentation is.
const docs = "../../docs"

// reference makes the tables of fields in the documentation.
func reference(t *testing.T) string {
	t.Helper()
	comments := comments(t)
	var b strings.Builder
	for _, k := range kinds() {
		fmt.Fprintf(&b, "\n### %s\n\n%s\n\n| field | form | default | meaning |\n|---|---|---|---|\n", k.name, sentence(k.name, comments[k.name]))
		rows(t, &b, comments, k.spec, "")
	}
	return b.String()
}

func rows(t *testing.T, b *strings.Builder, comments map[string]string, of reflect.Type, prefix string) {
	t.Helper()
	for _, f := range fieldsOf(of) {
		typ := of.Field(f.index).Type
		path := prefix + f.name
		initial := ""
		switch {
		case f.has:
			initial = "`" + strings.ReplaceAll(f.initial, ",", "`, `") + "`"
		case f.required:
			initial = "required"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", path, formOf(typ, f), initial, strings.ReplaceAll(described(t, comments, of, f), "|", `\|`))
		for typ.Kind() == reflect.Slice {
			typ, path = typ.Elem(), path+"[]"
		}
		if _, scalar := scalarOf(typ); !scalar && typ.Kind() == reflect.Struct {
			rows(t, b, comments, typ, path+".")
		}
	}
}

// formOf says how a field is written.
func formOf(typ reflect.Type, f field) string {
	if e, ok := reflect.TypeAssert[enum](reflect.Zero(typ)); ok {
		return "`" + strings.Join(f.among(e), "`, `") + "`"
	}
	if _, scalar := scalarOf(typ); scalar {
		return scalarName(typ, f)
	}
	switch typ.Kind() {
	case reflect.Slice:
		if _, scalar := scalarOf(typ.Elem()); scalar {
			return "list of " + formOf(typ.Elem(), f)
		}
		return "list"
	case reflect.Map:
		return "names and values"
	default:
		return "fields"
	}
}

func scalarName(typ reflect.Type, f field) string {
	if name := map[string]string{
		"listen": "[IP]:port", "dial": "host:port", "sni": "DNS name", "attribute": "attribute name",
		"disclosed": "attribute name or `*`", "workload-api": "address", "target": "name", "file": "file",
	}[f.form]; name != "" {
		return name
	}
	switch typ.String() {
	case "time.Duration":
		return "duration"
	case "config.Quantity":
		return "bytes"
	case "config.Ratio":
		return "0 to 1"
	case "spiffeid.ID":
		return "SPIFFE ID"
	case "spiffeid.TrustDomain":
		return "trust domain"
	case "netip.Prefix":
		return "network"
	case "tlsctx.Provenance":
		return "`asserted`, `verified`, `attested`"
	case "tlsctx.Protocol":
		return "protocol"
	case "tlsctx.Template":
		return "template"
	case "line.Line":
		return "[line](access-log.md#lines-of-your-own)"
	case "bool":
		return "`true`, `false`"
	case "int":
		return "number"
	case "uint16":
		return "port"
	default:
		return "text"
	}
}

// sentence is a type's comment for readers of the documentation.
func sentence(name, comment string) string {
	rest := strings.NewReplacer("[Inbound]", "Inbound").Replace(strings.TrimPrefix(comment, name+" "))
	if strings.ContainsRune("AIO", rune(name[0])) {
		return "An " + name + " " + rest
	}
	return "A " + name + " " + rest
}

const (
	begin = "<!-- From the types: go test ./proxy/config -update -->\n"
	end   = "\n<!-- End of what is from the types. -->\n"
)

func TestReferenceIsOfTheTypes(t *testing.T) {
	file := filepath.Join(docs, "configuration.md")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the reference, between %q and %q", file, begin, end)
	}
	compare(t, file, before+begin+reference(t)+end+after)
}

// Every example in the documentation is one that works, by both validators.
func TestDocumentationExamples(t *testing.T) {
	validator := compileSchema(t)
	examples := 0
	check := func(name string, text []byte) {
		examples++
		c, err := Parse(name, text)
		if err != nil {
			t.Errorf("%s:\n%v", name, err)
			return
		}
		if err := validator.validate(text); err != nil {
			t.Errorf("%s: by the schema: %v", name, err)
		}
		shown, err := c.YAML()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if again, err := Parse(name+" as shown", shown); err != nil || again.Version != c.Version {
			t.Errorf("%s: shown it is another: %v", name, err)
		}
	}
	fences := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
	for _, page := range []string{"configuration.md", "authorization.md"} {
		text, err := os.ReadFile(filepath.Join(docs, page))
		if err != nil {
			t.Fatal(err)
		}
		for i, example := range fences.FindAllSubmatch(text, -1) {
			check(fmt.Sprintf("%s, example %d", page, i+1), example[1])
		}
	}
	if examples < 8 {
		t.Errorf("only %d examples found in the pages", examples)
	}
	files, err := filepath.Glob(filepath.Join(docs, "examples", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		check(file, text)
	}
}
