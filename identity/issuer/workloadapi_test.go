package issuer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

func TestWorkloadAPIGivesGoSPIFFEItsContext(t *testing.T) {
	foreign, unnamed := ca.New(t, "other.org"), ca.New(t, "unnamed.org")
	socket := socketDir(t) + "/agent.sock"
	i := open(t, Config{Socket: socket, Workloads: []Workload{
		{ID: idA, Hint: "internal", Selectors: Selectors{UID: myUID()}, FederatesWith: []spiffeid.TrustDomain{foreign.TrustDomain()}},
		{ID: idB, Hint: "external", Selectors: Selectors{UID: myUID()}},
		{ID: idA, Hint: "twice", Selectors: Selectors{UID: myUID()}},
		{ID: spiffeid.RequireFromString("spiffe://example.org/not-me"), Selectors: Selectors{UID: new(*myUID() + 1)}},
	}})
	for _, domain := range []*ca.Domain{foreign, unnamed} {
		if err := i.SetForeignBundle(domain.Bundle()); err != nil {
			t.Fatal(err)
		}
	}
	run(t, i)

	got, err := client(t, socket).FetchX509Context(limited(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.SVIDs) != 2 || got.SVIDs[0].ID != idA || got.SVIDs[0].Hint != "internal" || got.SVIDs[1].ID != idB || got.SVIDs[1].Hint != "external" {
		t.Fatalf("SVIDs: %v", got.SVIDs)
	}
	for _, svid := range got.SVIDs {
		if id, _, err := x509svid.Verify(svid.Certificates, got.Bundles); err != nil || id != svid.ID {
			t.Errorf("Verify = %v, %v", id, err)
		}
	}
	if got.Bundles.Len() != 2 || !got.Bundles.Has(td) || !got.Bundles.Has(foreign.TrustDomain()) {
		t.Errorf("bundles of an X.509 context: %v", got.Bundles.Bundles())
	}
	bundles, err := client(t, socket).FetchX509Bundles(limited(t))
	if err != nil || bundles.Len() != 2 || !bundles.Has(foreign.TrustDomain()) {
		t.Errorf("FetchX509Bundles = %v, %v", bundles, err)
	}
}

func TestWorkloadAPIX509SourceFollowsRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
		ctx, cancel := context.WithCancel(t.Context())
		source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(
			workloadapi.WithAddr("tcp://127.0.0.1:1"), // replaced by the dialer
			workloadapi.WithDialOptions(grpc.WithContextDialer(inMemory(t, i, fake{uid: 7})))))
		if err != nil {
			t.Fatal(err)
		}
		defer source.Close()
		defer cancel()
		first, err := source.GetX509SVID()
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(DefaultSVIDTTL/2 - time.Second)
		synctest.Wait()
		if early, _ := source.GetX509SVID(); !early.Certificates[0].Equal(first.Certificates[0]) {
			t.Error("rotated before half-life")
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		second, err := source.GetX509SVID()
		if err != nil || second.Certificates[0].Equal(first.Certificates[0]) {
			t.Errorf("not rotated at half-life: %v", err)
		}
		if _, _, err := x509svid.Verify(second.Certificates, source); err != nil {
			t.Error(err)
		}
	})
}

// updates counts what a watcher is sent, and hands it on.
type updates struct {
	contexts chan *workloadapi.X509Context
	errs     chan error
}

func newUpdates() updates {
	return updates{contexts: make(chan *workloadapi.X509Context, 64), errs: make(chan error, 64)}
}

func (u updates) OnX509ContextUpdate(c *workloadapi.X509Context) { u.contexts <- c }
func (u updates) OnX509ContextWatchError(err error)              { u.errs <- err }

// next returns the next update, and fails if none comes.
func (u updates) next(t *testing.T) *workloadapi.X509Context {
	t.Helper()
	select {
	case c := <-u.contexts:
		return c
	case <-time.After(patience):
		t.Fatal("no update came")
		return nil
	}
}

// watch lets a go-spiffe client watch until the test ends.
func watch(t *testing.T, socket string) updates {
	t.Helper()
	u := newUpdates()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	c := client(t, socket)
	done.Go(func() { _ = c.WatchX509Context(ctx, u) })
	t.Cleanup(func() { cancel(); done.Wait() })
	return u
}

func TestWorkloadAPIStreamsEveryChange(t *testing.T) {
	other := ca.New(t, "other.org")
	socket := socketDir(t) + "/agent.sock"
	mine := Workload{ID: idA, Selectors: Selectors{UID: myUID()}, FederatesWith: []spiffeid.TrustDomain{other.TrustDomain()}}
	i := open(t, Config{Socket: socket, Workloads: []Workload{mine}})
	run(t, i)
	u := watch(t, socket)
	first := u.next(t)

	if err := i.SetForeignBundle(other.Bundle()); err != nil {
		t.Fatal(err)
	}
	federated := u.next(t)
	if !federated.Bundles.Has(other.TrustDomain()) || !sameLeaf(federated, first) {
		t.Error("a foreign bundle must come, and the SVID stay")
	}
	i.RemoveForeignBundle(other.TrustDomain())
	if u.next(t).Bundles.Has(other.TrustDomain()) {
		t.Error("a removed bundle must go")
	}

	mine.Attributes = attributes(t, "k8s.pod.name", "a-0")
	if err := i.SetWorkloads([]Workload{mine}); err != nil {
		t.Fatal(err)
	}
	attested := u.next(t)
	if sameLeaf(attested, first) {
		t.Error("other attributes must bring another SVID")
	}
	if err := i.SetWorkloads([]Workload{mine, {ID: idB, Selectors: Selectors{UID: myUID()}}}); err != nil {
		t.Fatal(err)
	}
	if both := u.next(t); len(both.SVIDs) != 2 || !sameLeaf(both, attested) {
		t.Error("one more registration must bring one more SVID and leave the first")
	}

	if err := i.RotateAuthority(); err != nil {
		t.Fatal(err)
	}
	rotated := u.next(t)
	if own, _ := rotated.Bundles.GetX509BundleForTrustDomain(td); len(own.X509Authorities()) != 2 {
		t.Error("both authorities must be in the bundle after a rotation")
	}
	for sameLeaf(rotated, attested) { // bundle and SVIDs may come in two updates
		rotated = u.next(t)
	}
	if _, _, err := x509svid.Verify(attested.SVIDs[0].Certificates, rotated.Bundles); err != nil {
		t.Errorf("what the old authority signed must stay valid: %v", err)
	}
	if err := i.RetireAuthorities(); err != nil {
		t.Fatal(err)
	}
	retired := u.next(t)
	if _, _, err := x509svid.Verify(attested.SVIDs[0].Certificates, retired.Bundles); err == nil {
		t.Error("what a retired authority signed must be refused")
	}
	if _, _, err := x509svid.Verify(retired.SVIDs[0].Certificates, retired.Bundles); err != nil {
		t.Error(err)
	}

	if err := i.SetWorkloads(nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-u.errs:
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("after the registration went: %v", err)
		}
	case <-time.After(patience):
		t.Error("the stream outlived the registration")
	}
}

func sameLeaf(a, b *workloadapi.X509Context) bool {
	return a.SVIDs[0].Certificates[0].Equal(b.SVIDs[0].Certificates[0])
}

func TestWorkloadAPIRestartKeepsAuthority(t *testing.T) {
	dir := socketDir(t)
	config := Config{Socket: dir + "/agent.sock", Directory: dir + "/ca", Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}}}}
	i := open(t, config)
	stop := run(t, i)
	u := watch(t, config.Socket)
	first := u.next(t)
	stop()
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}

	again := open(t, config)
	run(t, again)
	second := u.next(t) // the same client, reconnected
	if sameLeaf(first, second) {
		t.Fatal("a new issuer must have minted anew")
	}
	for _, c := range []*workloadapi.X509Context{first, second} {
		if _, _, err := x509svid.Verify(c.SVIDs[0].Certificates, second.Bundles); err != nil {
			t.Errorf("the authority is not the same after a restart: %v", err)
		}
	}
	if !again.Bundle().Equal(i.Bundle()) {
		t.Error("bundles differ")
	}
}

func TestWorkloadAPIRefusals(t *testing.T) {
	i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
	fetch := func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) error {
		stream, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	bundles := func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) error {
		stream, err := c.FetchX509Bundles(ctx, &workload.X509BundlesRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	jwt := func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) error {
		_, err := c.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"a"}})
		return err
	}
	headers := func(values ...string) metadata.MD { return metadata.MD{securityHeader: values} }
	for name, test := range map[string]struct {
		uid    uint32
		header metadata.MD
		call   func(context.Context, workload.SpiffeWorkloadAPIClient) error
		want   codes.Code
		text   string
	}{
		"registered":         {7, headers("true"), fetch, codes.OK, ""},
		"unregistered":       {8, headers("true"), fetch, codes.PermissionDenied, "no identity issued"},
		"bundles":            {7, headers("true"), bundles, codes.OK, ""},
		"bundles to nobody":  {8, headers("true"), bundles, codes.PermissionDenied, "no identity issued"},
		"no header":          {7, nil, fetch, codes.InvalidArgument, "workload.spiffe.io"},
		"header false":       {7, headers("false"), fetch, codes.InvalidArgument, "workload.spiffe.io"},
		"header twice":       {7, headers("true", "true"), fetch, codes.InvalidArgument, "workload.spiffe.io"},
		"unary, no header":   {7, nil, jwt, codes.InvalidArgument, "workload.spiffe.io"},
		"JWT-SVID":           {7, headers("true"), jwt, codes.Unimplemented, "X.509-SVIDs only"},
		"long header":        {7, metadata.Join(headers("true"), metadata.Pairs("x", strings.Repeat("x", 2*maxHeaders))), fetch, codes.Internal, ""},
		"unknown parameters": {7, metadata.Join(headers("true"), metadata.Pairs("x", "y")), fetch, codes.OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := api(t, inMemory(t, i, fake{uid: test.uid}))
			ctx, cancel := context.WithCancel(metadata.NewOutgoingContext(limited(t), test.header))
			defer cancel()
			err := test.call(ctx, c)
			if name == "long header" && err != nil {
				return // the client's own refusal or the server's, as gRPC likes
			}
			if status.Code(err) != test.want || !strings.Contains(status.Convert(err).Message(), test.text) {
				t.Errorf("got %v, want %v %q", err, test.want, test.text)
			}
		})
	}
}

func TestWorkloadAPIJWTAndWITAreUnimplemented(t *testing.T) {
	i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
	c, ctx := api(t, inMemory(t, i, fake{uid: 7}))
	_, validateErr := c.ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{})
	jwt, _ := c.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
	_, jwtErr := jwt.Recv()
	wit, _ := c.FetchWITSVID(ctx, &workload.WITSVIDRequest{})
	_, witErr := wit.Recv()
	bundles, _ := c.FetchWITBundles(ctx, &workload.WITBundlesRequest{})
	_, bundlesErr := bundles.Recv()
	for _, err := range []error{validateErr, jwtErr, witErr, bundlesErr} {
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("got %v, want Unimplemented", err)
		}
	}
}

func TestLimitsOfRequests(t *testing.T) {
	i := open(t, Config{
		Workloads: []Workload{{ID: idA, Selectors: Selectors{GID: new(uint32(1))}}},
		Limits:    Limits{StreamsPerUID: 2},
	})
	c, ctx := api(t, inMemory(t, i, fake{uid: 7, gid: 1}))
	receive := func() error {
		stream, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	if err := errors.Join(receive(), receive()); err != nil {
		t.Fatal(err)
	}
	if err := receive(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("third stream of one uid: %v", err)
	}
	other, otherCtx := api(t, inMemory(t, i, fake{uid: 8, gid: 1}))
	stream, err := other.FetchX509SVID(otherCtx, &workload.X509SVIDRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Errorf("another uid must not be affected: %v", err)
	}
}

func TestLimitsOfRequestSize(t *testing.T) {
	i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
	c, ctx := api(t, inMemory(t, i, fake{uid: 7}))
	_, err := c.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{strings.Repeat("a", 2*maxRequest)}})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a request of twice the limit: %v", err)
	}
}

func TestLimitsOfConnections(t *testing.T) {
	socket := socketDir(t) + "/agent.sock"
	i := open(t, Config{
		Socket:    socket,
		Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: myUID()}}},
		Limits:    Limits{ConnectionsPerUID: 2},
	})
	run(t, i)
	var conns []net.Conn
	for range 2 {
		conn := greeted(t, socket)
		conns = append(conns, conn)
	}
	third, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if _, err := io.ReadAll(third); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the third connection must be closed, got %v", err)
	}
	conns[0].Close()
	awaitConnections(t, i, 1)
	if _, err := client(t, socket).FetchX509SVID(limited(t)); err != nil {
		t.Errorf("after one has gone there is room again: %v", err)
	}
}

// greeted opens a connection and reads the server's settings: it is accepted.
func greeted(t *testing.T, socket string) net.Conn {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 9)); err != nil {
		t.Fatalf("no settings from the server: %v", err)
	}
	return conn
}

// awaitConnections waits until the issuer counts n connections.
func awaitConnections(t *testing.T, i *Issuer, n int) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	deadline := time.After(patience)
	for {
		i.limits.connections.mu.Lock()
		total := i.limits.connections.total
		i.limits.connections.mu.Unlock()
		if total == n {
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatalf("%d connections are counted, want %d", total, n)
		}
	}
}

func TestLimitsOfSlowReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
		dialer := inMemory(t, i, fake{uid: 7})
		var stall stallingConn
		c, ctx := api(t, func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dialer(ctx, address)
			stall.Conn = conn
			stall.stalled = make(chan struct{})
			return &stall, err
		})
		stream, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err == nil {
			_, err = stream.Recv()
		}
		if err != nil {
			t.Fatal(err)
		}
		stall.stop.Store(true)
		time.Sleep(pingAfterIdle + i.config.Limits.SendTimeout + time.Minute)
		synctest.Wait()
		awaitConnections(t, i, 0)
		close(stall.stalled)
	})
}

func TestLimitsOfCallersThatNeverReceive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var many []Workload
		for n := range 200 { // one answer is larger than the flow-control window
			id := spiffeid.RequireFromPathf(td, "/workload/%d", n)
			many = append(many, Workload{ID: id, Selectors: Selectors{UID: new(uint32(7))}})
		}
		i := open(t, Config{Workloads: many})
		c, ctx := api(t, inMemory(t, i, fake{uid: 7}))
		if _, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		awaitConnections(t, i, 1)
		for range 3 {
			i.RotateSVIDs()
			synctest.Wait()
		}
		time.Sleep(i.config.Limits.SendTimeout + time.Second)
		synctest.Wait()
		awaitConnections(t, i, 0)
	})
}

func TestFeedPublishesEveryGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := open(t, Config{Workloads: []Workload{{
			ID: idA, Attributes: attributes(t, "k8s.pod.name", "a-0"), Selectors: Selectors{UID: new(uint32(7))},
			FederatesWith: []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("other.org")},
		}}})
		two := open(t, Config{TrustDomain: spiffeid.RequireTrustDomainFromString("other.org")})
		var store identity.Store
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { one.Feed(ctx, idA, &store) })
		defer done.Wait()
		defer cancel()
		current := func(generation uint64) *identity.Snapshot {
			t.Helper()
			synctest.Wait()
			s, err := store.Snapshot()
			if err != nil || s.Generation != generation {
				t.Fatalf("snapshot %v, %v: want generation %d", s, err, generation)
			}
			if _, _, err := x509svid.Verify(s.SVID.Certificates, s.Bundles); err != nil {
				t.Error(err)
			}
			return s
		}
		first := current(1)
		if v, _ := first.Attributes.Get("k8s.pod.name"); v != "a-0" {
			t.Errorf("attributes %v", first.Attributes)
		}
		Federate(one, two)
		if s := current(2); s.Bundles.Len() != 2 {
			t.Errorf("%d bundles after federation", s.Bundles.Len())
		}
		time.Sleep(DefaultSVIDTTL/2 + time.Second)
		if s := current(3); s.SVID.Certificates[0].Equal(first.SVID.Certificates[0]) {
			t.Error("not rotated")
		}
		registered := one.config.Workloads
		if err := one.SetWorkloads(nil); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s, err := store.Snapshot(); !errors.Is(err, identity.ErrNotReady) || !strings.Contains(err.Error(), "not registered") {
			t.Errorf("after the registration has gone: %v, %v", s, err)
		}
		if err := one.SetWorkloads(registered); err != nil {
			t.Fatal(err)
		}
		current(4)
	})
}

func TestResponsesCarryNoRevocationListAndStayEqual(t *testing.T) {
	i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
	c, ctx := api(t, inMemory(t, i, fake{uid: 7}))
	receive := func() *workload.X509SVIDResponse {
		stream, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	one, two := receive(), receive()
	if len(one.Crl) != 0 {
		t.Error("a CRL came")
	}
	if !bytes.Equal(one.Svids[0].X509Svid, two.Svids[0].X509Svid) {
		t.Error("two requests of one workload must share an SVID")
	}
}
