package tlsctx

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/ca"
)

// TestEveryReasonIsReached makes one handshake fail for each of them.
func TestEveryReasonIsReached(t *testing.T) {
	// Each returns the side that finds the reason.
	client := func(m *mesh, t *testing.T) outcome { c, _ := m.shake(t); return c }
	server := func(m *mesh, t *testing.T) outcome { _, s := m.shake(t); return s }
	unshaken := func(do func(net.Conn)) func(*mesh, *testing.T) outcome {
		return func(m *mesh, t *testing.T) outcome {
			near, far := tcpPair(t)
			defer far.Close()
			do(far)
			conn, err := Client(t.Context(), near, &m.client)
			return outcome{conn, err}
		}
	}
	reached := map[Reason]bool{}
	for _, test := range []struct {
		reason Reason
		change func(*mesh, *testing.T)
		run    func(*mesh, *testing.T) outcome
	}{
		{NoIdentity, func(m *mesh, _ *testing.T) { m.server.Source = static(nil) }, server},
		{NoOverlap, func(m *mesh, _ *testing.T) { m.client.Sessions = []Session{H2} }, client},
		{NoALPN, func(m *mesh, _ *testing.T) { m.client.Sessions, m.server.Awareness = []Session{}, Require }, server},
		{MalformedALPN, nil, func(m *mesh, t *testing.T) outcome {
			chain, key := chainOf(snapshotIn(t, m.client.Source))
			s, _ := m.againstServer(t, peerOf(chain, key, "hallmark/1/raw/a/b"))
			return s
		}},
		{InvalidSVID, func(m *mesh, t *testing.T) {
			m.client.Source = static(m.domain.Snapshot(t, clientPath, ca.Attributes(t), ca.WithURIs(t)))
		}, server},
		{Untrusted, func(m *mesh, t *testing.T) {
			impostor := ca.New(t, "example.org").Snapshot(t, clientPath, ca.Attributes(t))
			impostor.Bundles = m.domain.Bundles()
			m.client.Source = static(impostor)
		}, server},
		{Expired, func(m *mesh, t *testing.T) {
			m.client.Source = static(m.domain.Snapshot(t, clientPath, ca.Attributes(t), ca.Expired()))
		}, server},
		{Unauthorized, func(m *mesh, _ *testing.T) { m.server.Policy.Authorize = AuthorizeID() }, server},
		{MissingContext, nil, func(m *mesh, t *testing.T) outcome {
			chain, key := chainOf(snapshotIn(t, m.client.Source))
			s, _ := m.againstServer(t, peerOf(chain, key, "hallmark/1/raw/unknown"))
			return s
		}},
		{UnexpectedContext, nil, func(m *mesh, t *testing.T) outcome {
			cert, err := certificate(snapshotIn(t, m.client.Source), &Context{})
			if err != nil {
				t.Fatal(err)
			}
			s, _ := m.againstServer(t, peerOf(cert.Certificate, cert.PrivateKey))
			return s
		}},
		{MalformedContext, nil, func(m *mesh, t *testing.T) outcome {
			own := snapshotIn(t, m.client.Source)
			chain, key := chainOf(own)
			forged := profileOf(own.SVID.Certificates[0], []byte{0x30, 0x00}).encode()
			s, _ := m.againstServer(t, peerOf(append(chain, forged), key, "hallmark/1/raw/unknown"))
			return s
		}},
		{ContradictingContext, func(m *mesh, t *testing.T) {
			m.client.Policy.Templates = nil
			m.client.Source = static(m.domain.Snapshot(t, clientPath, ca.Attributes(t, "k8s.namespace.name", "admin")))
		}, server},
		{TooLarge, nil, func(m *mesh, t *testing.T) outcome {
			chain, key := chainOf(snapshotIn(t, m.client.Source))
			for range maxCertificates {
				chain = append(chain, chain[0])
			}
			s, _ := m.againstServer(t, peerOf(chain, key))
			return s
		}},
		{RefusedByPeer, func(m *mesh, _ *testing.T) { m.server.Policy.Authorize = AuthorizeID() }, client},
		{ClosedByPeer, nil, unshaken(func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() })},
		{TimedOut, func(m *mesh, _ *testing.T) { m.client.Timeout = 1 }, unshaken(func(net.Conn) {})},
		{Canceled, nil, func(m *mesh, t *testing.T) outcome {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			near, far := tcpPair(t)
			defer far.Close()
			conn, err := Client(ctx, near, &m.client)
			return outcome{conn, err}
		}},
		{ProtocolFailure, nil, unshaken(func(c net.Conn) { _, _ = io.WriteString(c, "220 mail.example.org\r\n") })},
	} {
		reached[test.reason] = true
		t.Run(string(test.reason), func(t *testing.T) {
			m := newMesh(t)
			if test.change != nil {
				test.change(m, t)
			}
			e := wantReason(t, test.run(m, t), test.reason)
			spelled := strings.ReplaceAll(string(test.reason), "_", " ")
			if !strings.HasPrefix(e.Error(), "tlsctx: handshake: "+spelled) {
				t.Errorf("error reads %q", e)
			}
			for other := range reached {
				if other != test.reason && errors.Is(e, other) {
					t.Errorf("is %s as well", other)
				}
			}
		})
	}
	if len(reached) != len(reasons) {
		t.Errorf("%d reasons reached, of %d", len(reached), len(reasons))
	}
}

// reasons are all of them, as SPEC.md lists them; TestSpecListsEveryReason holds
// the two together.
var reasons = []Reason{
	NoIdentity, NoOverlap, NoALPN, MalformedALPN, InvalidSVID, Untrusted, Expired, Unauthorized, MissingContext,
	UnexpectedContext, MalformedContext, ContradictingContext, TooLarge, RefusedByPeer, ClosedByPeer, TimedOut,
	Canceled, ProtocolFailure,
}

// TestClientWithoutCertificateIsNamed: crypto/tls has no type for it.
func TestClientWithoutCertificateIsNamed(t *testing.T) {
	m := newMesh(t)
	server, client := m.againstServer(t, &tls.Config{InsecureSkipVerify: true})
	wantReason(t, server, InvalidSVID)
	if alert, ok := remoteAlert(client.err); !ok || alert != 116 {
		t.Errorf("the client sees %v, want alert 116, certificate_required", client.err)
	}
}

// TestNoOverlapIsAlert120 on the wire, whatever the client offers.
func TestNoOverlapIsAlert120(t *testing.T) {
	for _, alpn := range [][]string{{"ftp"}, {"hallmark/"}, {"hallmark/1/later/unknown"}, {"hallmark/2/raw/unknown"}, {"h2", "http/1.1"}} {
		m := newMesh(t)
		chain, key := chainOf(snapshotIn(t, m.client.Source))
		server, client := m.againstServer(t, peerOf(chain, key, alpn...))
		wantReason(t, server, NoOverlap)
		if alert, ok := remoteAlert(client.err); !ok || alert != alertNoApplicationProtocol {
			t.Errorf("%q: the client sees %v", alpn, client.err)
		}
	}
}

// TestRefusalShowsOnTheFirstReadOnly: an alert after the first byte is what it
// is.
func TestRefusalShowsOnTheFirstReadOnly(t *testing.T) {
	for name, test := range map[string]struct {
		greeting string
		want     Reason
	}{"before": {"", RefusedByPeer}, "after": {"hello", ""}} {
		t.Run(name, func(t *testing.T) {
			m := newMesh(t)
			chain, key := chainOf(snapshotIn(t, m.server.Source))
			near, far := tcpPair(t)
			served := make(chan struct{})
			go func() {
				defer close(served)
				conn := tls.Server(far, peerOf(chain, key))
				if conn.Handshake() == nil {
					_, _ = io.WriteString(conn, test.greeting)
					_, _ = conn.Read(make([]byte, 1)) // fails, and sends an alert
				}
				_, _ = io.Copy(io.Discard, far)
				_ = far.Close()
			}()
			conn, err := Client(t.Context(), near, &m.client)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := near.Write([]byte("\x17\x03\x03\x00\x20" + strings.Repeat("x", 32))); err != nil {
				t.Fatal(err)
			}
			read, err := io.ReadAll(conn)
			if _, alerted := remoteAlert(err); !alerted || string(read) != test.greeting || ReasonOf(err) != test.want {
				t.Errorf("read %q, %v, want reason %q", read, err, test.want)
			}
			_ = conn.Close()
			<-served
		})
	}
}

// TestRefusalReachesAClientThatWritesAtOnce: bytes in flight when the server
// refuses must not turn its alert into a reset.
func TestRefusalReachesAClientThatWritesAtOnce(t *testing.T) {
	m := newMesh(t)
	m.server.Policy.Authorize = AuthorizeID()
	for range 20 {
		near, far := tcpPair(t)
		done := make(chan error)
		go func() {
			_, err := Server(t.Context(), far, &m.server)
			done <- err
		}()
		conn, err := Client(t.Context(), near, &m.client)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(make([]byte, 1000))
		_, err = conn.Read(make([]byte, 1))
		wantReason(t, outcome{err: err}, RefusedByPeer)
		_ = conn.Close()
		wantReason(t, outcome{err: <-done}, Unauthorized)
	}
}

// TestErrorTextHoldsNothingRaw: whatever stands below an Error.
func TestErrorTextHoldsNothingRaw(t *testing.T) {
	evil := "\x1b[31m\x00\r\n\u202egnp.exe\u200b\xff" + strings.Repeat("A", 100_000)
	e := &Error{Reason: Untrusted, Claimed: mustID(t, "spiffe://example.org/x"), Err: errors.New(evil)}
	checkText(t, e)
	if text := e.Error(); !strings.Contains(text, "untrusted identity (claimed spiffe://example.org/x): ") {
		t.Error(text)
	}
}

// TestClassify gives what the network and crypto/tls say its reason.
func TestClassify(t *testing.T) {
	for _, test := range []struct {
		err  error
		want Reason
	}{
		{io.EOF, ClosedByPeer},
		{io.ErrUnexpectedEOF, ClosedByPeer},
		{&net.OpError{Op: "read", Err: syscall.ECONNRESET}, ClosedByPeer},
		{&net.OpError{Op: "write", Err: syscall.EPIPE}, ClosedByPeer},
		{&net.OpError{Op: "remote error", Err: errors.New("not an alert")}, ProtocolFailure},
		{tls.RecordHeaderError{Msg: "\x1b", RecordHeader: [5]byte{1}}, ProtocolFailure},
		{tls.AlertError(0), ProtocolFailure},
		{context.DeadlineExceeded, ProtocolFailure},
		{failure(Expired, "x"), Expired},
	} {
		e := classify(t.Context(), test.err)
		if e.Reason != test.want {
			t.Errorf("%v is %s, want %s", test.err, e.Reason, test.want)
		}
		checkText(t, e)
	}
	if ReasonOf(errors.New("x")) != "" || ReasonOf(nil) != "" {
		t.Error("ReasonOf what is not ours")
	}
}
