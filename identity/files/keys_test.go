package files

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"testing"
)

func pkcs1(t *testing.T, key any) []byte {
	t.Helper()
	rsaKey, ok := key.(*rsa.PrivateKey)
	if !ok {
		t.Fatalf("%T is no RSA key", key)
	}
	return x509.MarshalPKCS1PrivateKey(rsaKey)
}

func sec1(key any) ([]byte, error) {
	ec, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("no EC key")
	}
	return x509.MarshalECPrivateKey(ec)
}

func encodeKey(t *testing.T, key any, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func shortRSA(t *testing.T) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	return encodeKey(t, key, err)
}

func p224(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	return encodeKey(t, key, err)
}

func x25519(t *testing.T) []byte {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	return encodeKey(t, key, err)
}
