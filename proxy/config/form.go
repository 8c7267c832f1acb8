package config

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// checkForm reports whether text has the form that a field's tag asks for.
// Fields without one, and those that are not text, take everything.
func checkForm(form string, v reflect.Value) error {
	if form == "" || v.Kind() != reflect.String {
		return nil
	}
	text := v.String()
	switch form {
	case "name":
		return checkName(text)
	case "label":
		return checkLabel(text)
	case "listen":
		_, err := parseListen(text)
		return err
	case "dial":
		_, err := parseDial(text)
		return err
	case "target":
		return checkTarget(text)
	case "sni":
		return checkSNI(text)
	case "workload-api":
		return checkWorkloadAPI(text)
	case "attribute":
		return checkAttributeName(text)
	case "disclosed":
		if text == tlsctx.AllAttributes {
			return nil
		}
		return checkAttributeName(text)
	case "file":
		if strings.ContainsRune(text, 0) {
			return fmt.Errorf("%.80q is no name of a file", text)
		}
		return nil
	case "value":
		return identity.ValidateAttributeValue(text)
	default:
		return fmt.Errorf("is of a form %q that is not known", form)
	}
}

func checkName(name string) error {
	if len(name) > 253 || !all(strings.Split(name, "."), isDNSLabel) {
		return fmt.Errorf("%.80q is no DNS name: want a-z, 0-9, - and dots, at most 253 bytes", name)
	}
	return nil
}

func checkLabel(name string) error {
	if !isDNSLabel(name) {
		return fmt.Errorf("%.80q is no DNS label: want a-z, 0-9 and -, at most 63 bytes", name)
	}
	return nil
}

// checkTarget reports whether name may be that of a target, as the context
// carries it.
func checkTarget(name string) error {
	if len(name) > tlsctx.MaxTarget {
		return fmt.Errorf("%.80q has %d bytes, more than the %d allowed", name, len(name), tlsctx.MaxTarget)
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' {
			return fmt.Errorf("%.80q holds a byte outside printable ASCII, or a space", name)
		}
	}
	return nil
}

func checkAttributeName(name string) error {
	if err := identity.ValidateAttributeName(name); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "identity: "))
	}
	return nil
}

// checkSNI reports whether s may be a TLS server name (RFC 6066, section 3).
func checkSNI(s string) error {
	if _, err := netip.ParseAddr(s); err == nil || !isHostName(s) || strings.HasSuffix(s, ".") {
		return fmt.Errorf("%.80q is no DNS name without a dot at its end, as TLS wants of a server name", s)
	}
	return nil
}

// checkWorkloadAPI reports whether the address is one of a Workload API
// (SPIFFE_Workload_Endpoint, section 4).
func checkWorkloadAPI(address string) error {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		if path = strings.TrimPrefix(path, "//"); len(path) < 2 || path[0] != '/' {
			return fmt.Errorf("%.80q has no absolute path: want one such as unix:///run/spire/agent.sock", address)
		}
		return nil
	}
	host, ok := strings.CutPrefix(address, "tcp://")
	if _, err := netip.ParseAddrPort(host); !ok || err != nil {
		return fmt.Errorf("%.80q is no address of a Workload API: want unix:///path or tcp://IP:port", address)
	}
	return nil
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
