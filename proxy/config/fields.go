package config

import (
	"reflect"
	"strings"
)

// field is a field of a struct as it is written in a file.
type field struct {
	name     string
	index    int
	initial  string // the default, as text
	has      bool   // there is a default
	required bool   // it must be given and not be empty
	nonempty bool   // if it is given it must not be empty
	positive bool   // it must be more than 0
	secret   bool   // it is not shown
	form     string // see checkForm
	only     string // of an enum's values those that are allowed, if not all
}

// among returns the values that the field may have of an enum's.
func (f field) among(e enum) []string {
	if f.only == "" {
		return e.values()
	}
	return strings.Split(f.only, ",")
}

// fieldsOf returns the fields of a struct, in order, without those that are not
// written in files.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("json")
		if name == "" || name == "-" {
			continue
		}
		initial, has := f.Tag.Lookup("default")
		check := f.Tag.Get("check")
		fields = append(fields, field{
			name: name, index: i, initial: initial, has: has, form: f.Tag.Get("form"), only: f.Tag.Get("only"), secret: f.Tag.Get("secret") == "true",
			required: check == "required", nonempty: check == "nonempty", positive: check == "positive",
		})
	}
	return fields
}

// setDefaults fills in the defaults of a value's fields, from their tags. It is
// the only place that does.
func setDefaults(v reflect.Value) {
	if _, ok := scalarOf(v.Type()); ok || v.Kind() != reflect.Struct {
		return
	}
	for _, f := range fieldsOf(v.Type()) {
		if f.has {
			setDefault(v.Field(f.index), f.initial)
		} else {
			setDefaults(v.Field(f.index))
		}
	}
}

// setDefault sets one field. A test reads every tag, so none of them fails here.
func setDefault(v reflect.Value, initial string) {
	if s, ok := scalarOf(v.Type()); ok {
		if parsed, err := s.parse(initial); err == nil {
			v.Set(reflect.ValueOf(parsed))
		}
		return
	}
	for part := range strings.SplitSeq(initial, ",") {
		element := reflect.New(v.Type().Elem()).Elem()
		setDefault(element, part)
		v.Set(reflect.Append(v, element))
	}
}

// withDefaults returns the defaults of a spec.
func withDefaults[T any]() T {
	var spec T
	setDefaults(reflect.ValueOf(&spec).Elem())
	return spec
}
