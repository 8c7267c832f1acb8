package proxy

import (
	"net"
	"net/http"
	"testing"
)

// TestEngine has the metrics say what is under way while it is, and that nothing
// is when it is over.
func TestEngine(t *testing.T) {
	for version := 1; version <= 2; version++ {
		asked, answer := make(chan struct{}, 1), make(chan struct{})
		p := newPair(t, web(t, func(http.ResponseWriter, *http.Request) {
			asked <- struct{}{}
			<-answer
		}), []string{clientFirst}, nil)
		browser := browser(t, version)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if status, body := get(t, browser, "http://"+p.address+"/"); status != http.StatusOK {
				t.Errorf("got %d %q", status, body)
			}
		}()
		<-asked
		wantEngine(t, p, map[string]float64{"busy": 1})
		close(answer)
		<-done
		wantEngine(t, p, map[string]float64{"idle": 1})
		if n := p.client.metric(`hallmark_pool_waits_total`); n != 1 {
			t.Errorf("%v requests waited for a session, want the first", n)
		}
		if n := p.client.metric(`hallmark_buffer_max_bytes`); n != h2Memory {
			t.Errorf("%v bytes may be buffered", n)
		}
	}
}

// wantEngine waits until the one request is where it should be.
func wantEngine(t *testing.T, p *pair, want map[string]float64) {
	t.Helper()
	for _, state := range []string{"opening", "busy", "idle"} {
		eventually(t, "sessions are "+state, func() bool {
			return p.client.metric(`hallmark_pool_sessions\{state="`+state+`"\}`) == want[state]
		})
	}
	eventually(t, "the connection to the application is busy, or not", func() bool { // idle, it does not stay for long
		return p.server.metric(`hallmark_pool_connections\{state="busy",to="application"\}`) == want["busy"]
	})
	eventually(t, "requests are in flight, or not", func() bool {
		return p.client.metric(`hallmark_http_requests_in_flight\{reporter="source"\}`) == want["busy"] &&
			p.server.metric(`hallmark_http_requests_in_flight\{reporter="destination"\}`) == want["busy"]
	})
	eventually(t, "the session is open", func() bool {
		return p.server.metric(`hallmark_listener_connections_open\{listener="in",reporter="destination"\}`) == 1
	})
	if n := p.client.metric(`hallmark_pool_waiting|hallmark_handshakes_in_progress`); n != 0 {
		t.Errorf("%v wait for what is there", n)
	}
}

// TestEngineRefused: what is refused is not in flight for ever, and a handshake is
// in progress until it is over.
func TestEngineRefused(t *testing.T) {
	p := newPair(t, web(t, whoami), nil, nil)
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request is refused", func() bool { return p.client.metric(`hallmark_http_failures_total\{`) == 1 })
	if n := p.client.metric(`istio_requests_total\{.*destination_service="127.0.0.1".*response_code="400"`); n != 1 {
		t.Errorf("%v requests are counted for the service that they were for", n)
	}
	if n := p.client.metric(`hallmark_http_requests_in_flight`); n != 0 {
		t.Errorf("%v requests in flight", n)
	}
	silent, err := net.Dial("tcp", p.server.address("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	eventually(t, "its handshake is in progress", func() bool { return p.server.metric(`hallmark_handshakes_in_progress`) == 1 })
	_ = silent.Close()
	eventually(t, "its handshake is over", func() bool { return p.server.metric(`hallmark_handshakes_in_progress`) == 0 })
}
