package issuer

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// backdate is how far before now validity periods begin, for clocks that are
// behind.
const backdate = time.Minute

// authority is one generation of the certificate authority. It is immutable.
type authority struct {
	certificate *x509.Certificate // self-signed: what the bundle holds
	key         crypto.Signer
	created     time.Time
	activeFrom  time.Time // signs from then on

	issuer    *x509.Certificate // signs SVIDs: the certificate itself or an intermediate
	issuerKey crypto.Signer
}

// newAuthority makes the next generation, which signs from activeFrom.
func newAuthority(c Config, now, activeFrom time.Time) (*authority, error) {
	key, err := c.CAKeyType.generate()
	if err != nil {
		return nil, fmt.Errorf("generate authority key: %w", err)
	}
	template, err := caTemplate(c.TrustDomain, "authority", now, now.Add(c.CATTL))
	if err != nil {
		return nil, err
	}
	certificate, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority: %w", err)
	}
	a := &authority{certificate: certificate, key: key, created: now, activeFrom: activeFrom}
	return a, a.setIssuer(c)
}

// setIssuer decides what signs SVIDs: a fresh intermediate if so configured.
// Nobody needs to find an intermediate again: it travels with what it signed.
func (a *authority) setIssuer(c Config) error {
	a.issuer, a.issuerKey = a.certificate, a.key
	if !c.Intermediate {
		return nil
	}
	key, err := c.CAKeyType.generate()
	if err != nil {
		return fmt.Errorf("generate intermediate key: %w", err)
	}
	template, err := caTemplate(c.TrustDomain, "intermediate", a.created, a.certificate.NotAfter)
	if err != nil {
		return err
	}
	template.MaxPathLenZero = true
	certificate, err := sign(template, a.certificate, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("sign intermediate: %w", err)
	}
	a.issuer, a.issuerKey = certificate, key
	return nil
}

// chain returns what an SVID carries above its leaf: never the root.
func (a *authority) chain() []*x509.Certificate {
	if a.issuer == a.certificate {
		return nil
	}
	return []*x509.Certificate{a.issuer}
}

// halfLife is when the successor is due.
func (a *authority) halfLife() time.Time {
	return a.created.Add(a.certificate.NotAfter.Sub(a.created) / 2)
}

func (a *authority) expired(now time.Time) bool { return !now.Before(a.certificate.NotAfter) }

// successorActive says when the successor made now may sign: at two thirds of
// the life when made in time, and no later than half-way to the end otherwise.
func (a *authority) successorActive(now time.Time) time.Time {
	usual := now.Add(a.certificate.NotAfter.Sub(a.created) / 6)
	latest := now.Add(a.certificate.NotAfter.Sub(now) / 2)
	if usual.Before(latest) {
		return usual
	}
	return latest
}

// caTemplate is a signing certificate by the X509-SVID specification, sections
// 3.1 and 4: it names its trust domain and signs nothing but certificates and
// revocation lists. Every one has a name of its own, so that no chain is
// ambiguous.
func caTemplate(td spiffeid.TrustDomain, role string, notBefore, notAfter time.Time) (*x509.Certificate, error) {
	var unique [8]byte
	_, _ = rand.Read(unique[:]) // never fails
	id, err := url.Parse(td.IDString())
	if err != nil {
		return nil, fmt.Errorf("name the trust domain: %w", err)
	}
	return &x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{"Hallmark"},
			CommonName:   role + " " + hex.EncodeToString(unique[:]),
		},
		URIs:                  []*url.URL{id},
		NotBefore:             notBefore.Add(-backdate),
		NotAfter:              roundUp(notAfter),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}, nil
}

// roundUp returns the next whole second: certificates hold no fractions.
func roundUp(t time.Time) time.Time {
	if whole := t.Truncate(time.Second); !whole.Equal(t) {
		return whole.Add(time.Second)
	}
	return t
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, by crypto.Signer) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}
