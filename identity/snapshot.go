package identity

import (
	"crypto"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Snapshot is one generation of a workload's identity. It is immutable: whoever
// publishes one gives it away, whoever holds one may read it from any goroutine
// and must not change what it points to.
type Snapshot struct {
	// SVID is the workload's X.509-SVID with its chain, leaf first, and its
	// private key.
	SVID *x509svid.SVID

	// Bundles holds the X.509 bundles of the own trust domain and of every
	// federated one.
	Bundles *x509bundle.Set

	// Attributes are this workload's own attributes, as it would assert them.
	Attributes Attributes

	// Generation grows by one with every snapshot that a [Store] publishes.
	// It is zero only for a snapshot that no store has published.
	Generation uint64
}

// ID returns the SPIFFE ID of the workload.
func (s *Snapshot) ID() spiffeid.ID { return s.SVID.ID }

// NotAfter returns the time at which the leaf SVID expires.
func (s *Snapshot) NotAfter() time.Time { return s.SVID.Certificates[0].NotAfter }

// Validate reports whether the snapshot is complete: an SVID with a chain and a
// key that belong together, and a bundle for the SVID's own trust domain. It
// does not judge validity periods; verification does, at the time of use.
func (s *Snapshot) Validate() error {
	switch {
	case s == nil:
		return errors.New("identity: no snapshot")
	case s.SVID == nil || len(s.SVID.Certificates) == 0:
		return errors.New("identity: snapshot holds no X.509-SVID")
	case s.SVID.PrivateKey == nil:
		return fmt.Errorf("identity: snapshot of %q holds no private key", s.SVID.ID)
	case s.Bundles == nil || !s.Bundles.Has(s.SVID.ID.TrustDomain()):
		return fmt.Errorf("identity: snapshot of %q holds no bundle for its own trust domain", s.SVID.ID)
	}
	public, ok := s.SVID.PrivateKey.Public().(interface{ Equal(x crypto.PublicKey) bool })
	if !ok || !public.Equal(s.SVID.Certificates[0].PublicKey) {
		return fmt.Errorf("identity: the private key of %q does not belong to its certificate", s.SVID.ID)
	}
	return nil
}

// Source is where a consumer gets the current snapshot from. Snapshot does not
// block; it returns an error that says why there is none yet, and otherwise the
// last good one, even when the source behind it is away. It is safe for
// concurrent use.
type Source interface {
	Snapshot() (*Snapshot, error)
}

// Static is a [Source] that always returns one snapshot, for tests and for
// programs whose identity does not rotate.
type Static struct{ Current *Snapshot }

// Snapshot returns the one snapshot.
func (s Static) Snapshot() (*Snapshot, error) {
	if s.Current == nil {
		return nil, ErrNotReady
	}
	return s.Current, nil
}
