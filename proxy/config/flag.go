package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// setting is a key=value of a flag: it reads the value into what it sets.
type setting struct {
	key string
	set func(value string) error
}

// into makes a setting that reads a scalar.
func into[T any](key string, target *T) setting {
	return setting{key, func(value string) error {
		v := reflect.ValueOf(target).Elem()
		s, ok := scalarOf(v.Type())
		if !ok {
			return fmt.Errorf("cannot be read into a %s", v.Type())
		}
		if e, ok := reflect.TypeAssert[enum](v); ok { // capitals are for files
			if i := slices.IndexFunc(e.values(), func(known string) bool { return strings.EqualFold(known, value) }); i >= 0 {
				value = e.values()[i]
			}
		}
		parsed, err := s.parse(value)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(parsed))
		return nil
	}}
}

// appended makes a setting that may come several times.
func appended[T any](key string, list *[]T, parse func(string) (T, error)) setting {
	return setting{key, func(value string) error {
		v, err := parse(value)
		if err != nil {
			return err
		}
		*list = append(*list, v)
		return nil
	}}
}

// ParseInboundFlag parses the short form of an Inbound with one target:
// LISTEN=ADDRESS[,key=value…], such as :8443=127.0.0.1:5432,protocol=postgres.
// The keys are target (the target's name, "default" unless given), protocol,
// server-first, proxy-protocol, peers, plaintext and accept-proxy-protocol,
// which may come several times.
func ParseInboundFlag(text string) (Inbound, error) {
	in := Inbound{Spec: withDefaults[InboundSpec]()}
	target := withDefaults[Target]()
	target.Name = "default"
	var err error
	in.Spec.Listen, target.Address, err = parseFlag(text,
		into("target", &target.Name),
		into("protocol", &target.Protocol),
		into("server-first", &target.ServerFirst),
		into("proxy-protocol", &target.ProxyProtocol),
		into("peers", &in.Spec.Peers),
		into("plaintext", &in.Spec.Plaintext),
		appended("accept-proxy-protocol", &in.Spec.AcceptProxyProtocol.From, parsePrefix),
	)
	if err != nil {
		return Inbound{}, fmt.Errorf("config: inbound %q: %w", text, err)
	}
	in.Spec.Targets = []Target{target}
	in.Metadata = flagMetadata("inbound", in.Spec.Listen, text)
	w := flagged(KindInbound, in.Metadata)
	checkResource(w, &in.Metadata, &in.Spec)
	checkInbound(w, &in.Spec)
	return in, w.distinct().asError()
}

// ParseOutboundFlag parses the short form of an Outbound:
// LISTEN=ADDRESS[,key=value…], such as 127.0.0.1:15432=db.internal:8443. The
// keys are target, protocol, server-first, session, peers, sni, and expect and
// accept-proxy-protocol, which may come several times. The value of expect has
// the form of [ParseExpectation]; without any, those of expect, which are of a
// flag for all, are expected.
func ParseOutboundFlag(text string, expect ...Expectation) (Outbound, error) {
	out := Outbound{Spec: withDefaults[OutboundSpec]()}
	var err error
	out.Spec.Listen, out.Spec.To, err = parseFlag(text,
		into("target", &out.Spec.Target),
		into("protocol", &out.Spec.Protocol),
		into("server-first", &out.Spec.ServerFirst),
		into("session", &out.Spec.Session),
		into("peers", &out.Spec.Peers),
		into("sni", &out.Spec.SNI),
		appended("expect", &out.Spec.Expect, ParseExpectation),
		appended("accept-proxy-protocol", &out.Spec.AcceptProxyProtocol.From, parsePrefix),
	)
	if err != nil {
		return Outbound{}, fmt.Errorf("config: outbound %q: %w", text, err)
	}
	if len(out.Spec.Expect) == 0 {
		out.Spec.Expect = slices.Clone(expect)
	}
	if len(out.Spec.Expect) == 0 {
		return Outbound{}, fmt.Errorf("config: outbound %q: the identity of the other side is required: add --expect, or expect= here", text)
	}
	out.Metadata = flagMetadata("outbound", out.Spec.Listen, text)
	w := flagged(KindOutbound, out.Metadata)
	checkResource(w, &out.Metadata, &out.Spec)
	checkOutbound(w, &out.Spec)
	return out, w.distinct().asError()
}

// ParseExpectation parses an expected identity: a SPIFFE ID, such as
// spiffe://example.org/ns/db/sa/postgres; one that ends in /*, for what is below
// the path, such as spiffe://example.org/ns/db/*; or spiffe://example.org/* for
// all of the trust domain.
func ParseExpectation(text string) (Expectation, error) {
	prefix, below := strings.CutSuffix(text, "/*")
	id, err := spiffeid.FromString(prefix)
	switch {
	case err != nil:
		return Expectation{}, fmt.Errorf("%.80q is no SPIFFE ID: %w", text, err)
	case !below && id.Path() == "":
		return Expectation{}, fmt.Errorf("%q has no path: write %s/* if any identity of the trust domain will do", text, id)
	case !below:
		return Expectation{ID: id}, nil
	case id.Path() == "":
		return Expectation{TrustDomain: id.TrustDomain()}, nil
	default:
		return Expectation{PathPrefix: id}, nil
	}
}

// parseFlag splits LISTEN=ADDRESS[,key=value…] and reads the settings.
func parseFlag(text string, settings ...setting) (listen, address string, err error) {
	addresses, rest, more := strings.Cut(text, ",")
	listen, address, ok := strings.Cut(addresses, "=")
	if !ok || listen == "" || address == "" {
		return "", "", errors.New("want LISTEN=ADDRESS, such as :8443=127.0.0.1:5432")
	}
	var seen []string
	for more {
		var part string
		part, rest, more = strings.Cut(rest, ",")
		key, value, _ := strings.Cut(part, "=")
		i := slices.IndexFunc(settings, func(s setting) bool { return s.key == key })
		if i < 0 {
			return "", "", fmt.Errorf("%.80q is not known: there are %s", key, keys(settings))
		}
		if slices.Contains(seen, key) && key != "expect" && key != "accept-proxy-protocol" {
			return "", "", fmt.Errorf("%s is given twice", key)
		}
		seen = append(seen, key)
		if err := settings[i].set(value); err != nil {
			return "", "", fmt.Errorf("%s: %w", key, err)
		}
	}
	return listen, address, nil
}

func keys(settings []setting) string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.key
	}
	return strings.Join(names, ", ")
}

// flagMetadata names the resource of a flag after its address.
func flagMetadata(kind, listen, text string) Metadata {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(listen))
	if addr, err := netip.ParseAddrPort(listen); err == nil && addr.Addr().Is6() {
		name = strings.ReplaceAll(name, "--", "-")
	}
	return Metadata{Name: kind + "-" + strings.Trim(name, "-"), Origin: fmt.Sprintf("--%s %s", kind, text)}
}
