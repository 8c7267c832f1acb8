package tlsctx

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// vectorFiles returns all the DER files in a folder of the vectors.
func vectorFiles(tb testing.TB, folder string) [][]byte {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(vectorDir, folder, "*.der"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("no vectors in %s: %v", folder, err)
	}
	var all [][]byte
	for _, path := range paths {
		all = append(all, readVector(tb, filepath.Join(folder, filepath.Base(path))))
	}
	return all
}

// FuzzExtension: what decodes encodes to the same bytes, and is within bounds.
func FuzzExtension(f *testing.F) {
	for _, folder := range []string{"contexts", "certificates"} {
		for _, der := range vectorFiles(f, folder) {
			for _, ext := range mustParse(f, der).Extensions {
				if ext.Id.Equal(oidContext) || ext.Id.Equal(oidAttested) {
					f.Add(ext.Value)
				}
			}
		}
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		e, err := decodeExtension(value)
		if err != nil {
			checkText(t, &Error{Reason: MalformedContext, Err: err})
			return
		}
		again, err := e.encode()
		if err != nil || !bytes.Equal(again, value) {
			t.Errorf("%x decodes, and encodes as %x, %v", value, again, err)
		}
		checkContext(t, e.Context)
	})
}

// checkContext holds what was read from a peer to its bounds.
func checkContext(tb testing.TB, c Context) {
	tb.Helper()
	if err := c.validate(); err != nil {
		tb.Error(err)
	}
	if c.Attributes.Len() > identity.MaxAttributes {
		tb.Errorf("%d attributes", c.Attributes.Len())
	}
	before := ""
	for a := range c.Attributes.All() {
		if identity.ValidateAttributeName(a.Name) != nil || identity.ValidateAttributeValue(a.Value) != nil || a.Name <= before {
			tb.Errorf("attribute %q=%q after %q", a.Name, a.Value, before)
		}
		before = a.Name
	}
}

// FuzzContextCertificate: what the profile lets through carries what Mint would
// carry, and any certificate can be a leaf.
func FuzzContextCertificate(f *testing.F) {
	for _, der := range vectorFiles(f, "contexts") {
		f.Add(der)
	}
	leaf := mustParse(f, readVector(f, "certificates/web.der"))
	f.Fuzz(func(t *testing.T, der []byte) {
		c, err := x509.ParseCertificate(der)
		if err != nil || len(der) > maxContextCertificate {
			return
		}
		if minted, err := Mint(c, Context{Target: "x"}); err == nil {
			if _, err := readContext(c, mustParse(t, minted)); err != nil {
				t.Errorf("beside %x, Mint makes what is refused: %v", der, err)
			}
		}
		got, err := readContext(leaf, c)
		if err != nil {
			checkText(t, err)
			return
		}
		checkContext(t, got)
		value, err := contextValue(c)
		if err != nil {
			t.Fatal(err)
		}
		if own, _ := contextValue(mustParse(t, minted(t, leaf, got))); !bytes.Equal(own, value) {
			t.Errorf("value %x is taken, and Mint writes %x", value, own)
		}
	})
}

// FuzzToken: what parses has the form, and prints as it was.
func FuzzToken(f *testing.F) {
	for _, v := range readVectors[alpnVector](f, "alpn.json") {
		for _, id := range v.Offered {
			f.Add(id)
		}
	}
	f.Fuzz(func(t *testing.T, id string) {
		token, err := ParseToken(id)
		if err != nil {
			checkText(t, &Error{Reason: MalformedALPN, Err: err})
			return
		}
		if token.String() != id || len(id) > 255 || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q is taken as %+v", id, token)
		}
	})
}

// FuzzOffer: nothing is lost or made up, and what is selected was offered.
func FuzzOffer(f *testing.F) {
	for _, v := range readVectors[alpnVector](f, "alpn.json") {
		f.Add(strings.Join(v.Offered, "\n"), v.Require)
	}
	f.Fuzz(func(t *testing.T, lines string, require bool) {
		var offered []string
		if lines != "" {
			offered = strings.Split(lines, "\n")
		}
		h := serverHandshake{config: &ServerConfig{Sessions: []Session{Raw, H2}, Registered: []string{"h2"}}}
		if require {
			h.config.Awareness = Require
		}
		selected, err := h.selectALPN(offered)
		if err != nil {
			if e := classify(t.Context(), err); !slices.Contains([]Reason{NoOverlap, NoALPN, MalformedALPN, TooLarge}, e.Reason) {
				t.Error(e)
			} else {
				checkText(t, e)
			}
			return
		}
		if selected != "" && !slices.Contains(offered, selected) || selected == "" && (len(offered) > 0 || require) {
			t.Errorf("%q selected of %q", selected, offered)
		}
		o, err := ParseOffer(offered)
		if err != nil || len(o.Tokens)+len(o.Other) != len(offered) {
			t.Errorf("%q parses as %+v, %v", offered, o, err)
		}
	})
}

// FuzzTemplate: a template that matches makes, of what it derived, the path
// again.
func FuzzTemplate(f *testing.F) {
	for _, v := range readVectors[templateVector](f, "templates.json") {
		f.Add(v.Template, strings.TrimPrefix(v.ID, "spiffe://example.org"))
	}
	f.Fuzz(func(t *testing.T, text, path string) {
		template, err := ParseTemplate(text)
		if err != nil {
			checkText(t, err)
			return
		}
		if template.String() != text || len(template.Names()) == 0 {
			t.Errorf("%q parses as %s with %q", text, template, template.Names())
		}
		id, err := spiffeid.FromPath(spiffeid.RequireTrustDomainFromString("example.org"), path)
		if err != nil {
			return
		}
		derived, matches := template.Match(id)
		if !matches {
			return
		}
		again := text
		for _, a := range derived {
			again = strings.Replace(again, "{"+a.Name+"}", a.Value, 1)
			if identity.ValidateAttributeValue(a.Value) != nil || strings.Contains(a.Value, "/") {
				t.Errorf("derived %q", a)
			}
		}
		if again != path || len(derived) != len(template.Names()) {
			t.Errorf("%q matches %q with %q", text, path, derived)
		}
	})
}

// FuzzTraceparent: what parses prints as it was, and can be sent.
func FuzzTraceparent(f *testing.F) {
	for _, v := range readVectors[traceparentVector](f, "traceparent.json") {
		f.Add(v.Text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		trace, err := ParseTraceparent(text)
		switch {
		case err != nil:
			checkText(t, err)
		case trace.String() != text || trace.validate() != nil || trace.IsZero():
			t.Errorf("%q parses as %q", text, trace)
		}
	})
}

// FuzzPath makes chains of certificates that have nothing but names and key
// identifiers, four bytes for each of them.
func FuzzPath(f *testing.F) {
	f.Add([]byte("abAB" + "bcBC" + "cdCD"))
	f.Add([]byte("ab\x00\x00" + "bb\x00\x00" + "bb\x00\x00" + "bb\x00\x00"))
	f.Add([]byte("ab\x00B" + "bcXC" + "xx\x00\x00" + "bcB\x00" + "cb\x00\x00"))
	identifier := func(b byte) []byte {
		if b == 0 {
			return nil
		}
		return []byte{b}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var sent []*x509.Certificate
		for fields := range slices.Chunk(data, 4) {
			if len(fields) == 4 {
				sent = append(sent, &x509.Certificate{
					RawSubject: fields[:1], RawIssuer: fields[1:2], SubjectKeyId: identifier(fields[2]), AuthorityKeyId: identifier(fields[3]),
				})
			}
		}
		if len(sent) == 0 {
			return
		}
		before := slices.Clone(sent)
		checkPath(t, sent, path(sent))
		if !slices.Equal(before, sent) {
			t.Error("what was sent has changed")
		}
	})
}

func checkPath(tb testing.TB, sent, taken []*x509.Certificate) {
	tb.Helper()
	if len(taken) == 0 || taken[0] != sent[0] {
		tb.Fatal("the path does not start at the leaf")
	}
	rest := sent[1:]
	for i, c := range taken[1:] {
		at := slices.Index(rest, c)
		if at < 0 || !certifies(c, taken[i]) {
			tb.Fatalf("certificate %d does not certify the one before, or was not sent after it", i+1)
		}
		rest = rest[at+1:]
	}
	// Among the issuers, none has two: what makes verification linear.
	for _, c := range taken {
		issuers := 0
		for _, above := range taken[1:] {
			if bytes.Equal(above.RawSubject, c.RawIssuer) {
				issuers++
			}
		}
		if issuers > 1 {
			tb.Errorf("a certificate of %q has %d issuers", c.RawSubject, issuers)
		}
	}
}

// FuzzVerify judges whole Certificate messages: each certificate is preceded by
// two bytes of length.
func FuzzVerify(f *testing.F) {
	for _, v := range readVectors[handshakeVector](f, "handshakes.json") {
		var message []byte
		for _, name := range v.Certificates {
			der := readVector(f, name)
			message = append(append(message, byte(len(der)>>8), byte(len(der))), der...)
		}
		f.Add(v.ALPN, message)
	}
	v := handshakeVector{Time: date(2028), Templates: kubernetesVector, Attested: []string{"example.org"}}.verifier(f)
	f.Fuzz(func(t *testing.T, alpn string, message []byte) {
		cs := tls.ConnectionState{Version: tls.VersionTLS13, NegotiatedProtocol: alpn}
		for len(message) >= 2 {
			n := min(int(message[0])<<8|int(message[1]), len(message)-2)
			if c, err := x509.ParseCertificate(message[2 : 2+n]); err == nil {
				cs.PeerCertificates = append(cs.PeerCertificates, c)
			}
			message = message[2+n:]
		}
		p, err := v.Verify(cs)
		if err != nil {
			if ReasonOf(err) == "" {
				t.Errorf("%T: %v", err, err)
			}
			checkText(t, err)
			return
		}
		checkPath(t, cs.PeerCertificates, p.Certificates)
		if !p.ID.MemberOf(v.Snapshot.ID().TrustDomain()) || p.Aware != isAware(alpn) || len(p.Chains) == 0 {
			t.Errorf("accepted %+v", p)
		}
	})
}
