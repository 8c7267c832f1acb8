package tap

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// errUnknown says that there is no such parameter.
var errUnknown = errors.New("there is no such filter: docs/tap.md lists those that there are")

// want says what a value should have been.
func want(err error, what string) error {
	if err != nil {
		return fmt.Errorf("want %s", what)
	}
	return nil
}

func nonempty(text string) error {
	if text == "" {
		return errors.New("is empty")
	}
	return nil
}

// addTo parses a value and adds it.
func addTo[T any](list *[]T, text string, parse func(string) (T, error)) error {
	value, err := parse(text)
	if err == nil {
		*list = append(*list, value)
	}
	return err
}

// oneOf takes what is in a list.
func oneOf[T ~string](all ...T) func(string) (T, error) {
	return func(text string) (T, error) {
		if !slices.Contains(all, T(text)) {
			return "", fmt.Errorf("want one of %q", all)
		}
		return T(text), nil
	}
}

// pattern is text in which * stands for any.
type pattern struct{ parts []string }

func parsePattern(text string) (pattern, error) {
	return pattern{strings.Split(text, "*")}, nonempty(text)
}

func parsePath(text string) (pattern, error) {
	if strings.Contains(text, "?") {
		return pattern{}, errors.New("has a query, and paths are compared without: leave it out")
	}
	if text != "" && text[0] != '/' && text[0] != '*' {
		return pattern{}, errors.New("begins with neither / nor *")
	}
	return parsePattern(text)
}

// matchPath is match without the query.
func (p pattern) matchPath(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	return p.match(path)
}

// match reports whether the text is one that is meant.
func (p pattern) match(text string) bool {
	first, last := p.parts[0], p.parts[len(p.parts)-1]
	if len(p.parts) == 1 {
		return text == first
	}
	rest, begins := strings.CutPrefix(text, first)
	rest, ends := strings.CutSuffix(rest, last)
	if !begins || !ends {
		return false
	}
	for _, part := range p.parts[1 : len(p.parts)-1] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return true
}

// idPattern is a SPIFFE ID, a trust domain, the beginning of an ID, or nobody.
type idPattern struct {
	plaintext   bool
	trustDomain spiffeid.TrustDomain
	id, prefix  string
}

// plaintextPeer stands for a peer without an identity.
const plaintextPeer = "plaintext"

// parseID parses spiffe://domain/path, spiffe://domain, spiffe://domain/begin* or
// plaintext.
func parseID(text string) (idPattern, error) {
	if text == plaintextPeer {
		return idPattern{plaintext: true}, nil
	}
	if prefix, open := strings.CutSuffix(text, "*"); open {
		rest, ok := strings.CutPrefix(prefix, "spiffe://")
		domain, path, _ := strings.Cut(rest, "/")
		_, err := spiffeid.TrustDomainFromString(domain)
		if !ok || err != nil || !strings.Contains(rest, "/") || strings.Contains(path, "*") {
			return idPattern{}, errors.New("want a trust domain before the *, such as spiffe://example.org/ns/shop/*")
		}
		return idPattern{prefix: prefix}, nil
	}
	id, err := spiffeid.FromString(text)
	switch {
	case err != nil:
		return idPattern{}, fmt.Errorf("want a SPIFFE ID, a trust domain as spiffe://example.org, or the beginning of an ID with * at its end: %w", err)
	case id.Path() == "":
		return idPattern{trustDomain: id.TrustDomain()}, nil
	default:
		return idPattern{id: id.String()}, nil
	}
}

func (i *idPattern) match(p *tlsctx.Peer) bool {
	if p == nil || !p.Secured() {
		return i.plaintext && p != nil
	}
	switch id := p.ID.String(); {
	case i.id != "":
		return id == i.id
	case i.prefix != "":
		return strings.HasPrefix(id, i.prefix)
	default:
		return !i.plaintext && p.ID.TrustDomain() == i.trustDomain
	}
}

// attributePattern is about an attribute of the peer.
type attributePattern struct {
	name  string
	value pattern
	least tlsctx.Provenance // 0 for any
}

// parseAttribute parses [PROVENANCE:]NAME=VALUE, in whose value * stands for any.
func parseAttribute(text string) (a attributePattern, err error) {
	name, value, found := strings.Cut(text, "=")
	if least, rest, ok := strings.Cut(name, ":"); ok {
		if a.least, ok = tlsctx.ParseProvenance(least); !ok {
			return a, errors.New("want attested, verified or asserted before the colon")
		}
		name = rest
	}
	if !found {
		return a, errors.New("want NAME=VALUE, such as k8s.namespace.name=shop, or NAME=*")
	}
	if err := identity.ValidateAttributeName(name); err != nil {
		return a, err
	}
	a.name, a.value = name, pattern{strings.Split(value, "*")}
	return a, nil
}

func (a *attributePattern) match(p *tlsctx.Peer) bool {
	if p == nil {
		return false
	}
	known, ok := p.Attributes.Get(a.name)
	return ok && known.Provenance >= a.least && a.value.match(known.Value)
}

// statusPattern is a status code, or its hundreds.
type statusPattern struct{ code, class int }

// parseStatus parses 404, 5xx, or 0 for none.
func parseStatus(text string) (statusPattern, error) {
	if class, ok := strings.CutSuffix(strings.ToLower(text), "xx"); ok && len(class) == 1 && class[0] >= '1' && class[0] <= '5' {
		return statusPattern{class: int(class[0] - '0')}, nil
	}
	code, err := strconv.ParseUint(text, 10, 16)
	if err != nil || code != 0 && (code < 100 || code > 599) {
		return statusPattern{}, errors.New("want a code such as 404, a class such as 5xx, or 0 for no answer")
	}
	return statusPattern{code: int(code)}, nil
}

func (s statusPattern) match(status int) bool {
	if s.class != 0 {
		return status/100 == s.class
	}
	return status == s.code
}

// parseGRPC parses a grpc-status, as a number or by its name.
func parseGRPC(text string) (int, error) {
	names := []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	if i := slices.Index(names, strings.ToUpper(text)); i >= 0 {
		return i, nil
	}
	code, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, errors.New("want a number, or a name such as UNAVAILABLE")
	}
	return int(code), nil
}
