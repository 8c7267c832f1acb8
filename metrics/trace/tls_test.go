package trace

import (
	"crypto/tls"
	"testing"
)

// TestTLS13: whatever else is configured, TLS with a collector is 1.3.
func TestTLS13(t *testing.T) {
	for endpoint, want := range map[string]bool{"https://collector:4317": true, "http://collector:4317": false} {
		c, err := tlsOf(&Settings{Endpoint: endpoint})
		if err != nil || (c != nil) != want {
			t.Fatalf("%s: got %v, %v", endpoint, c, err)
		}
		if c != nil && c.MinVersion != tls.VersionTLS13 {
			t.Errorf("%s: at least version %#x", endpoint, c.MinVersion)
		}
	}
}
