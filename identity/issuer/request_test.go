package issuer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// recording is a client's connection that keeps what was written.
type recording struct {
	net.Conn
	mu      *sync.Mutex
	written *bytes.Buffer
}

func (r recording) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.written.Write(b)
	r.mu.Unlock()
	return r.Conn.Write(b)
}

// record returns the bytes that a client sends for one request.
func record(f testing.TB, i *Issuer, request func(context.Context, workload.SpiffeWorkloadAPIClient) error) []byte {
	f.Helper()
	var mu sync.Mutex
	var written bytes.Buffer
	dialer := inMemory(f, i, fake{uid: 7})
	c, ctx := api(f, func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dialer(ctx, address)
		return recording{conn, &mu, &written}, err
	})
	if err := request(ctx, c); err != nil {
		f.Logf("recorded a request that failed: %v", err)
	}
	mu.Lock()
	defer mu.Unlock()
	return bytes.Clone(written.Bytes())
}

// seedRequests returns real requests of several kinds.
func seedRequests(f testing.TB, i *Issuer) [][]byte {
	return [][]byte{
		record(f, i, func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) error {
			stream, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}),
		record(f, i, func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) error {
			stream, err := c.FetchX509Bundles(ctx, &workload.X509BundlesRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		}),
		record(f, i, func(ctx context.Context, c workload.SpiffeWorkloadAPIClient) error {
			_, err := c.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"a", "b"}})
			return err
		}),
		[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
	}
}

// FuzzRequest sends bytes to the server, as a caller that is registered or is
// not. Whatever they are, who is not registered causes no minting and gets
// nothing of the authority, and the server lets go of everything in the end: a
// goroutine that stays behind fails the test.
func FuzzRequest(f *testing.F) {
	seeds := open(f, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
	for _, seed := range seedRequests(f, seeds) {
		f.Add(seed, uint8(7))
		f.Add(seed, uint8(8))
	}
	f.Fuzz(func(t *testing.T, request []byte, uid uint8) {
		synctest.Test(t, func(t *testing.T) {
			i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
			answer := converse(t, inMemory(t, i, fake{uid: uint32(uid)}), request)
			if uid == 7 {
				return
			}
			if i.current.Load().entries[0].lastMinted() != nil {
				t.Error("an SVID was minted for an unregistered caller")
			}
			if root := i.current.Load().authorities[0].certificate.Raw; bytes.Contains(answer, root[:64]) {
				t.Error("an unregistered caller was answered with the authority")
			}
			if streams := i.limits.streams.total + i.limits.connections.total; streams != 0 {
				t.Errorf("%d streams and connections are still counted", streams)
			}
		})
	})
}

// What the fuzzer starts from is real: a registered caller is answered.
func TestRequestsRecordedAreAnswered(t *testing.T) {
	seeds := seedRequests(t, open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}}))
	synctest.Test(t, func(t *testing.T) {
		i := open(t, Config{Workloads: []Workload{{ID: idA, Selectors: Selectors{UID: new(uint32(7))}}}})
		root := i.current.Load().authorities[0].certificate.Raw
		for n, want := range []bool{true, true, false, false} {
			if answer := converse(t, inMemory(t, i, fake{uid: 7}), seeds[n]); bytes.Contains(answer, root) != want {
				t.Errorf("request %d: answered with the bundle: %v, want %v", n, !want, want)
			}
		}
		if i.current.Load().entries[0].lastMinted() == nil {
			t.Error("nothing was minted")
		}
	})
}

// converse sends the request, and returns everything that came until the server
// had nothing more to say.
func converse(t *testing.T, dialer func(context.Context, string) (net.Conn, error), request []byte) []byte {
	t.Helper()
	conn, err := dialer(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var answer bytes.Buffer
	var reading sync.WaitGroup
	reading.Go(func() { _, _ = io.Copy(&answer, conn) })
	_, _ = conn.Write(request)
	synctest.Wait()
	_ = conn.Close()
	reading.Wait()
	synctest.Wait()
	return answer.Bytes()
}

// registrations makes workloads and a caller of a few values out of bytes, so
// that matches and near misses are common.
func registrations(data []byte) ([]Workload, fake) {
	paths := []string{"", "/bin/a", "/bin/b"}
	digests := []string{"", strings.Repeat("0a", 32), strings.Repeat("0A", 32), strings.Repeat("0b", 32)}
	next := func() int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b)
	}
	number := func() *uint32 {
		if n := next() % 4; n > 0 {
			return new(uint32(n))
		}
		return nil
	}
	c := fake{uid: uint32(next() % 4), gid: uint32(next() % 4), path: paths[next()%3], sha256: digests[next()%2]}
	var workloads []Workload
	for len(data) > 0 && len(workloads) < 64 {
		workloads = append(workloads, Workload{
			ID:        spiffeid.RequireFromPathf(td, "/%d", next()%8),
			Selectors: Selectors{UID: number(), GID: number(), Path: paths[next()%3], SHA256: digests[next()%4]},
			Socket:    []string{"", "", "/own"}[next()%3],
		})
	}
	return workloads, c
}

// FuzzSelect compares the selection with a plain reading of the rules.
func FuzzSelect(f *testing.F) {
	f.Add([]byte{1, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0})
	f.Add(binary.BigEndian.AppendUint64(nil, 0x0102030405060708))
	f.Fuzz(func(t *testing.T, data []byte) {
		workloads, c := registrations(data)
		for _, socket := range []string{"", "/own"} {
			got, err := selectFor(newEntries(workloads, nil), socket, c)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, w := range workloads {
				s := w.Selectors
				matches := w.Socket == socket &&
					(s.UID == nil || *s.UID == c.uid) && (s.GID == nil || *s.GID == c.gid) &&
					(s.Path == "" || s.Path == c.path) && (s.SHA256 == "" || strings.ToLower(s.SHA256) == c.sha256)
				if id := w.ID.String(); matches && !slices.Contains(want, id) {
					want = append(want, id)
				}
			}
			var ids []string
			for _, e := range got {
				ids = append(ids, e.workload.ID.String())
			}
			if !slices.Equal(ids, want) {
				t.Fatalf("selected %q, want %q", ids, want)
			}
		}
	})
}

func TestSelectTreatsWhatItCannotFindOutAsNoMatch(t *testing.T) {
	cause := errors.New("cannot look")
	entries := newEntries([]Workload{
		{ID: idA, Selectors: Selectors{UID: new(uint32(1)), Path: "/bin/a"}},
		{ID: idB, Selectors: Selectors{UID: new(uint32(1))}},
	}, nil)
	got, err := selectFor(entries, "", fake{uid: 1, path: "/bin/a", err: cause})
	if len(got) != 1 || got[0].workload.ID != idB || !errors.Is(err, cause) {
		t.Errorf("got %v, %v", got, err)
	}
}
