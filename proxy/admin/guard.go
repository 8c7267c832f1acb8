package admin

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// harmless lets through what only looks: GET and HEAD, without a body, and
// without a query but for the two parameters that [profiles] bounds, and for what
// the API looks at.
func harmless(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			w.Header().Set("Allow", "GET, HEAD")
			text(w, http.StatusMethodNotAllowed, "nothing here can be changed: GET and HEAD only\n")
			return
		case r.ContentLength != 0:
			w.Header().Set("Connection", "close") // or the server would read it
			text(w, http.StatusBadRequest, "no body is taken\n")
			return
		}
		if !strings.HasPrefix(r.URL.Path, apiPrefix) {
			r.URL.RawQuery = harmlessQuery(r.URL.RawQuery)
		}
		next.ServeHTTP(w, r)
	})
}

// harmlessQuery keeps what a profile may be asked for.
func harmlessQuery(query string) string {
	given, err := url.ParseQuery(query)
	if err != nil {
		return ""
	}
	kept := make(url.Values)
	for _, name := range []string{"seconds", "debug"} {
		if n, err := strconv.ParseUint(given.Get(name), 10, 16); err == nil {
			kept.Set(name, strconv.FormatUint(n, 10))
		}
	}
	return kept.Encode()
}

// secure tells a browser to make nothing of an answer but what it says.
func secure(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
}

// local lets through who has come here knowingly. A browser on this host can be
// led here by any page: by a name of the page's own that resolves to loopback
// (DNS rebinding), which shows in Host, or by a link, which shows in Origin or
// Sec-Fetch-Site. Who has shown an identity that is allowed may call the port by
// any name: a page has no name that the port's certificate says.
func local(names []string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reason, scheme := "", "http://"
		_, known := peerOf(r)
		if known {
			scheme = "https://"
		}
		switch {
		case !known && !isOurs(r.Host, names, r.Context().Value(http.LocalAddrContextKey)):
			reason = "the Host header names neither loopback nor the address of this port: use http://127.0.0.1, or add the name to the port's hosts"
		case !sameOrigin(r.Header.Values("Origin"), scheme+r.Host):
			reason = "the request comes from another page"
		case !sameSite(r.Header.Values("Sec-Fetch-Site")):
			reason = "the request comes from another site"
		}
		if reason != "" {
			secure(w.Header())
			text(w, http.StatusForbidden, reason+"\n")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isOurs reports whether a Host header (RFC 9110, section 7.2) names this port:
// localhost, an address of loopback, the address that was connected to, or one
// of the names. A browser cannot connect to a Unix socket.
func isOurs(header string, names []string, localAddr any) bool {
	if _, ok := localAddr.(*net.UnixAddr); ok {
		return true
	}
	host, ok := hostOf(header)
	if !ok {
		return false
	}
	if address, err := netip.ParseAddr(host); err == nil {
		connected, ok := localAddr.(*net.TCPAddr)
		return address.Unmap().IsLoopback() ||
			ok && address.Unmap() == connected.AddrPort().Addr().Unmap().WithZone("")
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	return slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(name, host) })
}

// hostOf returns the host of a Host header, an IPv6 address without brackets.
// It reports false unless the header has the form host, host:port, [v6] or
// [v6]:port.
func hostOf(header string) (string, bool) {
	if inner, bracketed := strings.CutPrefix(header, "["); bracketed {
		address, rest, closed := strings.Cut(inner, "]")
		parsed, err := netip.ParseAddr(address)
		port, hasPort := strings.CutPrefix(rest, ":")
		return address, closed && err == nil && parsed.Is6() && parsed.Zone() == "" && (rest == "" || hasPort && isPort(port))
	}
	host, port, hasPort := strings.Cut(header, ":")
	if hasPort && !isPort(port) {
		return "", false
	}
	named := host != "" && strings.IndexFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '-' && r != '_'
	}) < 0
	return host, named
}

func isPort(text string) bool {
	_, err := strconv.ParseUint(text, 10, 16)
	return err == nil
}

// sameOrigin reports whether a request comes from a page of this port, or from
// none.
func sameOrigin(origins []string, ours string) bool {
	switch len(origins) {
	case 0:
		return true
	case 1:
		return strings.EqualFold(origins[0], ours)
	default:
		return false
	}
}

// sameSite reports the same by Fetch Metadata. An address that the user has
// typed or kept says "none".
func sameSite(values []string) bool {
	return len(values) == 0 || len(values) == 1 && (values[0] == "same-origin" || values[0] == "none")
}

// printable makes text fit for a terminal: on one line, bounded, without control
// or format characters.
func printable(text string) string {
	const most = 2 << 10
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, strings.ReplaceAll(text, "\n", "; "))
}
