package tlsctx

import (
	"crypto/x509"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
)

// BenchmarkContext is what a context costs each side: minting one, parsing it
// as crypto/tls does, and checking it against the profile.
func BenchmarkContext(b *testing.B) {
	leaf := ca.New(b, "example.org").SVID(b, "/ns/shop/sa/web").Certificates[0]
	context := Context{
		Attributes: ca.Attributes(b, "k8s.namespace.name", "shop", "k8s.pod.name", "web-0", "service.name", "web", "cloud.availability_zone", "eu-west-1a"),
		Target:     "db",
		Trace:      Traceparent{TraceID: [16]byte{1}, SpanID: [8]byte{2}, Flags: 1},
	}
	raw, err := Mint(leaf, context)
	if err != nil {
		b.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(raw)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("mint", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Mint(leaf, context); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := x509.ParseCertificate(raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := readContext(leaf, parsed); err != nil {
				b.Fatal(err)
			}
		}
	})
}
