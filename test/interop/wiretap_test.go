package interop

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"net"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"
)

// wiretap records what our end of a connection sends, and the secrets to read
// it with.
type wiretap struct {
	net.Conn
	mu   sync.Mutex
	sent bytes.Buffer
	keys bytes.Buffer
}

func (w *wiretap) Write(p []byte) (int, error) {
	w.mu.Lock()
	w.sent.Write(p)
	w.mu.Unlock()
	return w.Conn.Write(p)
}

// keyLog takes what crypto/tls writes to Config.KeyLogWriter.
type keyLog struct{ *wiretap }

func (k keyLog) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.keys.Write(p)
}

// certificates decrypts the handshake and returns the certificates that our end
// sent in its Certificate message. label is CLIENT or SERVER, our role.
func (w *wiretap) certificates(t *testing.T, label string, suite uint16) []*x509.Certificate {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	secret := w.secret(t, label+"_HANDSHAKE_TRAFFIC_SECRET")
	message := certificateMessage(t, decrypt(t, w.sent.Bytes(), newOpener(t, suite, secret)))
	return parseCertificates(t, message)
}

func (w *wiretap) secret(t *testing.T, name string) []byte {
	t.Helper()
	for line := range strings.Lines(w.keys.String()) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == name {
			secret, err := hex.DecodeString(fields[2])
			if err != nil {
				t.Fatal(err)
			}
			return secret
		}
	}
	t.Fatalf("no %s in the key log", name)
	return nil
}

// opener removes the protection of one direction's handshake records (RFC 8446,
// section 5.2).
type opener struct {
	aead cipher.AEAD
	iv   []byte
	seq  uint64
}

func newOpener(t *testing.T, suite uint16, secret []byte) *opener {
	t.Helper()
	h, keyLen := func() hash.Hash { return sha256.New() }, 16
	switch suite {
	case tls.TLS_AES_256_GCM_SHA384:
		h, keyLen = sha512.New384, 32
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		keyLen = 32
	}
	key, iv := expandLabel(t, h, secret, "key", keyLen), expandLabel(t, h, secret, "iv", 12)
	if suite == tls.TLS_CHACHA20_POLY1305_SHA256 {
		aead, err := chacha20poly1305.New(key)
		if err != nil {
			t.Fatal(err)
		}
		return &opener{aead: aead, iv: iv}
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return &opener{aead: aead, iv: iv}
}

// expandLabel is HKDF-Expand-Label with an empty context (RFC 8446, section 7.1).
func expandLabel(t *testing.T, h func() hash.Hash, secret []byte, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := fmt.Sprintf("%c%c%c%s%c", n>>8, n, len(label), label, 0)
	out, err := hkdf.Expand(h, secret, info, n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (o *opener) open(header, record []byte) ([]byte, error) {
	nonce := bytes.Clone(o.iv)
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], o.seq)
	for i, b := range seq {
		nonce[len(nonce)-8+i] ^= b
	}
	o.seq++
	return o.aead.Open(nil, nonce, record, header)
}

// decrypt returns the handshake bytes of all records that the opener can open:
// those after them are protected by other keys.
func decrypt(t *testing.T, sent []byte, o *opener) []byte {
	t.Helper()
	var handshake []byte
	for len(sent) >= 5 {
		n := 5 + int(binary.BigEndian.Uint16(sent[3:]))
		if n > len(sent) {
			break
		}
		header, record := sent[:5], sent[5:n]
		sent = sent[n:]
		if header[0] != 23 { // ClientHello, ServerHello, ChangeCipherSpec
			continue
		}
		plain, err := o.open(header, record)
		if err != nil {
			break
		}
		plain = bytes.TrimRight(plain, "\x00")
		if len(plain) > 0 && plain[len(plain)-1] == 22 {
			handshake = append(handshake, plain[:len(plain)-1]...)
		}
	}
	return handshake
}

// certificateMessage returns the body of the Certificate message (RFC 8446,
// section 4.4.2).
func certificateMessage(t *testing.T, handshake []byte) []byte {
	t.Helper()
	for len(handshake) >= 4 {
		n := 4 + int(handshake[1])<<16 + int(handshake[2])<<8 + int(handshake[3])
		if n > len(handshake) {
			break
		}
		if handshake[0] == 11 {
			return handshake[4:n]
		}
		handshake = handshake[n:]
	}
	t.Fatal("we sent no Certificate message, or the wiretap cannot read it")
	return nil
}

func parseCertificates(t *testing.T, message []byte) []*x509.Certificate {
	t.Helper()
	list := message[1+int(message[0])+3:]
	var certs []*x509.Certificate
	for len(list) > 0 {
		n := int(list[0])<<16 + int(list[1])<<8 + int(list[2])
		c, err := x509.ParseCertificate(list[3 : 3+n])
		if err != nil {
			t.Fatal(err)
		}
		certs = append(certs, c)
		list = list[3+n:]
		list = list[2+int(binary.BigEndian.Uint16(list)):]
	}
	return certs
}
