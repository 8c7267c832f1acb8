package proxy

import (
	"io"
	"testing"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// kinds are the ways in which streams cross the network.
func kinds() []string { return []string{"Raw", "Mux"} }

// TestStreamThroughThePair: what the application says arrives, and what is known
// of the caller is recorded, by what the handshake says.
func TestStreamThroughThePair(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			p := newPair(t, echo(t), []string{"  session: " + kind}, nil)
			c := connect(t, p.address)
			if got := say(t, c, "hello"); got != "hello" {
				t.Errorf("got %q", got)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
				t.Errorf("at the end: %q, %v", rest, err)
			}
			eventually(t, "both ends are recorded", func() bool {
				return len(p.client.events.all()) == 1 && len(p.server.events.all()) == 1
			})
			inbound := p.server.events.all()[0]
			switch {
			case inbound.Peer.ID.String() != "spiffe://example.org/ns/shop/sa/cart":
				t.Errorf("caller is %s", inbound.Peer.ID)
			case inbound.Peer.Attributes.Value("k8s.namespace.name", tlsctx.Verified) != "shop":
				t.Errorf("attributes are %v", inbound.Peer.Attributes)
			case inbound.Peer.Attributes.Value("service.name", tlsctx.Asserted) != "cart":
				t.Errorf("attributes are %v", inbound.Peer.Attributes)
			case inbound.Sent != 6 || inbound.Received != 6:
				t.Errorf("%d bytes sent, %d received", inbound.Sent, inbound.Received)
			case inbound.Outcome != metrics.Outcome{Reason: metrics.ReasonOK}:
				t.Errorf("outcome is %+v", inbound.Outcome)
			}
			outbound := p.client.events.all()[0]
			if outbound.Peer == nil || outbound.Peer.ID.String() != "spiffe://example.org/ns/data/sa/db" {
				t.Errorf("server is %+v", outbound.Peer)
			}
		})
	}
}

// TestServerSpeaksFirst: nobody waits for a timeout.
func TestServerSpeaksFirst(t *testing.T) {
	for _, kind := range kinds() {
		t.Run(kind, func(t *testing.T) {
			p := newPair(t, greeter(t), []string{"  session: " + kind}, nil)
			for range 3 {
				c := connect(t, p.address)
				if got := hear(t, c); got != "220 mail.example.org ESMTP" {
					t.Errorf("got %q", got)
				}
				if got := say(t, c, "EHLO me"); got != "EHLO me" {
					t.Errorf("got %q", got)
				}
				_ = c.Close()
			}
			eventually(t, "all are recorded", func() bool { return len(p.server.events.all()) == 3 })
			for _, e := range p.client.events.all() {
				if e.Protocol != tlsctx.SMTP {
					t.Errorf("protocol is %s, by %s", e.Protocol, e.How)
				}
			}
		})
	}
}
