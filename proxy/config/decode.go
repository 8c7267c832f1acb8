package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds what is read of one file, aliases counted as what they stand
// for: they can make a small file stand for a huge one.
const maxNodes = 1 << 17

// decoder reads the nodes of one file into values, and collects every mistake.
type decoder struct {
	file     string
	nodes    int
	problems Problems
}

// places are the lines of a resource's fields by their paths.
type places map[string]int

// line returns the line of the field, or of the nearest one around it.
func (ps places) line(path string) int {
	for {
		if line, ok := ps[path]; ok || path == "" {
			return line
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
}

func (d *decoder) problem(n *yaml.Node, path, format string, args ...any) {
	d.problems.note(Problem{File: d.file, Line: n.Line, Field: path, Text: fmt.Sprintf(format, args...)})
}

// resolve follows an alias, and reports whether there is something to read. An
// empty value is a mistake, such as a list of which all entries are commented
// out: it could be taken for none as well as for any.
func (d *decoder) resolve(n *yaml.Node, path string) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	d.nodes++
	switch {
	case d.nodes == maxNodes+1:
		d.problem(n, path, "file holds more than %d values, those that aliases stand for counted", maxNodes)
	case d.nodes <= maxNodes && isNull(n):
		d.problem(n, path, "is empty: give it a value, or leave it out")
	}
	return n, d.nodes <= maxNodes && !isNull(n)
}

func isNull(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.ShortTag() == tagNull
}

// value reads a node into v, which holds the default.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, at places) {
	n, ok := d.resolve(n, path)
	if !ok {
		return
	}
	if s, ok := scalarOf(v.Type()); ok {
		d.scalar(n, v, s, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path, at)
	case reflect.Slice:
		d.list(n, v, path, at)
	case reflect.Map:
		d.dictionary(n, v, path, at)
	default:
		d.problem(n, path, "cannot be read into a %s", v.Type())
	}
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, s scalar, path string) {
	if n.Kind != yaml.ScalarNode || !slices.Contains(s.tags, n.ShortTag()) {
		hint := ""
		if n.Kind == yaml.ScalarNode && slices.Contains(s.tags, tagString) {
			hint = ": put it in quotes"
		}
		d.problem(n, path, "is %s where %s is wanted%s", nameOf(n), nameOfTag(s.tags[0]), hint)
		return
	}
	parsed, err := s.parse(n.Value)
	if err != nil {
		d.problem(n, path, "%s", err)
		return
	}
	v.Set(reflect.ValueOf(parsed))
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string, at places) {
	fields := fieldsOf(v.Type())
	d.entries(n, path, func(key string, keyNode, value *yaml.Node) {
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == key })
		switch {
		case i >= 0:
			at[join(path, key)] = keyNode.Line
			d.value(value, v.Field(fields[i].index), join(path, key), at)
		case v.Type() == reflect.TypeFor[Metadata]() && slices.Contains(serverMetadata(), key):
		default:
			d.problem(keyNode, join(path, key), "unknown field%s", suggest(key, fields))
		}
	})
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string, at places) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, path, "is %s where a list is wanted", nameOf(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(n.Content)))
	for i, item := range n.Content {
		element := reflect.New(v.Type().Elem()).Elem()
		setDefaults(element)
		place := fmt.Sprintf("%s[%d]", path, i)
		at[place] = item.Line
		d.value(item, element, place, at)
		v.Set(reflect.Append(v, element))
	}
}

func (d *decoder) dictionary(n *yaml.Node, v reflect.Value, path string, at places) {
	v.Set(reflect.MakeMap(v.Type()))
	d.entries(n, path, func(key string, keyNode, value *yaml.Node) {
		place := fmt.Sprintf("%s[%q]", path, key)
		at[place] = keyNode.Line
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, place, at)
		v.SetMapIndex(reflect.ValueOf(key), element)
	})
}

// entries calls visit for each entry of a mapping, once for each key.
func (d *decoder) entries(n *yaml.Node, path string, visit func(key string, keyNode, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "is %s where fields are wanted", nameOf(n))
		return
	}
	first := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.ShortTag() != tagString {
			d.problem(key, path, "has %s as a name where text is wanted: put it in quotes", nameOf(key))
			continue
		}
		if line, twice := first[key.Value]; twice {
			d.problem(key, join(path, key.Value), "is given twice, on line %d as well", line)
			continue
		}
		first[key.Value] = key.Line
		visit(key.Value, key, value)
	}
}

// serverMetadata are the fields of metadata that an API server adds. They are
// ignored, so that what it prints can be used as it is.
func serverMetadata() []string {
	return []string{
		"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "finalizers", "generateName",
		"generation", "managedFields", "ownerReferences", "resourceVersion", "selfLink", "uid",
	}
}

// suggest names the field that was perhaps meant, or else those there are.
func suggest(key string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		if strings.EqualFold(f.name, key) {
			return fmt.Sprintf(": it is spelt %s", f.name)
		}
		names[i] = f.name
	}
	return ": there are " + strings.Join(names, ", ")
}

// join appends a field to a path; one that cannot be a name is quoted.
func join(path, name string) string {
	if strings.ContainsFunc(name, isNoNameRune) || name == "" || len(name) > 80 {
		return fmt.Sprintf("%s[%.80q]", path, name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}

func isNoNameRune(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

func nameOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a set of fields"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	default:
		return fmt.Sprintf("%s (%.80q)", nameOfTag(n.ShortTag()), n.Value)
	}
}

func nameOfTag(tag string) string {
	switch tag {
	case tagString:
		return "text"
	case tagInt:
		return "a whole number"
	case tagBool:
		return "true or false"
	case tagNull:
		return "null"
	case "!!float":
		return "a number with a fraction"
	case "!!timestamp":
		return "a date"
	default:
		return fmt.Sprintf("something tagged %.80q", tag)
	}
}
