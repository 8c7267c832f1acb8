package announce

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/pires/go-proxyproto"
	"github.com/pires/go-proxyproto/tlvparse"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// MaxHeader bounds a header, in bytes: nginx reads no longer ones.
const MaxHeader = 4096

// The TLVs of our own; docs/proxy-protocol.md has their layout.
const (
	// TypeSPIFFEID is the client's SPIFFE ID as text. Istio's ztunnel uses the
	// same, and what reads its headers reads ours.
	TypeSPIFFEID proxyproto.PP2Type = 0xD0

	// TypeAttribute is one attribute of the client, of as many as there are.
	TypeAttribute proxyproto.PP2Type = 0xE5
)

// Header is what an application is told of its client.
type Header struct {
	// Source is the client's address and Destination the one it connected to.
	// One that is invalid is told as the unspecified address and port 0:
	// readers refuse or skip a header that says it has no addresses. If one is
	// IPv6 so is the other, mapped.
	Source, Destination netip.AddrPort

	// Peer is what the handshake has established; nil, or without an ID, for
	// plaintext.
	Peer *tlsctx.Peer

	// Protocol is what the connection speaks, as far as it is known.
	Protocol tlsctx.Protocol

	// Authority is the host name that the client asked for, or "".
	Authority string

	// Least is the provenance that an attribute needs to be told; 0 tells
	// all, each with its provenance. Those that would make the header longer
	// than [MaxHeader] are left off, the least believed first.
	Least tlsctx.Provenance
}

// Format returns the header's bytes. It fails on text that is too long for its
// place.
func (h Header) Format() ([]byte, error) {
	header := h.addresses()
	tlvs, err := h.tlvs()
	if err != nil {
		return nil, fmt.Errorf("announce: format PROXY header: %w", err)
	}
	if err := header.SetTLVs(tlvs); err != nil {
		return nil, fmt.Errorf("announce: format PROXY header: %w", err)
	}
	b, err := header.Format()
	if err == nil && len(b) > MaxHeader {
		err = fmt.Errorf("%d bytes are more than %d", len(b), MaxHeader)
	}
	if err != nil {
		return nil, fmt.Errorf("announce: format PROXY header: %w", err)
	}
	return b, nil
}

// WriteTo writes the header; nothing may be written to w before it.
func (h Header) WriteTo(w io.Writer) (int64, error) {
	b, err := h.Format()
	if err != nil {
		return 0, err
	}
	n, err := w.Write(b)
	if err != nil {
		err = fmt.Errorf("announce: write PROXY header: %w", err)
	}
	return int64(n), err
}

// addresses returns the header without TLVs.
func (h Header) addresses() *proxyproto.Header {
	address := func(a netip.AddrPort) net.Addr {
		if !a.IsValid() {
			a = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
		}
		return net.TCPAddrFromAddrPort(a)
	}
	return proxyproto.HeaderProxyFromAddrs(2, address(h.Source), address(h.Destination))
}

func (h Header) tlvs() ([]proxyproto.TLV, error) {
	var tlvs []proxyproto.TLV
	if id := h.Protocol.Registered(); id != "" {
		tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_ALPN, Value: []byte(id)})
	}
	if h.Authority != "" {
		tlvs = append(tlvs, proxyproto.TLV{Type: proxyproto.PP2_TYPE_AUTHORITY, Value: []byte(h.Authority)})
	}
	if h.Peer == nil || !h.Peer.Secured() {
		return tlvs, nil
	}
	ssl, err := h.ssl().Marshal()
	if err != nil {
		return nil, err
	}
	tlvs = append(tlvs, ssl, proxyproto.TLV{Type: TypeSPIFFEID, Value: []byte(h.Peer.ID.String())})
	return h.attributes(tlvs), nil
}

// ssl says how the client was authenticated (PROXY protocol, section 2.2.5).
func (h Header) ssl() tlvparse.PP2SSL {
	s := tlvparse.PP2SSL{
		Client: tlvparse.PP2_BITFIELD_CLIENT_SSL | tlvparse.PP2_BITFIELD_CLIENT_CERT_CONN | tlvparse.PP2_BITFIELD_CLIENT_CERT_SESS,
		TLV:    []proxyproto.TLV{{Type: proxyproto.PP2_SUBTYPE_SSL_VERSION, Value: []byte("TLSv1.3")}}, // tlsctx speaks no other
	}
	if h.Peer.CipherSuite != 0 {
		s.TLV = append(s.TLV, proxyproto.TLV{Type: proxyproto.PP2_SUBTYPE_SSL_CIPHER, Value: []byte(tls.CipherSuiteName(h.Peer.CipherSuite))})
	}
	if cn := commonName(h.Peer); cn != "" {
		s.TLV = append(s.TLV, proxyproto.TLV{Type: proxyproto.PP2_SUBTYPE_SSL_CN, Value: []byte(cn)})
	}
	return s
}

// maxCommonName is ub-common-name (RFC 5280, appendix A.1), in characters.
const maxCommonName = 64

// commonName returns that of the client's SVID, which rarely has one, unless it
// is text that an application may trip over.
func commonName(p *tlsctx.Peer) string {
	if len(p.Certificates) == 0 {
		return ""
	}
	cn := p.Certificates[0].Subject.CommonName
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }
	if len(cn) > 4*maxCommonName || strings.ContainsFunc(cn, unprintable) {
		return ""
	}
	return cn
}

// attributes appends the client's attributes as far as they fit, the most
// believed first.
func (h Header) attributes(tlvs []proxyproto.TLV) []proxyproto.TLV {
	const fixed = 16 + 36 // header and the longest addresses
	room := MaxHeader - fixed
	for _, t := range tlvs {
		room -= 3 + len(t.Value)
	}
	ranked := slices.Clone(h.Peer.Attributes)
	slices.SortStableFunc(ranked, func(a, b tlsctx.Attribute) int { return int(b.Provenance) - int(a.Provenance) })
	for _, a := range ranked {
		size := 3 + 2 + len(a.Name) + len(a.Value)
		if a.Provenance < h.Least || len(a.Name) > 255 || size > room {
			continue
		}
		room -= size
		value := append([]byte{byte(a.Provenance), byte(len(a.Name))}, a.Name...)
		tlvs = append(tlvs, proxyproto.TLV{Type: TypeAttribute, Value: append(value, a.Value...)})
	}
	return tlvs
}
