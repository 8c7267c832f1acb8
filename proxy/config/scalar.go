package config

import (
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/metrics/accesslog/line"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// scalar is how the values of a type that is written as one word are read and
// written.
type scalar struct {
	parse  func(text string) (any, error)
	format func(value any) any
	tags   []string // of YAML, that its text may have
}

// text makes a scalar of a type that is written as a string.
func text[T any](parse func(string) (T, error), format func(T) string) scalar {
	return scalar{
		parse:  func(s string) (any, error) { return parse(s) },
		format: func(v any) any { return format(v.(T)) }, //nolint:errcheck // scalarOf looked at the type
		tags:   []string{tagString},
	}
}

// The tags of YAML scalars (YAML 1.2.2, section 10.3).
const (
	tagString = "!!str"
	tagInt    = "!!int"
	tagFloat  = "!!float"
	tagBool   = "!!bool"
	tagNull   = "!!null"
)

// scalarOf returns how values of the type are read and written, and whether
// they are scalars at all.
func scalarOf(t reflect.Type) (scalar, bool) {
	if e, ok := reflect.TypeAssert[enum](reflect.Zero(t)); ok {
		return enumScalar(t, e.values()), true
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return text(parseDuration, formatDuration), true
	case reflect.TypeFor[Quantity]():
		s := text(ParseQuantity, Quantity.String)
		s.tags = []string{tagString, tagInt}
		return s, true
	case reflect.TypeFor[Ratio]():
		s := text(ParseRatio, func(r Ratio) string { return string(r) })
		s.tags = []string{tagString, tagInt, tagFloat}
		return s, true
	case reflect.TypeFor[spiffeid.ID]():
		return text(spiffeid.FromString, spiffeid.ID.String), true
	case reflect.TypeFor[spiffeid.TrustDomain]():
		return text(parseTrustDomain, spiffeid.TrustDomain.Name), true
	case reflect.TypeFor[netip.Prefix]():
		return text(parsePrefix, netip.Prefix.String), true
	case reflect.TypeFor[tlsctx.Provenance]():
		return text(parseProvenance, tlsctx.Provenance.String), true
	case reflect.TypeFor[tlsctx.Protocol]():
		return text(parseProtocol, func(p tlsctx.Protocol) string { return string(p) }), true
	case reflect.TypeFor[tlsctx.Template]():
		return text(parseTemplate, tlsctx.Template.String), true
	case reflect.TypeFor[line.Line]():
		return text(line.Parse, line.Line.String), true
	}
	return basicScalar(t)
}

func basicScalar(t reflect.Type) (scalar, bool) {
	same := func(v any) any { return v }
	switch t.Kind() {
	case reflect.String:
		return scalar{func(s string) (any, error) { return s, nil }, same, []string{tagString}}, true
	case reflect.Bool:
		return scalar{parseBool, same, []string{tagBool}}, true
	case reflect.Int:
		return scalar{func(s string) (any, error) { return parseInt(s, math.MaxInt32) }, same, []string{tagInt}}, true
	case reflect.Uint16:
		return scalar{parsePort, same, []string{tagInt}}, true
	default:
		return scalar{}, false
	}
}

func enumScalar(t reflect.Type, values []string) scalar {
	return scalar{
		parse: func(s string) (any, error) {
			if !slices.Contains(values, s) {
				return nil, fmt.Errorf("%.80q is none of %s", s, strings.Join(values, ", "))
			}
			return reflect.ValueOf(s).Convert(t).Interface(), nil
		},
		format: func(v any) any { return reflect.ValueOf(v).String() },
		tags:   []string{tagString},
	}
}

func parseBool(s string) (any, error) {
	switch s {
	case "true":
		return true, nil
	case "false":
		return false, nil
	default:
		return nil, fmt.Errorf("%.80q is neither true nor false", s)
	}
}

func parseInt(s string, limit int) (int, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > int64(limit) {
		return 0, fmt.Errorf("%.80q is no whole number from 0 to %d", s, limit)
	}
	return int(n), nil
}

func parsePort(s string) (any, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return nil, fmt.Errorf("%.80q is no port from 1 to 65535", s)
	}
	return uint16(n), nil
}

func parseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%.80q is no duration such as 1h30m, 30s or 5ms", s)
	}
	return d, nil
}

// formatDuration leaves out what [time.Duration.String] adds: 1h0m0s is 1h.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func parseTrustDomain(s string) (spiffeid.TrustDomain, error) {
	if strings.Contains(s, "/") {
		return spiffeid.TrustDomain{}, fmt.Errorf("%.80q is no name of a trust domain, such as example.org", s)
	}
	td, err := spiffeid.TrustDomainFromString(s)
	if err != nil {
		return spiffeid.TrustDomain{}, fmt.Errorf("%.80q is no name of a trust domain, such as example.org: %w", s, err)
	}
	return td, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, fmt.Errorf("%.80q is no network such as 10.0.0.0/8 or ::1/128", s)
	case p.Masked() != p:
		return netip.Prefix{}, fmt.Errorf("%s has bits set beyond its length: write %s, or %s/%d for the one address", p, p.Masked(), p.Addr(), p.Addr().BitLen())
	default:
		return p, nil
	}
}

func parseProvenance(s string) (tlsctx.Provenance, error) {
	p, ok := tlsctx.ParseProvenance(s)
	if !ok {
		return 0, fmt.Errorf("%.80q is none of asserted, verified, attested", s)
	}
	return p, nil
}

func parseProtocol(s string) (tlsctx.Protocol, error) {
	p := tlsctx.Protocol(s)
	switch {
	case !p.Valid():
		return "", fmt.Errorf("%.80q is no protocol: want 1 to 32 bytes of a-z, 0-9, - and _ that start with a letter", s)
	case p == tlsctx.Unknown:
		return "", fmt.Errorf("%q is not for declaring: leave the field out to have it detected", s)
	default:
		return p, nil
	}
}

func parseTemplate(s string) (tlsctx.Template, error) {
	t, err := tlsctx.ParseTemplate(s)
	if err != nil {
		return tlsctx.Template{}, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "tlsctx: "))
	}
	return t, nil
}
