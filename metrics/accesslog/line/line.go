// Package line parses the text that says how a line of the access log is made: as
// Envoy has it, literal text with operators between percent signs.
//
// It knows what operators there are and what they take, so that a configuration
// can be refused; what they say of a record is package accesslog's to know.
// Nothing here sees what a peer has sent.
package line

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/hallmark-mesh/hallmark/identity"
)

// Bounds of a text.
const (
	// MaxText is how many bytes a text may have.
	MaxText = 4 << 10

	// MaxOperators is how many operators.
	MaxOperators = 100

	// MaxValue is how many bytes of a value an operator can ask for.
	MaxValue = 2 << 10
)

// Line is a parsed text. It is immutable; the zero value is none.
type Line struct {
	text  string
	parts []Part
}

// Part is a piece of literal text, or an operator.
type Part struct {
	// Literal is the text; "" of an operator.
	Literal string

	// Op is the operator's name, such as RESPONSE_CODE.
	Op string

	// Names are what it is asked for, such as :path: the first of them that is
	// there. Those of fields are in lower case.
	Names []string

	// Max is how many bytes of the value are wanted; 0 for all.
	Max int

	// Time is how START_TIME is written; nil is RFC 3339 with milliseconds.
	Time []Time
}

// Parse parses a text, and says which operator it does not know, or what is wrong
// with it. One line break at the end is left out: a line ends by itself.
func Parse(text string) (Line, error) {
	if len(text) > MaxText {
		return Line{}, fmt.Errorf("has %d bytes, more than the %d allowed", len(text), MaxText)
	}
	l := Line{text: text}
	rest, operators := strings.TrimSuffix(text, "\n"), 0
	if rest == "" {
		return Line{}, errors.New("is empty: no line would say anything")
	}
	for rest != "" {
		literal, after, found := strings.Cut(rest, "%")
		if found && strings.HasPrefix(after, "%") {
			literal, after, found = literal+"%", after[1:], false
		}
		if err := l.literal(literal); err != nil {
			return Line{}, err
		}
		rest = after
		if !found {
			continue
		}
		if operators++; operators > MaxOperators {
			return Line{}, fmt.Errorf("has more than the %d operators allowed", MaxOperators)
		}
		n, err := l.operator(rest)
		if err != nil {
			return Line{}, err
		}
		rest = rest[n:]
	}
	return l, nil
}

// String returns the text that was parsed.
func (l Line) String() string { return l.text }

// IsZero reports whether it is none.
func (l Line) IsZero() bool { return l.text == "" }

// Parts returns what it consists of, which must not be changed.
func (l Line) Parts() []Part { return l.parts }

// literal appends text, to the text before it if there is one.
func (l *Line) literal(text string) error {
	for _, r := range text {
		if !unicode.IsPrint(r) && r != '\t' {
			return fmt.Errorf("holds %q: a line is printable, and one line", r)
		}
	}
	if !utf8.ValidString(text) {
		return errors.New("is no valid UTF-8")
	}
	if text == "" {
		return nil
	}
	if n := len(l.parts); n > 0 && l.parts[n-1].Op == "" {
		l.parts[n-1].Literal += text
		return nil
	}
	l.parts = append(l.parts, Part{Literal: text})
	return nil
}

// operator appends the operator that the text begins with, and returns how much of
// the text it and its last percent sign are.
func (l *Line) operator(text string) (int, error) {
	n := strings.IndexFunc(text, func(r rune) bool { return r != '_' && (r < 'A' || r > 'Z') && (r < '0' || r > '9') })
	if n < 0 {
		n = len(text)
	}
	if n == 0 {
		return 0, fmt.Errorf("%q is no operator: a percent sign is written %%%%", "%"+shown(text))
	}
	p := Part{Op: text[:n]}
	takes, known := operators()[p.Op]
	if !known {
		return 0, fmt.Errorf("there is no operator %%%s%%", shown(p.Op))
	}
	argument, given := "", false
	if n < len(text) && text[n] == '(' {
		end := strings.IndexByte(text[n:], ')')
		if end < 0 {
			return 0, fmt.Errorf("%%%s( has no closing parenthesis", p.Op)
		}
		argument, given = text[n+1:n+end], true
		n += end + 1
	}
	most, end, closed := strings.Cut(text[n:], "%")
	if !closed {
		return 0, fmt.Errorf("%%%s has no percent sign at its end", p.Op)
	}
	written := "%" + text[:n+len(most)] + "%"
	err := p.take(takes, argument, given)
	if err == nil && most != "" {
		err = p.limit(takes, most)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", shown(written), err)
	}
	l.parts = append(l.parts, p)
	return len(text) - len(end), nil
}

// shown bounds what an error repeats of a text.
func shown(text string) string { return fmt.Sprintf("%.60s", text) }

// argument says what an operator takes.
type argument int

const (
	nothing   argument = iota
	fields             // (X?Y) and :Z
	attribute          // (name) and :Z
	timestamp          // perhaps (format)
	length             // perhaps :Z
)

// take reads what is in the operator's parentheses.
func (p *Part) take(takes argument, text string, given bool) (err error) {
	switch {
	case takes == timestamp && given:
		p.Time, err = parseTime(text)
		return err
	case takes == fields && given:
		return p.fields(text)
	case takes == attribute && given:
		p.Names = []string{text}
		return identity.ValidateAttributeName(text)
	case takes == fields:
		return errors.New("which field is missing, such as (:PATH)")
	case takes == attribute:
		return errors.New("which attribute is missing, such as (k8s.namespace.name)")
	case given:
		return errors.New("takes nothing in parentheses")
	}
	return nil
}

// fields reads the names of up to two fields.
func (p *Part) fields(text string) error {
	p.Names = strings.Split(strings.ToLower(text), "?")
	if len(p.Names) > 2 {
		return errors.New("one other field can be named, for when the first is not there")
	}
	for _, name := range p.Names {
		if !slices.Contains(Fields(), name) {
			return fmt.Errorf("%q is not recorded: of a request, %s are", name, strings.Join(Fields(), ", "))
		}
	}
	return nil
}

// limit reads how many bytes of the value are wanted.
func (p *Part) limit(takes argument, text string) error {
	if takes == nothing || takes == timestamp || text[0] != ':' {
		return fmt.Errorf("takes nothing like %q", shown(text))
	}
	n, err := strconv.ParseUint(text[1:], 10, 16)
	if err != nil || n == 0 || n > MaxValue {
		return fmt.Errorf("%q is no number of bytes from 1 to %d", shown(text[1:]), MaxValue)
	}
	p.Max = int(n)
	return nil
}

// Fields returns the names that REQ knows.
func Fields() []string { return []string{":method", ":path", ":authority"} }

// Operators returns the names of the operators, sorted.
func Operators() []string { return slices.Sorted(maps.Keys(operators())) }

// operators are what there is, with what they take.
func operators() map[string]argument {
	return map[string]argument{
		"START_TIME": timestamp, "REQ": fields,
		"SOURCE_ATTRIBUTE": attribute, "DESTINATION_ATTRIBUTE": attribute,
		"CONNECTION_TERMINATION_DETAILS": length,

		"BYTES_RECEIVED": nothing, "BYTES_SENT": nothing, "CONNECTION_ID": nothing, "DESTINATION_PRINCIPAL": nothing,
		"DOWNSTREAM_LOCAL_ADDRESS": nothing, "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": nothing, "DOWNSTREAM_LOCAL_PORT": nothing,
		"DOWNSTREAM_LOCAL_URI_SAN": nothing, "DOWNSTREAM_PEER_URI_SAN": nothing,
		"DOWNSTREAM_REMOTE_ADDRESS": nothing, "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": nothing, "DOWNSTREAM_REMOTE_PORT": nothing,
		"DOWNSTREAM_TLS_VERSION": nothing, "DURATION": nothing, "GRPC_STATUS": nothing, "GRPC_STATUS_NUMBER": nothing,
		"PROTOCOL": nothing, "REPORTER": nothing, "RESPONSE_CODE": nothing, "RESPONSE_CODE_DETAILS": nothing,
		"RESPONSE_DURATION": nothing, "RESPONSE_FLAGS": nothing, "RESPONSE_TX_DURATION": nothing, "ROUTE_NAME": nothing,
		"SOURCE_PRINCIPAL": nothing, "TRACE_ID": nothing, "UPSTREAM_CLUSTER": nothing, "UPSTREAM_HOST": nothing,
		"UPSTREAM_LOCAL_URI_SAN": nothing, "UPSTREAM_PEER_URI_SAN": nothing, "UPSTREAM_REMOTE_ADDRESS": nothing,
		"UPSTREAM_REQUEST_ATTEMPT_COUNT": nothing, "UPSTREAM_TLS_VERSION": nothing,
	}
}
