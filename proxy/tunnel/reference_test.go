package tunnel

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
)

// TestReferenceClient: any client of HTTP/2 can open a stream, here net/http's.
func TestReferenceClient(t *testing.T) {
	var served sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{
		Protocols: &protocols,
		DialContext: func(context.Context, string, string) (net.Conn, error) { // perhaps twice
			near, far := tcpPair(t)
			served.Go(func() {
				if err := Serve(ctx, far, Config{Authority: "db:5432"}, echoAll); err != nil && !errors.Is(err, h2.ReasonClosed) && !errors.Is(err, h2.ReasonLost) {
					t.Errorf("Serve: %v", err)
				}
			})
			return near, nil
		},
	}
	body := random(1, 1<<20)
	for authority, want := range map[string]int{"db:5432": http.StatusOK, "other:1": http.StatusMisdirectedRequest} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodConnect, "http://db:5432", struct{ io.Reader }{bytes.NewReader(body)})
		if err != nil {
			t.Fatal(err)
		}
		r.Host, r.ContentLength = authority, -1
		response, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want || want == http.StatusOK && (err != nil || !bytes.Equal(got, body)) {
			t.Errorf("%s: status %d, %d bytes of %d, %v", authority, response.StatusCode, len(got), len(body), err)
		}
	}
	cancel()
	served.Wait()
	transport.CloseIdleConnections()
}
