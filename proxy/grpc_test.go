package proxy

import (
	"testing"

	"github.com/hallmark-mesh/hallmark/test/apps"
)

// TestMessagesAreCounted at both ends, of real gRPC.
func TestMessagesAreCounted(t *testing.T) {
	server := apps.StartGRPC(t)
	p := newPair(t, server.Addr, nil, nil)
	client := server.Via(p.address)
	client.Echo(t, "one")
	client.EchoStream(t, "two", "three", "", string(make([]byte, 100_000)))
	const who = `\{.*source_principal="spiffe://example.org/ns/shop/sa/cart",.*`
	for name, w := range map[string]*workload{"source": p.client, "destination": p.server} {
		eventually(t, "five messages each way at the "+name, func() bool {
			return w.metric(`istio_request_messages_total`+who) == 5 && w.metric(`istio_response_messages_total`+who) == 5
		})
	}
}

// TestExemplars carry the trace of a request that the application has sampled.
func TestExemplars(t *testing.T) {
	p := newPair(t, web(t, whoami), nil, nil)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	get(t, browser(t, 1), "http://"+p.address+"/", "Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	for name, w := range map[string]*workload{"source": p.client, "destination": p.server} {
		eventually(t, "an exemplar at the "+name, func() bool {
			return w.openMetrics(`istio_request_duration_milliseconds_bucket.*# \{.*trace_id="` + trace + `"`)
		})
	}
}
