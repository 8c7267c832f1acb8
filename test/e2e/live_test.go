package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/hallmark-mesh/hallmark/metrics/tap"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// shop is an application that fails below /fail.
func shop(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	app := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/fail") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprintln(w, "the password is swordfish")
	})}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = app.Serve(l) // until it is closed
	}()
	t.Cleanup(func() {
		_ = app.Close()
		<-ended
	})
	return l.Addr().String()
}

// caller sends requests through a pair.
type caller struct {
	t      *testing.T
	client *http.Client
	front  string
}

func newCaller(t *testing.T, front string) *caller {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{t, &http.Client{Transport: transport}, front}
}

func (c *caller) get(path string) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodGet, "http://"+c.front+path, http.NoBody)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Cookie", "swordfish")
	res, err := c.client.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
}

// asking runs hallmark as the workload and returns what it prints and its exit
// status.
func asking(t *testing.T, w e2e.Workload, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), w.Binary, append(args, "--workload-api", w.Endpoint, "--patience", "2m", "--timeout", "2m")...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), errs.String(), failed.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), 0
}

// watching is hallmark tap on its way.
type watching struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

// tapping starts hallmark tap and waits until it watches.
func tapping(t *testing.T, w e2e.Workload, args ...string) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, w.Binary, append([]string{"tap", "--workload-api", w.Endpoint}, args...)...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	said := bufio.NewScanner(stderr)
	if !said.Scan() || !strings.HasPrefix(said.Text(), "watching ") {
		t.Fatalf("hallmark tap says %q", said.Text())
	}
	return &watching{cmd, bufio.NewScanner(stdout)}
}

// next returns the next event.
func (w *watching) next(t *testing.T) tap.Event {
	t.Helper()
	if !w.lines.Scan() {
		t.Fatalf("there is no event: %v", w.lines.Err())
	}
	for _, secret := range []string{"swordfish", "hidden"} {
		if strings.Contains(w.lines.Text(), secret) {
			t.Errorf("%s is shown: %s", secret, w.lines.Text())
		}
	}
	return decode(t, w.lines.Bytes())
}

func decode(t *testing.T, line []byte) (e tap.Event) {
	t.Helper()
	if err := json.Unmarshal(line, &e); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return e
}

// TestLiveView watches a real pair with the real commands: at the inbound side on
// loopback, at the outbound side by mutual TLS.
func TestLiveView(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	cart, store := issuer.Workload(t, client), issuer.Workload(t, server)
	echo := e2e.EchoServer(t)
	p := e2e.RunPair(t, e2e.Ways{
		Client: cart, Server: store, Backends: []string{shop(t), echo},
		OutboundArgs: []string{"--admin-allow", "spiffe://" + e2e.TrustDomain + "/ns/db/*"},
	})
	call := newCaller(t, p.Addr(0))
	call.get("/warm") // so that the first event is one of those below

	// Requests that went well are none that the access log has by default.
	fine := tapping(t, cart, "--admin", p.Inbound.Admin, "--output", "json", "--path", "/api/*", "--peer", cart.ID, "--limit", "2")
	broken := tapping(t, store, "--admin", p.Outbound.Admin, "--expect", cart.ID, "--output", "json", "--failed", "--limit", "1")
	streams := tapping(t, cart, "--admin", p.Inbound.Admin, "--output", "json", "--kind", "connection", "--peer-attribute", "verified:k8s.namespace.name=shop", "--limit", "2")
	other := tapping(t, cart, "--admin", p.Inbound.Admin, "--peer", store.ID)
	call.get("/other")
	call.get("/api/1?q=hidden")
	call.get("/fail")
	call.get("/api/2")
	if err := e2e.Exchange(t.Context(), p.Addr(1)); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 2; i++ {
		e := fine.next(t)
		if e.Kind != tap.KindRequest || e.Request.Path != fmt.Sprintf("/api/%d", i) || e.Request.Status != 200 || e.Failed ||
			e.Source.SPIFFEID != cart.ID || e.Source.Workload != "cart" || e.Source.Provenance != "verified" || e.Destination.SPIFFEID != store.ID {
			t.Errorf("%+v %+v", e.Flow, e.Request)
		}
	}
	if e := fine.next(t); e.Kind != tap.KindEnd || e.End.Reason != "limit" || e.End.Shown != 2 {
		t.Errorf("%+v", e)
	}
	if e := broken.next(t); e.Direction != tap.Outbound || e.Request.Path != "/fail" || e.Request.Status != 500 || e.Destination.SPIFFEID != store.ID {
		t.Errorf("%+v", e)
	}
	opened, closed := streams.next(t), streams.next(t)
	if opened.Kind != tap.KindOpened || closed.Kind != tap.KindClosed || opened.Connection.ID != closed.Connection.ID || closed.Connection.BytesSent == 0 {
		t.Errorf("%+v %+v", opened, closed)
	}
	if err := other.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if other.lines.Scan() {
		t.Errorf("who asks for another peer is shown %s", other.lines.Text())
	}
	rates(t, p, cart, store)
}

// rates asks hallmark stat what it makes of the traffic.
func rates(t *testing.T, p *e2e.Pair, cart, store e2e.Workload) {
	t.Helper()
	out, errs, code := asking(t, cart, "stat", "--admin", p.Inbound.Admin, "--output", "json")
	var s tap.Stat
	if err := json.Unmarshal([]byte(out), &s); err != nil || code != 0 {
		t.Fatalf("exit status %d: %s%s", code, out, errs)
	}
	if s.Self.SPIFFEID != store.ID {
		t.Errorf("self: %+v", s.Self)
	}
	seen := map[string]tap.Edge{}
	for _, e := range s.Edges {
		seen[e.Protocol] = e
	}
	if e := seen["http"]; e.Peer.SPIFFEID != cart.ID || e.Direction != tap.Inbound || e.Total.Requests != 5 || e.Total.RequestsFailed != 1 ||
		e.Total.SuccessRate == nil || *e.Total.SuccessRate != 0.8 || e.Total.P99 == nil || *e.Total.P99 <= 0 {
		t.Errorf("requests: %+v", e)
	}
	if e := seen["tcp"]; e.Peer.SPIFFEID != cart.ID || e.Total.ConnectionsOpened != 1 || e.ConnectionsOpen != 0 || e.Total.BytesSent == 0 {
		t.Errorf("connections: %+v", e)
	}
	out, _, code = asking(t, store, "stat", "--admin", p.Outbound.Admin, "--expect", cart.ID, "--total")
	if code != 0 || !strings.Contains(out, "out  store.db") || !strings.Contains(out, "80.0%") {
		t.Errorf("exit status %d: %s", code, out)
	}
	for _, test := range []struct {
		who  e2e.Workload
		args []string
		code int
		want string
	}{
		{cart, []string{"--expect", cart.ID}, 5, "spec.admin.allow"},        // it is not allowed
		{store, []string{"--expect", store.ID}, 4, "unauthorized identity"}, // it is another that answers
		{store, nil, 3, "needs --expect"},
	} {
		_, errs, code := asking(t, test.who, append([]string{"stat", "--admin", p.Outbound.Admin}, test.args...)...)
		if code != test.code || !strings.Contains(errs, test.want) {
			t.Errorf("%s with %q: exit status %d: %s", test.who.ID, test.args, code, errs)
		}
	}
}

// TestSlowWatcher has one that asks and does not read while requests pass: none of
// them waits for it, and it is told how many it has missed.
func TestSlowWatcher(t *testing.T) {
	issuer := build.Issuer(t, twoWorkloads)
	p := e2e.RunPair(t, e2e.Ways{Client: issuer.Workload(t, client), Server: issuer.Workload(t, server), Backends: []string{shop(t)}})
	narrow := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) }), err)
	}}
	conn, err := narrow.DialContext(t.Context(), "tcp", p.Inbound.Admin)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /api/v1/tap HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer := bufio.NewReader(conn)
	if _, err := answer.Peek(1); err != nil { // it watches
		t.Fatal(err)
	}
	call := newCaller(t, p.Addr(0))
	long := "/" + strings.Repeat("x", 2000) // so that few of them fill the buffers between
	const requests = 4000
	for range requests {
		call.get(long)
	}
	res, err := http.ReadResponse(answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	var shown, dropped uint64
	for lines := bufio.NewReader(res.Body); shown+dropped < requests; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatalf("after %d shown and %d dropped: %v", shown, dropped, err)
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		switch e := decode(t, line); e.Kind {
		case tap.KindRequest:
			shown++
		case tap.KindDropped:
			dropped += e.Dropped
		default:
			t.Errorf("%s", line)
		}
	}
	if dropped == 0 || shown+dropped != requests {
		t.Errorf("%d shown, %d dropped, of %d", shown, dropped, requests)
	}
}
