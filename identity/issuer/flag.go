package issuer

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/hallmark-mesh/hallmark/identity"
)

// ParseWorkload parses a registration from one line, as a command line gives it:
//
//	spiffe://example.org/ns/a/sa/b,uid=1000,attr:k8s.pod.name=x
//
// After the SPIFFE ID come, in any order, uid=N, gid=N, path=FILE, sha256=HEX,
// socket=FILE, mode=OCTAL (of the socket), hint=TEXT, attr:NAME=VALUE and
// federates-with=TRUST-DOMAIN; the last two may come several times. A value
// cannot hold a comma: the configuration file has room for those.
func ParseWorkload(line string) (Workload, error) {
	id, rest, more := strings.Cut(line, ",")
	var p parser
	l := lineParser{parser: &p, seen: make(map[string]bool)}
	l.workload.ID = p.id("id", id)
	if id == "" {
		p.report("id", errors.New("is required"))
	}
	for more {
		var field string
		field, rest, more = strings.Cut(rest, ",")
		l.field(field)
	}
	attributes, err := identity.NewAttributes(l.attributes...)
	p.report("attr", err)
	l.workload.Attributes = attributes
	if err := p.err(); err != nil {
		return Workload{}, fmt.Errorf("workload %.300q: %w", line, err)
	}
	return l.workload, nil
}

// lineParser collects the fields of a registration.
type lineParser struct {
	*parser
	workload   Workload
	attributes []identity.Attribute
	seen       map[string]bool
}

func (l *lineParser) field(field string) {
	key, value, found := strings.Cut(field, "=")
	if !found || value == "" {
		l.report(fmt.Sprintf("%.80q", field), errors.New("want key=value"))
		return
	}
	if name, ok := strings.CutPrefix(key, "attr:"); ok {
		l.attributes = append(l.attributes, identity.Attribute{Name: name, Value: value})
		return
	}
	if l.seen[key] && key != "federates-with" {
		l.report(fmt.Sprintf("%.80q", key), errors.New("is given twice"))
	}
	l.seen[key] = true
	l.set(key, value)
}

func (l *lineParser) set(key, value string) {
	w := &l.workload
	switch key {
	case "uid":
		w.Selectors.UID = l.number(key, value)
	case "gid":
		w.Selectors.GID = l.number(key, value)
	case "path":
		w.Selectors.Path = value
	case "sha256":
		w.Selectors.SHA256 = value
	case "socket":
		w.Socket = value
	case "mode":
		w.SocketMode = l.mode(key, value)
	case "hint":
		w.Hint = value
	case "federates-with":
		w.FederatesWith = append(w.FederatesWith, l.trustDomain(key, value))
	default:
		l.report(fmt.Sprintf("%.80q", key), errors.New("no such key: want uid, gid, path, sha256, socket, mode, hint, federates-with or attr:NAME"))
	}
}

func (l *lineParser) number(key, value string) *uint32 {
	n, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		l.report(key, fmt.Errorf("%.80q is no number from 0 to %d", value, uint32(math.MaxUint32)))
	}
	return new(uint32(n))
}

// String returns the registration in the form of [ParseWorkload].
func (w Workload) String() string {
	parts := []string{w.ID.String()}
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+"="+value)
		}
	}
	if s := w.Selectors.String(); s != "" {
		parts = append(parts, s)
	}
	add("socket", w.Socket)
	if w.SocketMode != 0 {
		add("mode", fmt.Sprintf("%#o", uint32(w.SocketMode)))
	}
	add("hint", w.Hint)
	for a := range w.Attributes.All() {
		add("attr:"+a.Name, a.Value)
	}
	for _, td := range w.FederatesWith {
		add("federates-with", td.Name())
	}
	return strings.Join(parts, ",")
}

// UnmarshalText parses a registration by the rules of [ParseWorkload].
func (w *Workload) UnmarshalText(line []byte) (err error) {
	*w, err = ParseWorkload(string(line))
	return err
}
