package workload

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/issuer"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

func TestPicksAmongSeveral(t *testing.T) {
	path := socket(t)
	serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "internal"), registered(db, "external")}})
	for name, test := range map[string]struct {
		config Config
		want   spiffeid.ID
	}{
		"the first": {Config{}, web},
		"by ID":     {Config{ID: db}, db},
		"by hint":   {Config{Hint: "external"}, db},
		"by both":   {Config{ID: web, Hint: "internal"}, web},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, path, test.config)
			if got := until(t, s, "there is an identity", well); got.ID() != test.want {
				t.Errorf("took %s, want %s", got.ID(), test.want)
			}
		})
	}
}

// TestNotOffered asks for what is not there: the trouble names what is, and the
// registration that is missing mends it.
func TestNotOffered(t *testing.T) {
	path := socket(t)
	i := serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "internal")}})
	s := open(t, path, Config{ID: db, Hint: "x"})
	until(t, s, "the trouble is known", func(_ *identity.Snapshot, trouble error) bool { return errors.Is(trouble, ErrNotOffered) })
	for _, want := range []string{db.String(), `hint "x"`, web.String(), `hint "internal"`} {
		if !strings.Contains(s.Err().Error(), want) {
			t.Errorf("%q does not name %s", s.Err(), want)
		}
	}
	if err := i.SetWorkloads([]issuer.Workload{registered(web, ""), registered(db, "x")}); err != nil {
		t.Fatal(err)
	}
	if got := until(t, s, "the identity is there", well); got.ID() != db {
		t.Errorf("took %s", got.ID())
	}
	if err := i.SetWorkloads([]issuer.Workload{registered(web, "")}); err != nil {
		t.Fatal(err)
	}
	until(t, s, "it is withdrawn", func(got *identity.Snapshot, trouble error) bool {
		return got == nil && errors.Is(trouble, ErrNotOffered)
	})
}

// TestUnreachableIsNotNoIdentity tells the two apart, from the first answer on.
func TestUnreachableIsNotNoIdentity(t *testing.T) {
	path := socket(t)
	log, logs := observed()
	s := open(t, path, Config{Logger: log})
	until(t, s, "nobody answers", func(_ *identity.Snapshot, trouble error) bool { return errors.Is(trouble, ErrUnreachable) })
	if _, err := s.Snapshot(); !errors.Is(err, identity.ErrNotReady) || errors.Is(err, ErrNoIdentity) || !strings.Contains(err.Error(), path) {
		t.Errorf("Snapshot: %v", err)
	}
	i := serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{{ID: web, Selectors: issuer.Selectors{UID: new(uint32(os.Getuid() + 1))}}}})
	until(t, s, "no identity is issued", func(_ *identity.Snapshot, trouble error) bool { return errors.Is(trouble, ErrNoIdentity) })
	if err := s.Err(); errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), fmt.Sprintf("uid %d", os.Getuid())) {
		t.Errorf("trouble: %v; want it to name what to register", err)
	}
	if err := i.SetWorkloads([]issuer.Workload{registered(web, "")}); err != nil {
		t.Fatal(err)
	}
	until(t, s, "there is an identity", well)
	for _, message := range []string{"no identity yet", "no identity", "identity received"} {
		if logs.FilterMessage(message).Len() != 1 {
			t.Errorf("logged %q %d times, want once: %v", message, logs.FilterMessage(message).Len(), logs.All())
		}
	}
}

// TestAgentRestarts stops the agent: the last good SVID stays and the source
// says so. Another agent, with another authority, is found at the old address.
func TestAgentRestarts(t *testing.T) {
	path := socket(t)
	first := serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "")}})
	log, logs := observed()
	s := open(t, path, Config{Logger: log})
	before := until(t, s, "there is an identity", well)
	for range 2 {
		first.stop()
		during := until(t, s, "the agent is missed", func(_ *identity.Snapshot, trouble error) bool { return errors.Is(trouble, ErrUnreachable) })
		if during != before {
			t.Error("the last good identity is not in force while the agent is away")
		}
		if logs.FilterMessageSnippet("last good one").Len() == 0 {
			t.Errorf("nothing was said of it: %v", logs.All())
		}
		first = serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "")}})
		after := until(t, s, "the new agent is found", func(got *identity.Snapshot, trouble error) bool {
			return well(got, trouble) && !leaf(got).Equal(leaf(before))
		})
		if after.Generation <= before.Generation || after.Validate() != nil {
			t.Errorf("generation %d after %d: %v", after.Generation, before.Generation, after.Validate())
		}
		before = after
	}
}

func TestRotation(t *testing.T) {
	path := socket(t)
	i := serve(t, issuer.Config{Socket: path, Intermediate: true, Workloads: []issuer.Workload{registered(web, "")}})
	s := open(t, path, Config{})
	before := until(t, s, "there is an identity", well)
	for range 3 {
		i.RotateSVIDs()
		after := until(t, s, "it is replaced", func(got *identity.Snapshot, _ error) bool { return !leaf(got).Equal(leaf(before)) })
		if after.Validate() != nil || after.Generation != before.Generation+1 || len(after.SVID.Certificates) != 2 {
			t.Errorf("generation %d after %d, chain of %d: %v", after.Generation, before.Generation, len(after.SVID.Certificates), after.Validate())
		}
		before = after
	}
}

// TestDeletionWithdraws takes the registration away: the identity is gone at
// once, though its SVID would be valid for an hour.
func TestDeletionWithdraws(t *testing.T) {
	path := socket(t)
	i := serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "")}})
	s := open(t, path, Config{})
	before := until(t, s, "there is an identity", well)
	if err := i.SetWorkloads(nil); err != nil {
		t.Fatal(err)
	}
	until(t, s, "it is withdrawn", func(got *identity.Snapshot, trouble error) bool {
		return got == nil && errors.Is(trouble, ErrNoIdentity)
	})
	if err := i.SetWorkloads([]issuer.Workload{registered(web, "")}); err != nil {
		t.Fatal(err)
	}
	if after := until(t, s, "it is back", well); after.Generation <= before.Generation {
		t.Errorf("generation %d after %d", after.Generation, before.Generation)
	}
}

// TestPassingDenialIsOutlived takes the registration away for a moment, as an
// agent does that replaces tainted SVIDs: the last good one stays in force.
func TestPassingDenialIsOutlived(t *testing.T) {
	path := socket(t)
	i := serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "")}})
	s := open(t, path, Config{Confirm: patience})
	before := until(t, s, "there is an identity", well)
	for range 3 {
		if err := i.SetWorkloads(nil); err != nil {
			t.Fatal(err)
		}
		until(t, s, "it is denied", func(got *identity.Snapshot, trouble error) bool {
			if got == nil {
				t.Fatal("a denial that was not confirmed has withdrawn the identity")
			}
			return errors.Is(trouble, ErrNoIdentity)
		})
		if err := i.SetWorkloads([]issuer.Workload{registered(web, "")}); err != nil {
			t.Fatal(err)
		}
		after := until(t, s, "it is back", well)
		if after.Generation <= before.Generation {
			t.Errorf("generation %d after %d", after.Generation, before.Generation)
		}
		before = after
	}
}

// TestDenialBelievedAtOnce is for who wants that.
func TestDenialBelievedAtOnce(t *testing.T) {
	path := socket(t)
	i := serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "")}})
	s := open(t, path, Config{Confirm: -1})
	until(t, s, "there is an identity", well)
	if err := i.SetWorkloads(nil); err != nil {
		t.Fatal(err)
	}
	until(t, s, "it is withdrawn", func(got *identity.Snapshot, trouble error) bool {
		if got != nil && trouble != nil {
			t.Fatal("a denial is in doubt")
		}
		return got == nil
	})
}

// TestFederatedBundles sees them come and go.
func TestFederatedBundles(t *testing.T) {
	other := ca.New(t, "example.com")
	path := socket(t)
	w := registered(web, "")
	w.FederatesWith = []spiffeid.TrustDomain{other.TrustDomain()}
	i := serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{w}})
	s := open(t, path, Config{})
	until(t, s, "there is an identity", well)
	if err := i.SetForeignBundle(other.Bundle()); err != nil {
		t.Fatal(err)
	}
	until(t, s, "the bundle is there", func(got *identity.Snapshot, _ error) bool { return got.Bundles.Has(other.TrustDomain()) })
	i.RemoveForeignBundle(other.TrustDomain())
	until(t, s, "the bundle is gone", func(got *identity.Snapshot, _ error) bool { return !got.Bundles.Has(other.TrustDomain()) })
}

// TestUnusableAnswers keeps asking whatever the API answers.
func TestUnusableAnswers(t *testing.T) {
	good := ca.New(t, "example.org").Snapshot(t, "/web", identity.Attributes{})
	certificates, key, err := good.SVID.MarshalRaw()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := good.Bundles.GetX509BundleForTrustDomain(td)
	if err != nil {
		t.Fatal(err)
	}
	message := func(key []byte) *workload.X509SVIDResponse {
		return &workload.X509SVIDResponse{Svids: []*workload.X509SVID{{
			SpiffeId: web.String(), X509Svid: certificates, X509SvidKey: key, Bundle: bundle.X509Authorities()[0].Raw,
		}}}
	}
	for name, test := range map[string]struct {
		bad  func(workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error
		want error
	}{
		"not a Workload API": {func(workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
			return status.Error(codes.Unimplemented, "what is that?")
		}, ErrInvalid},
		"refuses the request": {func(workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
			return status.Error(codes.InvalidArgument, "no")
		}, ErrInvalid},
		"no key": {func(s workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error { return s.Send(message(nil)) }, ErrInvalid},
		"empty": {func(s workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
			return s.Send(&workload.X509SVIDResponse{})
		}, ErrInvalid},
		"overloaded": {func(workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
			return status.Error(codes.Unavailable, "later")
		}, ErrUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			mended := make(chan struct{})
			path := serveFake(t, func(s workload.SpiffeWorkloadAPI_FetchX509SVIDServer) error {
				select {
				case <-mended:
				default:
					return test.bad(s)
				}
				if err := s.Send(message(key)); err != nil {
					return err
				}
				<-s.Context().Done()
				return nil
			})
			s := open(t, path, Config{})
			until(t, s, "the trouble is known", func(_ *identity.Snapshot, trouble error) bool { return errors.Is(trouble, test.want) })
			close(mended)
			if got := until(t, s, "there is an identity", well); got.ID() != web {
				t.Errorf("took %s", got.ID())
			}
		})
	}
}

func TestAddress(t *testing.T) {
	t.Setenv(workloadapi.SocketEnv, "")
	if s, err := Open(Config{}); err == nil || !strings.Contains(err.Error(), workloadapi.SocketEnv) {
		t.Errorf("without an address: %v, %v", s, err)
	}
	for _, address := range []string{"/run/agent.sock", "http://localhost", "unix:relative", "tcp://example.org:1"} {
		if s, err := Open(Config{Address: address}); err == nil {
			_ = s.Close()
			t.Errorf("address %q was accepted", address)
		}
	}
	path := socket(t)
	serve(t, issuer.Config{Socket: path, Workloads: []issuer.Workload{registered(web, "")}})
	t.Setenv(workloadapi.SocketEnv, "unix://"+path)
	s, err := Open(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.Wait(ctx); err != nil {
		t.Errorf("with the address in %s: %v", workloadapi.SocketEnv, err)
	}
}

func TestBackoffGrowsWithinItsBounds(t *testing.T) {
	b := backoffStrategy{first: 100 * time.Millisecond, last: time.Second}.NewBackoff()
	due := 100 * time.Millisecond
	for range 8 {
		if got := b.Next(); got < due/2 || got > due {
			t.Errorf("waits %v where %v is due", got, due)
		}
		due = min(2*due, time.Second)
	}
	b.Reset()
	if got := b.Next(); got > 100*time.Millisecond {
		t.Errorf("waits %v after a reset", got)
	}
	unset := backoffStrategy{}.NewBackoff()
	if got := unset.Next(); got > 250*time.Millisecond || got < 125*time.Millisecond {
		t.Errorf("waits %v by default", got)
	}
}
