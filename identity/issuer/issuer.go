package issuer

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
)

// Issuer is a certificate authority with the registrations that it issues for.
// All methods are safe for concurrent use.
type Issuer struct {
	config    Config
	directory *directory // nil: in memory
	limits    *admission

	current atomic.Pointer[view]

	mu        sync.Mutex // serialises changes of current and guards the rest
	fromFiles map[spiffeid.TrustDomain]authorities
	given     map[spiffeid.TrustDomain]authorities
	sequences map[*Issuer]uint64              // of the bundles from followed issuers
	trouble   map[spiffeid.TrustDomain]string // with files, as it was logged last
	followers []*Issuer
	sockets   []*socket

	exporting sync.Mutex // serialises writes of the exported bundle
}

// authorities are the certificates of a bundle.
type authorities []*x509.Certificate

// view is everything that an answer is made from. It is immutable; a change
// replaces it whole.
type view struct {
	sequence    uint64 // of the own bundle
	epoch       uint64 // SVIDs of an earlier one are minted anew
	authorities []*authority
	foreign     map[spiffeid.TrustDomain]authorities
	entries     []*entry
	changed     chan struct{} // closed when this view is replaced
}

// New returns an issuer with its authority opened or made. The caller must call
// [Issuer.Close] in the end. Its error names every mistake in the configuration.
func New(config Config) (*Issuer, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("issuer: configure: %w", err)
	}
	config = config.withDefaults()
	i := &Issuer{
		config:    config,
		limits:    newAdmission(config.Limits),
		given:     make(map[spiffeid.TrustDomain]authorities),
		sequences: make(map[*Issuer]uint64),
		trouble:   make(map[spiffeid.TrustDomain]string),
	}
	i.current.Store(&view{entries: newEntries(config.Workloads, nil), changed: make(chan struct{})})
	if err := i.open(); err != nil {
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

// open brings the authority up to date and reads the foreign bundles.
func (i *Issuer) open() error {
	if err := i.load(); err != nil {
		return fmt.Errorf("issuer: open authority: %w", err)
	}
	if err := i.rotate(time.Now()); err != nil {
		return fmt.Errorf("issuer: open authority: %w", err)
	}
	i.readForeign()
	if err := i.export(); err != nil {
		return fmt.Errorf("issuer: export bundle: %w", err)
	}
	return nil
}

// load takes over the authorities in the directory, if there is one.
func (i *Issuer) load() error {
	if i.config.Directory == "" {
		return nil
	}
	directory, err := openDirectory(i.config.Directory)
	if err != nil {
		return err
	}
	i.directory = directory
	return i.change(func(next *view) error {
		stored, err := directory.read(i.config)
		if err != nil {
			return err
		}
		next.sequence, next.authorities = stored.sequence, stored.authorities
		return nil
	})
}

// Close stops listening, if [Issuer.Serve] has not, and gives up the directory.
func (i *Issuer) Close() error {
	err := i.closeSockets()
	if i.directory != nil {
		err = errors.Join(err, i.directory.close())
	}
	return err
}

// Serve listens on the sockets, unless [Issuer.Listen] has done so already, and
// serves, rotates the authority and watches foreign bundles until ctx ends. It
// then returns nil, with every connection and socket closed; it may be called
// again.
func (i *Issuer) Serve(ctx context.Context) error {
	if err := i.Listen(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return i.keepRotating(ctx) })
	group.Go(func() error { return i.watchForeign(ctx) })
	for _, s := range i.listening() {
		server := i.newServer(s.workloadSocket)
		group.Go(func() error { return serve(ctx, server, s) })
	}
	return errors.Join(group.Wait(), i.closeSockets())
}

// TrustDomain returns the issuer's trust domain.
func (i *Issuer) TrustDomain() spiffeid.TrustDomain { return i.config.TrustDomain }

// Bundle returns the own X.509 bundle as it is now.
func (i *Issuer) Bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(i.config.TrustDomain, i.current.Load().roots())
}

// SetWorkloads replaces the registrations, at once and for open streams too. A
// registration that has not changed keeps its SVID. Sockets of workloads' own
// cannot be added or removed; that takes a new issuer.
func (i *Issuer) SetWorkloads(workloads []Workload) error {
	config := i.config
	config.Workloads = workloads
	if err := config.Validate(); err != nil {
		return fmt.Errorf("issuer: register: %w", err)
	}
	config = config.withDefaults()
	if !maps.Equal(ownSockets(config), ownSockets(i.config)) {
		return errors.New("issuer: register: the workloads' own sockets differ from those at start: restart the issuer to change them")
	}
	return i.change(func(next *view) error {
		next.entries = newEntries(config.Workloads, next.entries)
		return nil
	})
}

// RotateSVIDs mints every SVID anew, at once and for open streams too.
func (i *Issuer) RotateSVIDs() {
	_ = i.change(func(next *view) error {
		next.epoch++
		return nil
	})
}

// newEntries returns the registrations, each with the SVID that an equal one
// among the old ones has.
func newEntries(workloads []Workload, old []*entry) []*entry {
	kept := make(map[string]*entry, len(old))
	for _, e := range old {
		kept[e.workload.fingerprint()] = e
	}
	entries := make([]*entry, len(workloads))
	for n, w := range workloads {
		entries[n] = &entry{workload: w}
		if e := kept[w.fingerprint()]; e != nil {
			entries[n].last = e.lastMinted()
		}
	}
	return entries
}

// fingerprint is equal for registrations that may share an SVID and its key:
// the same holder, the same content.
func (w Workload) fingerprint() string {
	return fmt.Sprintf("%s %q %q %s %q", w.ID, w.Hint, w.Socket, w.Selectors, w.Attributes)
}

// change replaces the view by a changed copy, and tells everybody who waits. An
// error leaves everything as it was.
func (i *Issuer) change(edit func(next *view) error) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	old := i.current.Load()
	next := *old
	next.changed = make(chan struct{})
	if err := edit(&next); err != nil {
		return err
	}
	i.current.Store(&next)
	close(old.changed)
	return nil
}

// roots returns the own bundle's certificates, oldest first.
func (v *view) roots() authorities {
	roots := make(authorities, len(v.authorities))
	for n, a := range v.authorities {
		roots[n] = a.certificate
	}
	return roots
}

func (v *view) holds(a *authority) bool { return slices.Contains(v.authorities, a) }

// signer returns the newest authority that is in force, or nil.
func (v *view) signer(now time.Time) *authority {
	var fallback *authority
	for _, a := range slices.Backward(v.authorities) {
		switch {
		case a.expired(now):
		case !now.Before(a.activeFrom):
			return a
		default:
			fallback = a
		}
	}
	return fallback
}

// der returns the certificates one after the other, as the Workload API takes
// them.
func (a authorities) der() []byte {
	var der []byte
	for _, c := range a {
		der = append(der, c.Raw...)
	}
	return der
}
