package issuer

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sys/unix"
)

const (
	authoritiesFile    = "authorities.json"
	authoritiesVersion = 1
	maxAuthoritiesFile = 1 << 20 // bytes
	maxAuthorities     = 64
)

// directory is where an authority outlives the process: one file, replaced
// atomically, in a directory that nobody else can enter and that one issuer at a
// time holds locked.
type directory struct {
	path   string
	handle *os.File // holds the lock
}

// openDirectory makes the directory if need be, checks who can enter it, and
// locks it.
func openDirectory(path string) (*directory, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	handle, err := os.OpenFile(path, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	d := &directory{path: path, handle: handle}
	if err := errors.Join(checkPrivate(handle, 0o700), d.lock()); err != nil {
		return nil, errors.Join(err, handle.Close())
	}
	return d, nil
}

func (d *directory) lock() error {
	err := unix.Flock(int(d.handle.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%s is in use by another issuer: stop it, or give this one a directory of its own", d.path)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", d.path, err)
	}
	return nil
}

// close gives up the lock. It may be called twice.
func (d *directory) close() error {
	if err := d.handle.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// checkPrivate refuses a file or directory that somebody else owns or can use.
func checkPrivate(f *os.File, want fs.FileMode) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %#o, which lets others at the authority's private key: chmod %o it, and make a new authority if somebody may have read it", f.Name(), mode, want)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, and this process runs as uid %d: chown it", f.Name(), stat.Uid, os.Geteuid())
	}
	return nil
}

// stored is what a directory holds.
type stored struct {
	sequence    uint64
	authorities []*authority
}

// storedFile is the form of the file. Certificates and keys (PKCS #8) are PEM.
type storedFile struct {
	Version     int               `json:"version"`
	TrustDomain string            `json:"trustDomain"`
	Sequence    uint64            `json:"sequence"`
	Authorities []storedAuthority `json:"authorities"`
}

type storedAuthority struct {
	Certificate string    `json:"certificate"`
	PrivateKey  string    `json:"privateKey"`
	Created     time.Time `json:"created"`
	ActiveFrom  time.Time `json:"activeFrom"`
}

// read returns the stored authorities, or nothing in a new directory.
func (d *directory) read(c Config) (stored, error) {
	path := filepath.Join(d.path, authoritiesFile)
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return stored{}, nil
	}
	if err != nil {
		return stored{}, err
	}
	defer f.Close()
	if err := checkPrivate(f, 0o600); err != nil {
		return stored{}, err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxAuthoritiesFile+1))
	if err != nil {
		return stored{}, err
	}
	s, err := parseAuthorities(content, c)
	if err != nil {
		return stored{}, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

// write replaces the stored authorities: after a crash, the old file or the new
// one is there, whole.
func (d *directory) write(td spiffeid.TrustDomain, sequence uint64, list []*authority) error {
	content, err := formatAuthorities(td, sequence, list)
	if err != nil {
		return fmt.Errorf("encode authorities: %w", err)
	}
	return replaceFile(filepath.Join(d.path, authoritiesFile), content, 0o600)
}

func formatAuthorities(td spiffeid.TrustDomain, sequence uint64, list []*authority) ([]byte, error) {
	file := storedFile{Version: authoritiesVersion, TrustDomain: td.Name(), Sequence: sequence}
	for _, a := range list {
		key, err := x509.MarshalPKCS8PrivateKey(a.key)
		if err != nil {
			return nil, err
		}
		file.Authorities = append(file.Authorities, storedAuthority{
			Certificate: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})),
			PrivateKey:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
			Created:     a.created.UTC(),
			ActiveFrom:  a.activeFrom.UTC(),
		})
	}
	return json.MarshalIndent(file, "", "  ")
}

func parseAuthorities(content []byte, c Config) (stored, error) {
	if len(content) > maxAuthoritiesFile {
		return stored{}, fmt.Errorf("more than %d bytes", maxAuthoritiesFile)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	var file storedFile
	if err := decoder.Decode(&file); err != nil {
		return stored{}, err
	}
	switch {
	case file.Version != authoritiesVersion:
		return stored{}, fmt.Errorf("version %d is not the %d that this program knows", file.Version, authoritiesVersion)
	case file.TrustDomain != c.TrustDomain.Name():
		return stored{}, fmt.Errorf("it holds the authority of trust domain %.255q, not %q: use another directory", file.TrustDomain, c.TrustDomain.Name())
	case len(file.Authorities) > maxAuthorities:
		return stored{}, fmt.Errorf("%d authorities are more than the %d allowed", len(file.Authorities), maxAuthorities)
	}
	s := stored{sequence: file.Sequence}
	for n, sa := range file.Authorities {
		a, err := sa.parse(c)
		if err != nil {
			return stored{}, fmt.Errorf("authorities[%d]: %w", n, err)
		}
		s.authorities = append(s.authorities, a)
	}
	slices.SortStableFunc(s.authorities, func(a, b *authority) int { return a.created.Compare(b.created) })
	return s, nil
}

func (sa storedAuthority) parse(c Config) (*authority, error) {
	block, _ := pem.Decode([]byte(sa.Certificate))
	if block == nil {
		return nil, errors.New("certificate: no PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	if !certificate.IsCA {
		return nil, errors.New("certificate: not a CA")
	}
	key, err := parseKey(sa.PrivateKey, certificate)
	if err != nil {
		return nil, fmt.Errorf("privateKey: %w", err)
	}
	a := &authority{certificate: certificate, key: key, created: sa.Created, activeFrom: sa.ActiveFrom}
	if a.created.Before(certificate.NotBefore) || a.created.After(certificate.NotAfter) {
		return nil, errors.New("created: outside the certificate's validity")
	}
	return a, a.setIssuer(c)
}

func parseKey(encoded string, certificate *x509.Certificate) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(encoded))
	if block == nil {
		return nil, errors.New("no PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("no PKCS #8 key") // the cause could quote the key
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T does not sign", parsed)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return nil, errors.New("does not belong to the certificate")
	}
	return key, nil
}

// replaceFile writes content beside path, flushes it to the disk and renames it
// over path.
func replaceFile(path string, content []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDirectory(filepath.Dir(path))
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
