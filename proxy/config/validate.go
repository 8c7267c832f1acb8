package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// build validates everything that was read and returns it as a configuration.
func (r *reader) build() (*Config, error) {
	c := &Config{Proxy: Proxy{Spec: withDefaults[ProxySpec]()}}
	all := r.all()
	for _, p := range r.proxies {
		checkResource(p.written, &p.value.Metadata, &p.value.Spec)
		checkProxy(p.written, &p.value.Spec)
		c.Proxy = *p.value
	}
	for _, in := range r.inbounds {
		checkResource(in.written, &in.value.Metadata, &in.value.Spec)
		checkInbound(in.written, &in.value.Spec)
		c.Inbounds = append(c.Inbounds, *in.value)
	}
	for _, out := range r.outbounds {
		checkResource(out.written, &out.value.Metadata, &out.value.Spec)
		checkOutbound(out.written, &out.value.Spec)
		c.Outbounds = append(c.Outbounds, *out.value)
	}
	for _, p := range r.policies {
		checkResource(p.written, &p.value.Metadata, &p.value.Spec)
		checkPolicy(p.written, &p.value.Spec)
		c.Policies = append(c.Policies, *p.value)
	}
	r.checkTogether()
	problems := r.problems
	for _, w := range all {
		problems = append(problems, w.distinct()...)
		c.Warnings = append(c.Warnings, w.warnings...)
	}
	if err := problems.asError(); err != nil {
		return nil, err
	}
	c.Version = version(c)
	return c, nil
}

// all returns where every resource was written.
func (r *reader) all() []*written {
	var all []*written
	for _, p := range r.proxies {
		all = append(all, p.written)
	}
	for _, p := range r.inbounds {
		all = append(all, p.written)
	}
	for _, p := range r.outbounds {
		all = append(all, p.written)
	}
	for _, p := range r.policies {
		all = append(all, p.written)
	}
	return all
}

// distinct returns the problems, without those of a field of which, or of one
// around or inside which, one has been told already.
func (w *written) distinct() Problems {
	var told Problems
	for _, p := range w.problems {
		if !slices.ContainsFunc(told, func(t Problem) bool {
			return within(p.Field, t.Field) || within(t.Field, p.Field) && t.Field != p.Field
		}) {
			told = append(told, p)
		}
	}
	return told
}

// within reports whether the field is the outer one or inside it.
func within(field, outer string) bool {
	rest, ok := strings.CutPrefix(field, outer)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// checkResource checks what holds for every kind: that it has a name, and what
// the tags of fields ask for.
func checkResource(w *written, m *Metadata, spec any) {
	checkTags(w, reflect.ValueOf(m).Elem(), "metadata")
	checkTags(w, reflect.ValueOf(spec).Elem(), "spec")
}

// checkTags checks what the tags of a struct's fields ask for.
func checkTags(w *written, v reflect.Value, path string) {
	for _, f := range fieldsOf(v.Type()) {
		checkField(w, f, v.Field(f.index), join(path, f.name))
	}
}

func checkField(w *written, f field, v reflect.Value, path string) {
	empty := v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
	switch {
	case f.required && empty:
		w.problem(path, "is required")
	case f.nonempty && empty && !v.IsNil():
		w.problem(path, "is an empty list, and no list at all means any: leave it out if that is meant")
	case f.positive && empty:
		w.problem(path, "must be more than 0")
	case v.CanInt() && v.Int() < 0:
		w.problem(path, "must not be negative")
	case v.Kind() != reflect.String || v.Len() > 0:
		checkValue(w, f, v, path)
	}
}

func checkValue(w *written, f field, v reflect.Value, path string) {
	if _, scalar := scalarOf(v.Type()); scalar {
		if err := checkForm(f.form, v); err != nil {
			w.problem(path, "%s", err)
		}
		if e, ok := reflect.TypeAssert[enum](v); ok && !slices.Contains(f.among(e), v.String()) {
			w.problem(path, "%q is none of %s", v.String(), strings.Join(f.among(e), ", "))
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		checkTags(w, v, path)
	case reflect.Slice:
		for i := range v.Len() {
			element := fmt.Sprintf("%s[%d]", path, i)
			if v.Index(i).Kind() == reflect.String && v.Index(i).Len() == 0 {
				w.problem(element, "is empty")
				continue
			}
			checkValue(w, f, v.Index(i), element)
		}
	default:
		for key, value := range v.Seq2() {
			checkValue(w, f, value, fmt.Sprintf("%s[%q]", path, key.String()))
		}
	}
}
