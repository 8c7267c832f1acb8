package identity_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func TestStoreBeforeAnythingIsPublished(t *testing.T) {
	var s identity.Store
	if _, err := s.Snapshot(); !errors.Is(err, identity.ErrNotReady) {
		t.Errorf("Snapshot: %v, want %v", err, identity.ErrNotReady)
	}
	away := errors.New("away")
	s.Fail(away)
	if _, err := s.Snapshot(); !errors.Is(err, identity.ErrNotReady) || !errors.Is(err, away) {
		t.Errorf("Snapshot: %v, want it to say why", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Wait(ctx); !errors.Is(err, context.Canceled) || !errors.Is(err, away) {
		t.Errorf("Wait: %v, want the context's error and why", err)
	}
}

func TestStorePublishes(t *testing.T) {
	domain := ca.New(t, "example.org")
	var s identity.Store
	first := s.Changed()
	for generation := uint64(1); generation <= 3; generation++ {
		if err := s.Publish(domain.Snapshot(t, "/a", identity.Attributes{})); err != nil {
			t.Fatal(err)
		}
		got, err := s.Snapshot()
		if err != nil || got.Generation != generation {
			t.Errorf("generation %d, %v; want %d", got.Generation, err, generation)
		}
	}
	select {
	case <-first:
	default:
		t.Error("the channel taken before the first publication is not closed")
	}
}

func TestStoreKeepsTheLastGoodSnapshot(t *testing.T) {
	domain := ca.New(t, "example.org")
	good := domain.Snapshot(t, "/a", identity.Attributes{})
	for name, bad := range map[string]*identity.Snapshot{
		"none":            nil,
		"no SVID":         {Bundles: good.Bundles},
		"no bundle":       {SVID: good.SVID},
		"another's key":   {SVID: withKeyOf(good, domain.Snapshot(t, "/b", identity.Attributes{})), Bundles: good.Bundles},
		"foreign bundles": {SVID: good.SVID, Bundles: ca.New(t, "example.com").Bundles()},
	} {
		var s identity.Store
		if err := s.Publish(good); err != nil {
			t.Fatal(err)
		}
		if err := s.Publish(bad); err == nil {
			t.Errorf("%s: was published", name)
		}
		s.Fail(errors.New("away"))
		if got, err := s.Snapshot(); err != nil || got.SVID != good.SVID || s.Err() == nil {
			t.Errorf("%s: the last good snapshot is not in force, or nothing says that it is stale", name)
		}
	}
}

func withKeyOf(a, b *identity.Snapshot) *x509svid.SVID {
	copied := *a.SVID
	copied.PrivateKey = b.SVID.PrivateKey
	return &copied
}

func TestWithdrawnIdentityIsGone(t *testing.T) {
	domain := ca.New(t, "example.org")
	var s identity.Store
	for generation := uint64(1); generation <= 2; generation++ {
		if err := s.Publish(domain.Snapshot(t, "/a", identity.Attributes{})); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Snapshot(); err != nil || got.Generation != generation {
			t.Errorf("generation %d after a withdrawal, %v; want %d: generations never repeat", got.Generation, err, generation)
		}
		denied := errors.New("deregistered")
		s.Withdraw(denied)
		if _, err := s.Snapshot(); !errors.Is(err, identity.ErrNotReady) || !errors.Is(err, denied) {
			t.Errorf("Snapshot of a withdrawn identity: %v", err)
		}
	}
}

func TestAttributesOutliveSnapshots(t *testing.T) {
	domain := ca.New(t, "example.org")
	var s identity.Store
	pod := ca.Attributes(t, "k8s.pod.name", "a")
	s.SetAttributes(pod) // before there is a snapshot
	for range 2 {
		if err := s.Publish(domain.Snapshot(t, "/a", identity.Attributes{})); err != nil {
			t.Fatal(err)
		}
		if got, _ := s.Snapshot(); !got.Attributes.Equal(pod) {
			t.Errorf("attributes %v, want %v", got.Attributes, pod)
		}
	}
	other := ca.Attributes(t, "k8s.pod.name", "b")
	s.SetAttributes(other)
	if got, _ := s.Snapshot(); !got.Attributes.Equal(other) || got.Generation != 3 {
		t.Errorf("after a change: attributes %v of generation %d, want %v of 3", got.Attributes, got.Generation, other)
	}
}

// TestNoSnapshotIsMixed reads while another goroutine publishes, and expects key
// and certificate of one generation each time.
func TestNoSnapshotIsMixed(t *testing.T) {
	domain := ca.New(t, "example.org")
	var s identity.Store
	snapshots := make([]*identity.Snapshot, 8)
	for i := range snapshots {
		snapshots[i] = domain.Snapshot(t, "/a", identity.Attributes{})
	}
	if err := s.Publish(snapshots[0]); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for last := uint64(0); ; {
				got, err := s.Snapshot()
				if err != nil || got.Validate() != nil || got.Generation < last {
					t.Errorf("a reader saw generation %d after %d: %v", got.Generation, last, err)
					return
				}
				last = got.Generation
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for i := range 2000 {
		if err := s.Publish(snapshots[i%len(snapshots)]); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	wg.Wait()
}
