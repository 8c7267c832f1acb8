package files

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	maxChain   = 16   // certificates of an SVID
	maxBundle  = 1024 // of a bundle
	minRSABits = 2048
)

// parseSVID makes an X.509-SVID of a PEM chain and a PEM key, which may be the
// same text.
func parseSVID(chainPEM, keyPEM []byte) (*x509svid.SVID, error) {
	chain, err := parseCertificates(chainPEM, maxChain)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if !belongs(key, chain[0]) {
		if i := slices.IndexFunc(chain, func(c *x509.Certificate) bool { return belongs(key, c) }); i > 0 {
			return nil, fmt.Errorf("the private key belongs to certificate %d: the leaf has to come first", i+1)
		}
		return nil, ErrMismatch
	}
	var raw []byte
	for _, c := range chain {
		raw = append(raw, c.Raw...)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	return x509svid.ParseRaw(raw, pkcs8) // which holds them to the X509-SVID specification
}

// parseCertificates returns the certificates of a PEM text, and lets other
// blocks be.
func parseCertificates(text []byte, most int) ([]*x509.Certificate, error) {
	var certificates []*x509.Certificate
	err := eachBlock(text, func(block *pem.Block) error {
		if block.Type != "CERTIFICATE" {
			return nil
		}
		if len(certificates) == most {
			return fmt.Errorf("there are more than %d certificates", most)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		certificates = append(certificates, c)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(certificates) == 0:
		return nil, errors.New("there is no certificate in PEM form")
	}
	return certificates, nil
}

// parseKey returns the one private key of a PEM text, and lets other blocks be.
func parseKey(text []byte) (crypto.Signer, error) {
	var key any
	err := eachBlock(text, func(block *pem.Block) error {
		parse, isKey := keyParsers()[block.Type]
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY", isKey && block.Headers["DEK-Info"] != "":
			return errors.New("the private key is encrypted: decrypt it, and protect the file by its mode")
		case !isKey:
			return nil
		case key != nil:
			return errors.New("there are several private keys")
		}
		var err error
		key, err = parse(block.Bytes)
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case key == nil:
		return nil, errors.New("there is no private key in PEM form")
	}
	return usable(key)
}

// keyParsers returns the forms of private keys, by their PEM types: PKCS #8
// (RFC 5958), PKCS #1 (RFC 8017, appendix A.1.2) and SEC 1 (RFC 5915).
func keyParsers() map[string]func([]byte) (any, error) {
	return map[string]func([]byte) (any, error){
		"PRIVATE KEY":     x509.ParsePKCS8PrivateKey,
		"RSA PRIVATE KEY": func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
		"EC PRIVATE KEY":  func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
	}
}

// usable returns the key if TLS 1.3 can sign with it.
func usable(key any) (crypto.Signer, error) {
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return nil, fmt.Errorf("the private key of %d bits is shorter than %d", bits, minRSABits)
		}
		return key, nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P224() {
			return nil, errors.New("TLS 1.3 does not sign with P-224: make the key P-256")
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	default:
		return nil, fmt.Errorf("TLS 1.3 does not sign with a %T", key)
	}
}

// belongs reports whether the certificate is for the key.
func belongs(key crypto.Signer, c *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

// eachBlock calls do with every block of a PEM text, and refuses a text with a
// block that is malformed, which the decoder would pass over, or cut off: its
// file is being written.
func eachBlock(text []byte, do func(*pem.Block) error) error {
	begun := bytes.Count(text, []byte("-----BEGIN "))
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		begun--
		if err := do(block); err != nil {
			return err
		}
	}
	if begun != 0 {
		return errors.New("a PEM block is malformed or cut off")
	}
	return nil
}

// parseBundle returns the trust domain's X.509 authorities: from the SPIFFE
// bundle format, which is JSON, or from PEM.
func parseBundle(td spiffeid.TrustDomain, text []byte) (*x509bundle.Bundle, error) {
	var authorities []*x509.Certificate
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) {
		bundle, err := spiffebundle.Parse(td, text)
		if err != nil {
			return nil, err
		}
		authorities = bundle.X509Authorities()
	} else {
		var err error
		if authorities, err = parseCertificates(text, maxBundle); err != nil {
			return nil, err
		}
	}
	for _, c := range authorities {
		if !c.IsCA {
			return nil, fmt.Errorf("the certificate of serial %x in the bundle of %s is no authority", c.SerialNumber, td.Name())
		}
	}
	if len(authorities) == 0 {
		return nil, fmt.Errorf("the bundle of %s holds no X.509 authority", td.Name())
	}
	return x509bundle.FromX509Authorities(td, authorities), nil
}
