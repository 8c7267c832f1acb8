package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxFile is the largest file that is read, in bytes.
const maxFile = 4 << 20

// written is where a resource was written, and what is wrong with it.
type written struct {
	file     string // or the flag
	label    string // such as Inbound shop/web
	at       places
	problems Problems
	warnings []string
}

// problem reports a mistake in a field.
func (w *written) problem(path, format string, args ...any) {
	w.problems.note(Problem{File: w.file, Line: w.at.line(path), Field: path, Text: fmt.Sprintf(format, args...)})
}

// warning reports what is allowed and rarely meant.
func (w *written) warning(path, format string, args ...any) {
	p := Problem{File: w.file, Line: w.at.line(path), Field: path, Text: fmt.Sprintf(format, args...)}
	w.warnings = append(w.warnings, p.Error())
}

// String says where, to be named in another place's problem.
func (w *written) String() string {
	if line := w.at.line(""); line > 0 {
		return fmt.Sprintf("%s (%s:%d)", w.label, w.file, line)
	}
	return fmt.Sprintf("%s (%s)", w.label, w.file)
}

// resource is one of any kind, as it was written.
type resource[T any] struct {
	*written
	value *T
}

// entries are the top of a document.
type entries map[string]entry

type entry struct{ key, value *yaml.Node }

// reader collects the resources of all files and flags.
type reader struct {
	proxies   []resource[Proxy]
	inbounds  []resource[Inbound]
	outbounds []resource[Outbound]
	policies  []resource[AuthorizationPolicy]
	problems  Problems
	documents int
}

// file reads the documents of one file, YAML or JSON, which is YAML as well.
func (r *reader) file(name string, data []byte) {
	d := &decoder{file: name}
	defer func() { r.problems = append(r.problems, d.problems...) }()
	if len(data) > maxFile {
		d.problems = append(d.problems, Problem{File: name, Text: fmt.Sprintf("file is larger than %d bytes", maxFile)})
		return
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var n yaml.Node
		err := documents.Decode(&n)
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			d.problems = append(d.problems, syntaxProblem(name, err))
			return
		}
		if len(n.Content) == 1 && !isNull(n.Content[0]) {
			r.document(d, n.Content[0])
		}
	}
}

// syntaxProblem takes the line out of an error of the YAML library.
func syntaxProblem(file string, err error) Problem {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{File: file, Text: "is not YAML: " + text}
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		number, reason, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			p.Line, p.Text = line, "is not YAML: "+reason
		}
	}
	return p
}

// document reads one resource, or a list of them as kubectl prints it.
func (r *reader) document(d *decoder, n *yaml.Node) {
	r.documents++
	entries := make(entries)
	d.entries(n, "", func(key string, keyNode, value *yaml.Node) { entries[key] = entry{keyNode, value} })
	if n.Kind != yaml.MappingNode {
		return
	}
	var version, kind string
	before := len(d.problems)
	at := places{"": n.Line}
	for _, field := range []struct {
		name  string
		value *string
	}{{"apiVersion", &version}, {"kind", &kind}} {
		told := len(d.problems)
		if value := entries[field.name].value; value != nil {
			d.value(value, reflect.ValueOf(field.value).Elem(), field.name, at)
		}
		if *field.value == "" && len(d.problems) == told {
			d.problem(n, field.name, "is required")
		}
	}
	if len(d.problems) > before {
		return
	}
	if version == "v1" && kind == "List" {
		r.list(d, entries["items"].value)
		return
	}
	if !r.dispatch(d, version, kind, n, entries) {
		d.problem(entries["kind"].key, "kind", "there is no %.80q of %.80q here: there are Proxy, Inbound, Outbound and AuthorizationPolicy of %s", kind, version, APIVersion)
		return
	}
	known := []field{{name: "apiVersion"}, {name: "kind"}, {name: "metadata"}, {name: "spec"}}
	for name, e := range entries {
		switch name {
		case "apiVersion", "kind", "metadata", "spec", "status": // status is what an API server adds
		default:
			d.problem(e.key, name, "unknown field%s", suggest(name, known))
		}
	}
}

// list reads the items of a list.
func (r *reader) list(d *decoder, items *yaml.Node) {
	if items == nil {
		return
	}
	items, ok := d.resolve(items, "items")
	switch {
	case !ok:
	case items.Kind != yaml.SequenceNode:
		d.problem(items, "items", "is %s where a list is wanted", nameOf(items))
	default:
		for _, item := range items.Content {
			if item, ok = d.resolve(item, "items"); !ok {
				continue
			}
			if item.Kind == yaml.MappingNode && isList(item) {
				d.problem(item, "items", "holds a list in a list")
				continue
			}
			r.document(d, item)
		}
	}
}

func isList(n *yaml.Node) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == "kind" && n.Content[i+1].Value == "List" {
			return true
		}
	}
	return false
}

// dispatch reads a resource by its version and kind, and reports whether they
// are known.
func (r *reader) dispatch(d *decoder, version, kind string, n *yaml.Node, entries entries) bool {
	if version != APIVersion {
		return false
	}
	switch kind {
	case KindProxy:
		var p Proxy
		r.proxies = append(r.proxies, resource[Proxy]{decodeResource(d, kind, n, entries, &p.Metadata, &p.Spec), &p})
	case KindInbound:
		var p Inbound
		r.inbounds = append(r.inbounds, resource[Inbound]{decodeResource(d, kind, n, entries, &p.Metadata, &p.Spec), &p})
	case KindOutbound:
		var p Outbound
		r.outbounds = append(r.outbounds, resource[Outbound]{decodeResource(d, kind, n, entries, &p.Metadata, &p.Spec), &p})
	case KindAuthorizationPolicy:
		var p AuthorizationPolicy
		r.policies = append(r.policies, resource[AuthorizationPolicy]{decodeResource(d, kind, n, entries, &p.Metadata, &p.Spec), &p})
	default:
		return false
	}
	return true
}

// decodeResource reads metadata and spec. What is wrong with their form is the
// decoder's to report; the fields it is wrong in are left out of what is said of
// their content.
func decodeResource(d *decoder, kind string, n *yaml.Node, entries entries, metadata *Metadata, spec any) *written {
	w := &written{file: d.file, at: places{"": n.Line}}
	before := len(d.problems)
	v := reflect.ValueOf(spec).Elem()
	setDefaults(v)
	if m := entries["metadata"]; m.value != nil {
		w.at["metadata"] = m.key.Line
		d.value(m.value, reflect.ValueOf(metadata).Elem(), "metadata", w.at)
	}
	if s := entries["spec"]; s.value != nil {
		w.at["spec"] = s.key.Line
		d.value(s.value, v, "spec", w.at)
	}
	w.problems = append(w.problems, d.problems[before:]...)
	d.problems = d.problems[:before]
	metadata.Origin = fmt.Sprintf("%s:%d", d.file, n.Line)
	w.label = label(kind, *metadata)
	return w
}

// label names a resource, as kind and name.
func label(kind string, m Metadata) string {
	if m.Namespace != "" {
		return kind + " " + m.Namespace + "/" + m.Name
	}
	return kind + " " + m.Name
}
