package tlsctx

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
)

// specTable returns the first column of the first table after the line that
// starts with the given text in SPEC.md.
func specTable(tb testing.TB, after string) []string {
	tb.Helper()
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, found := strings.Cut("\n"+string(spec), "\n"+after)
	if !found {
		tb.Fatalf("SPEC.md has no line that starts with %q", after)
	}
	row := regexp.MustCompile("^\\| `([^`]+)` \\|")
	var column []string
	for line := range strings.Lines(rest) {
		if m := row.FindStringSubmatch(line); m != nil {
			column = append(column, m[1])
		} else if len(column) > 0 {
			break
		}
	}
	return column
}

// constants returns the values of the typed string constants in a file.
func constants(tb testing.TB, file, typeName string) []string {
	tb.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		tb.Fatal(err)
	}
	var values []string
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		name, typed := spec.Type.(*ast.Ident)
		literal, isLiteral := spec.Values[0].(*ast.BasicLit)
		if typed && isLiteral && name.Name == typeName {
			value, err := strconv.Unquote(literal.Value)
			if err != nil {
				tb.Fatal(err)
			}
			values = append(values, value)
		}
		return true
	})
	return values
}

// TestSpecListsEveryReason, session and protocol of the code, and no other.
func TestSpecListsEveryReason(t *testing.T) {
	for _, test := range []struct{ after, file, typeName string }{
		{"## Reasons", "errors.go", "Reason"},
		{"Sessions:", "protocol.go", "Session"},
		{"Detected protocols:", "protocol.go", "Protocol"},
	} {
		listed, defined := specTable(t, test.after), constants(t, test.file, test.typeName)
		slices.Sort(listed)
		slices.Sort(defined)
		if len(defined) == 0 || !slices.Equal(listed, defined) {
			t.Errorf("%s: SPEC.md lists %q, %s defines %q", test.typeName, listed, test.file, defined)
		}
	}
	var tested []string
	for _, r := range reasons {
		tested = append(tested, string(r))
	}
	slices.Sort(tested)
	if defined := slices.Sorted(slices.Values(constants(t, "errors.go", "Reason"))); !slices.Equal(tested, defined) {
		t.Errorf("the tests know the reasons %q, of %q", tested, defined)
	}
}

// TestSpecStatesTheBounds of the code, and its identifiers.
func TestSpecStatesTheBounds(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	longest := Token{Session(strings.Repeat("a", maxProtocol)), Protocol(strings.Repeat("a", maxProtocol))}
	for _, text := range []string{
		fmt.Sprintf("more than %d identifiers, or more than 4,096 bytes", maxOffered),
		fmt.Sprintf("at most %d bytes long", len(longest.String())),
		fmt.Sprintf("at most %d, and at most 16,384 bytes", maxCertificates),
		fmt.Sprintf("SIZE (0..%d)", identity.MaxAttributes),
		fmt.Sprintf("IA5String (SIZE (1..%d))", identity.MaxAttributeName),
		fmt.Sprintf("UTF8String (SIZE (1..%d))", identity.MaxAttributeValue),
		fmt.Sprintf("target       [1] OCTET STRING (SIZE (1..%d))", MaxTarget),
		fmt.Sprintf("trace        [2] OCTET STRING (SIZE (%d))", traceLen),
		fmt.Sprintf("(%.0f seconds)", DefaultTimeout.Seconds()),
		"| " + oidContext.String() + " | context", "| " + oidAttested.String() + " | attested",
	} {
		if !strings.Contains(string(spec), text) {
			t.Errorf("SPEC.md does not say %q", text)
		}
	}
	if maxHandshakeBytes != 65536 || maxOfferedBytes != 4096 || maxCertificateBytes != 16384 || maxContextCertificate != 4096 {
		t.Error("a bound has changed: SPEC.md has it in words")
	}
}

// TestSpecShowsAVector: the example of SPEC.md is the vector's, byte for byte as
// far as it shows them.
func TestSpecShowsAVector(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(spec), "from the value on:\n\n```\n")
	example, _, found := strings.Cut(example, "```")
	if !found {
		t.Fatal("SPEC.md has no example")
	}
	value, err := contextValue(mustParse(t, readVector(t, "contexts/full.der")))
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile(`^ *((?:[0-9a-f]{2} )+)(…?)`)
	text, gap := fmt.Sprintf("% x ", value), false
	for line := range strings.Lines(example) {
		m := shown.FindStringSubmatch(strings.TrimRight(line, "\n") + " ")
		if m == nil {
			t.Fatalf("no bytes in %q", line)
		}
		at := strings.Index(text, m[1])
		if at < 0 || at > 0 && !gap {
			t.Fatalf("%q does not come next in %q", m[1], text)
		}
		text, gap = text[at+len(m[1]):], m[2] != ""
	}
	if text != "" && !gap {
		t.Errorf("%q is not shown", text)
	}
}
