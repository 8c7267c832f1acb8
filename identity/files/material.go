package files

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// maxFile bounds a file, in bytes: a thousand authorities fit.
const maxFile = 1 << 20

// material is what was in the files at one time.
type material struct {
	config    Config
	chain     []byte
	key       []byte
	bundle    []byte
	federated map[spiffeid.TrustDomain][]byte // those that are there
	keyMode   fs.FileMode                     // permission bits, where they mean something
	digest    [sha256.Size]byte               // of all of it
}

// keyFile returns the file that holds the key.
func (c Config) keyFile() string {
	if c.Key == "" {
		return c.Certificates
	}
	return c.Key
}

// load reads the files once.
func (c Config) load() (material, error) {
	m := material{config: c, federated: make(map[spiffeid.TrustDomain][]byte)}
	var err error
	if m.chain, _, err = readFile(c.Certificates); err != nil {
		return m, fmt.Errorf("read certificates: %w", err)
	}
	if m.key, m.keyMode, err = readFile(c.keyFile()); err != nil {
		return m, fmt.Errorf("read private key: %w", err)
	}
	if m.bundle, _, err = readFile(c.Bundle); err != nil {
		return m, fmt.Errorf("read bundle: %w", err)
	}
	for td, path := range c.Federated {
		content, _, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return m, fmt.Errorf("read bundle of %s: %w", td.Name(), err)
		}
		m.federated[td] = content
	}
	m.digest = m.sum()
	return m, nil
}

// readFile reads a file of at most maxFile bytes.
func readFile(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path) // before opening it, which waits if it is a pipe
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return nil, 0, err
	case len(content) > maxFile:
		return nil, 0, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	case runtime.GOOS == "windows": // its mode says nothing about access
		return content, 0, nil
	}
	return content, info.Mode(), nil
}

// sum returns a digest of the contents.
func (m material) sum() (digest [sha256.Size]byte) {
	hash := sha256.New()
	add := func(content []byte) {
		_, _ = hash.Write(binary.BigEndian.AppendUint64(nil, uint64(len(content))))
		_, _ = hash.Write(content)
	}
	add(m.chain)
	add(m.key)
	add(m.bundle)
	for _, td := range m.foreign() {
		add([]byte(td.Name()))
		add(m.federated[td])
	}
	hash.Sum(digest[:0])
	return digest
}

// foreign returns the federated trust domains, sorted.
func (m material) foreign() []spiffeid.TrustDomain {
	var tds []spiffeid.TrustDomain
	for td := range m.federated {
		tds = append(tds, td)
	}
	slices.SortFunc(tds, func(a, b spiffeid.TrustDomain) int { return strings.Compare(a.Name(), b.Name()) })
	return tds
}

// snapshot makes an identity of the contents.
func (m material) snapshot() (*identity.Snapshot, error) {
	svid, err := parseSVID(m.chain, m.key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", m.config.Certificates, m.config.keyFile(), err)
	}
	own, err := parseBundle(svid.ID.TrustDomain(), m.bundle)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.config.Bundle, err)
	}
	bundles := x509bundle.NewSet(own)
	for _, td := range m.foreign() {
		if td == svid.ID.TrustDomain() {
			return nil, fmt.Errorf("%s: a federated bundle cannot be that of the own trust domain %s", m.config.Federated[td], td.Name())
		}
		bundle, err := parseBundle(td, m.federated[td])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.config.Federated[td], err)
		}
		bundles.Add(bundle)
	}
	return &identity.Snapshot{SVID: svid, Bundles: bundles}, nil
}
