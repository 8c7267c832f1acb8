package issuer

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// entry is a registration with the SVID that was minted for it last.
type entry struct {
	workload Workload

	mu   sync.Mutex
	last *minted
}

// minted is an SVID in the two forms that it is handed out in. It is immutable.
type minted struct {
	svid     *x509svid.SVID
	chainDER []byte
	keyDER   []byte // PKCS #8
	signer   *authority
	epoch    uint64    // of the view that it was minted under
	rotateAt time.Time // half-life
}

// svid returns the entry's current SVID: the last one until half of its life
// has passed, its authority has left the bundle, or a new epoch has begun, and
// then a new one.
func (e *entry) svid(c *Config, v *view, now time.Time) (*minted, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.last; m != nil && now.Before(m.rotateAt) && m.epoch >= v.epoch && v.holds(m.signer) {
		return m, nil
	}
	m, err := mint(c, e.workload, v.signer(now), now)
	if err != nil {
		return nil, fmt.Errorf("mint %s: %w", e.workload.ID, err)
	}
	m.epoch = v.epoch
	e.last = m
	return m, nil
}

func (e *entry) lastMinted() *minted {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

func mint(c *Config, w Workload, by *authority, now time.Time) (*minted, error) {
	if by == nil {
		return nil, errors.New("no authority is valid at this time")
	}
	key, err := c.KeyType.generate()
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	template, err := leafTemplate(w.ID, by, now, now.Add(c.SVIDTTL))
	if err != nil {
		return nil, err
	}
	if w.Attributes.Len() > 0 {
		extension, err := tlsctx.AttestedExtension(w.Attributes)
		if err != nil {
			return nil, fmt.Errorf("attest attributes: %w", err)
		}
		template.ExtraExtensions = append(template.ExtraExtensions, extension)
	}
	leaf, err := sign(template, by.issuer, key.Public(), by.issuerKey)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	m := &minted{
		svid: &x509svid.SVID{
			ID:           w.ID,
			Certificates: append([]*x509.Certificate{leaf}, by.chain()...),
			PrivateKey:   key,
			Hint:         w.Hint,
		},
		signer:   by,
		rotateAt: now.Add(leaf.NotAfter.Sub(now) / 2),
	}
	m.chainDER, m.keyDER, err = m.svid.MarshalRaw()
	return m, err
}

// leafTemplate is a leaf by the X509-SVID specification, section 4 and appendix
// A: one URI, not a CA, a critical key usage that signs but certifies nothing,
// and both roles of TLS. It does not outlive its authority.
func leafTemplate(id spiffeid.ID, by *authority, now, notAfter time.Time) (*x509.Certificate, error) {
	uri, err := url.Parse(id.String())
	if err != nil {
		return nil, fmt.Errorf("name the workload: %w", err)
	}
	notBefore := now.Add(-backdate)
	if notBefore.Before(by.issuer.NotBefore) {
		notBefore = by.issuer.NotBefore
	}
	notAfter = roundUp(notAfter)
	if notAfter.After(by.issuer.NotAfter) {
		notAfter = by.issuer.NotAfter
	}
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Hallmark"}},
		URIs:                  []*url.URL{uri},
		NotBefore:             notBefore,
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, nil
}
