package tlsctx

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxTemplate bounds a template, in bytes; SPIFFE IDs are at most 2048.
const maxTemplate = 1024

// Template says which attributes a SPIFFE ID's path states, such as
// /ns/{k8s.namespace.name}/sa/{k8s.service_account.name}. It is anchored over
// the whole path, and a placeholder stands for one whole segment. The zero
// value matches nothing.
type Template struct {
	text     string
	segments []segment
}

// segment is a literal, or a placeholder if name is set.
type segment struct{ literal, name string }

// ParseTemplate parses a template. It refuses one without a leading slash, with
// an empty segment, without any placeholder, with a placeholder that is no
// attribute name, that is only part of a segment, or that comes twice.
func ParseTemplate(text string) (Template, error) {
	path, ok := strings.CutPrefix(text, "/")
	if !ok || len(text) > maxTemplate {
		return Template{}, fmt.Errorf("tlsctx: identity template %.80q: want a path that starts with a slash, of at most %d bytes", text, maxTemplate)
	}
	t := Template{text: text}
	for part := range strings.SplitSeq(path, "/") {
		s, err := parseSegment(part)
		if err != nil {
			return Template{}, fmt.Errorf("tlsctx: identity template %.80q: %w", text, err)
		}
		if s.name != "" && slices.Contains(t.Names(), s.name) {
			return Template{}, fmt.Errorf("tlsctx: identity template %.80q: {%s} comes twice", text, s.name)
		}
		t.segments = append(t.segments, s)
	}
	if len(t.Names()) == 0 {
		return Template{}, fmt.Errorf("tlsctx: identity template %.80q: holds no {attribute.name}", text)
	}
	return t, nil
}

// MustTemplate is [ParseTemplate] for constants; it panics on an error.
func MustTemplate(text string) Template {
	t, err := ParseTemplate(text)
	if err != nil {
		panic(err)
	}
	return t
}

func parseSegment(part string) (segment, error) {
	name, opened := strings.CutPrefix(part, "{")
	name, closed := strings.CutSuffix(name, "}")
	if opened && closed {
		return segment{name: name}, identity.ValidateAttributeName(name)
	}
	if err := spiffeid.ValidatePathSegment(part); err != nil {
		return segment{}, fmt.Errorf("segment %.80q is neither a SPIFFE path segment nor one {attribute.name}: %w", part, err)
	}
	return segment{literal: part}, nil
}

// String returns the template's text.
func (t Template) String() string { return t.text }

// Names returns the attribute names that the template states, in order.
func (t Template) Names() []string {
	var names []string
	for _, s := range t.segments {
		if s.name != "" {
			names = append(names, s.name)
		}
	}
	return names
}

// Match returns the attributes that the ID states by this template, in the
// order of the path, and whether the template matches the ID at all.
func (t Template) Match(id spiffeid.ID) ([]identity.Attribute, bool) {
	path, ok := strings.CutPrefix(id.Path(), "/")
	if !ok || len(t.segments) == 0 {
		return nil, false
	}
	var derived []identity.Attribute
	for i, s := range t.segments {
		part, rest, more := strings.Cut(path, "/")
		if last := i == len(t.segments)-1; more == last {
			return nil, false
		}
		switch {
		case s.name == "" && part != s.literal:
			return nil, false
		case s.name != "" && identity.ValidateAttributeValue(part) != nil:
			return nil, false
		case s.name != "":
			derived = append(derived, identity.Attribute{Name: s.name, Value: part})
		}
		path = rest
	}
	return derived, true
}

// Templates holds the templates of each trust domain; the first that matches an
// ID counts.
type Templates map[spiffeid.TrustDomain][]Template

// derive returns what the ID implies by the templates of its trust domain.
func derive(templates []Template, id spiffeid.ID) []identity.Attribute {
	for _, t := range templates {
		if derived, ok := t.Match(id); ok {
			return derived
		}
	}
	return nil
}

// governs reports whether one of a trust domain's templates states the
// attribute, so that nobody may assert it otherwise.
func governs(templates []Template, name string) bool {
	for _, t := range templates {
		for _, s := range t.segments {
			if s.name == name {
				return true
			}
		}
	}
	return false
}

// KubernetesTemplate returns the template of the SPIFFE IDs that SPIRE's
// controller manager and Istio give to Kubernetes workloads:
// /ns/{k8s.namespace.name}/sa/{k8s.service_account.name}. It is what Hallmark
// assumes of its own trust domain unless told otherwise.
func KubernetesTemplate() Template {
	return MustTemplate("/ns/{k8s.namespace.name}/sa/{k8s.service_account.name}")
}
