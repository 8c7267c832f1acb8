package proxy

import (
	"fmt"
	"io"
	"net/http"
	"testing"

	"golang.org/x/net/http2"
)

// TestHTTP2LimitsAreSettings: an application's connection is ended by the limit
// that is configured, and not by another.
func TestHTTP2LimitsAreSettings(t *testing.T) {
	for limit, c := range map[string]struct {
		settings string
		each     func(w *http2.Framer) error
	}{
		"ping_flood":     {"pings: 3, pingsPerSecond: 1", func(w *http2.Framer) error { return w.WritePing(false, [8]byte{}) }},
		"settings_flood": {"settings: 3, settingsPerSecond: 1", func(w *http2.Framer) error { return w.WriteSettings() }},
		"unknown_frame_flood": {"unknownFrames: 3, unknownFramesPerSecond: 1", func(w *http2.Framer) error {
			return w.WriteRawFrame(0xfa, 0, 0, nil)
		}},
	} {
		t.Run(limit, func(t *testing.T) {
			for settings, met := range map[string]float64{c.settings: 1, "": 0} {
				p := newPair(t, web(t, func(http.ResponseWriter, *http.Request) {}), []string{fmt.Sprintf(`
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec: {limits: {http2: {%s}}}
`, settings)}, nil)
				conn := connect(t, p.address)
				if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
					t.Fatal(err)
				}
				w := http2.NewFramer(conn, conn)
				if err := w.WriteSettings(); err != nil {
					t.Fatal(err)
				}
				for range 10 {
					if err := c.each(w); err != nil {
						break // it has been ended already
					}
				}
				_ = conn.CloseWrite()
				_, _ = io.Copy(io.Discard, conn)
				counted := func() float64 { return p.client.metric(`hallmark_limits_met_total\{limit="` + limit + `"`) }
				eventually(t, "the connection has ended", func() bool { return p.client.metric(`hallmark_connections_open\{`) == 0 })
				if n := counted(); n != met {
					t.Errorf("with {%s} the limit was met %v times, want %v", settings, n, met)
				}
			}
		})
	}
}

// TestHeaderTimeoutOfHTTP2: a header block may take as long as a head.
func TestHeaderTimeoutOfHTTP2(t *testing.T) {
	p := newPair(t, web(t, func(http.ResponseWriter, *http.Request) {}), []string{`
---
apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: p}
spec: {http: {timeouts: {header: 50ms}}}
`}, nil)
	conn := connect(t, p.address)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	w := http2.NewFramer(conn, conn)
	if err := w.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}); err != nil { // and no end
		t.Fatal(err)
	}
	eventually(t, "the connection is ended", func() bool {
		return p.client.metric(`hallmark_limits_met_total\{limit="slow_headers"`) == 1
	})
}
