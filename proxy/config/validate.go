package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
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

// checkResource checks what holds for every kind: names, and what the tags of
// fields ask for.
func checkResource(w *written, m *Metadata, spec any) {
	checkMetadata(w, m)
	checkTags(w, reflect.ValueOf(spec).Elem(), "spec")
}

func checkMetadata(w *written, m *Metadata) {
	switch {
	case m.Name == "":
		w.problem("metadata.name", "is required")
	case len(m.Name) > 253 || !all(strings.Split(m.Name, "."), isDNSLabel):
		w.problem("metadata.name", "%.80q is no DNS name: want a-z, 0-9, - and dots, at most 253 bytes", m.Name)
	}
	if m.Namespace != "" && !isDNSLabel(m.Namespace) {
		w.problem("metadata.namespace", "%.80q is no DNS label: want a-z, 0-9 and -, at most 63 bytes", m.Namespace)
	}
}

// checkTags checks what the tags of fields ask for.
func checkTags(w *written, v reflect.Value, path string) {
	if _, ok := scalarOf(v.Type()); ok {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsOf(v.Type()) {
			checkField(w, f, v.Field(f.index), join(path, f.name))
		}
	case reflect.Slice:
		for i := range v.Len() {
			element := fmt.Sprintf("%s[%d]", path, i)
			if v.Index(i).Kind() == reflect.String && v.Index(i).Len() == 0 {
				w.problem(element, "is empty")
			}
			checkTags(w, v.Index(i), element)
		}
	default:
	}
}

func checkField(w *written, f field, v reflect.Value, path string) {
	empty := v.IsZero() || v.Kind() == reflect.Slice && v.Len() == 0
	switch {
	case f.required && empty:
		w.problem(path, "is required")
	case f.positive && empty:
		w.problem(path, "must be more than 0")
	case v.Type() == reflect.TypeFor[time.Duration]() && v.Int() < 0, v.Kind() == reflect.Int && v.Int() < 0:
		w.problem(path, "must not be negative")
	}
	checkTags(w, v, path)
}

// all reports whether the test holds for every part.
func all(parts []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !holds(part) })
}

// isDNSLabel reports whether s is a label by RFC 1123, in lower case.
func isDNSLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
