package issuer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
)

// KeyType names a kind of private key, as SPIRE's configuration does. The zero
// value stands for [P256].
type KeyType string

// The key types that the issuer can make.
const (
	P256    KeyType = "ec-p256"
	P384    KeyType = "ec-p384"
	RSA2048 KeyType = "rsa-2048"
	Ed25519 KeyType = "ed25519"
)

// Validate reports whether k is one of the key types above, or empty.
func (k KeyType) Validate() error {
	switch k {
	case "", P256, P384, RSA2048, Ed25519:
		return nil
	default:
		return fmt.Errorf("unknown key type %.40q: want %s, %s, %s or %s", k, P256, P384, RSA2048, Ed25519)
	}
}

// generate returns a fresh private key.
func (k KeyType) generate() (crypto.Signer, error) {
	switch k {
	case "", P256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	default:
		return nil, k.Validate()
	}
}
