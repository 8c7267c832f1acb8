package http

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// seen is what a server made of a connection: each request as it understood it.
type seen struct {
	mu     sync.Mutex
	list   []string
	active map[net.Conn]bool // connections with a request under way
	quiet  sync.Cond

	patience time.Duration // with clients; 0: any
}

// listen serves HTTP/1 until the test ends.
func (s *seen) listen(t *testing.T) string {
	t.Helper()
	s.quiet.L = &s.mu
	s.active = make(map[net.Conn]bool)
	server := httptest.NewUnstartedServer(s)
	server.Config.DisableGeneralOptionsHandler = true
	server.Config.ReadTimeout = s.patience
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if state == http.StateNew || state == http.StateActive {
			s.active[c] = true
			return
		}
		delete(s.active, c)
		s.quiet.Broadcast()
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// ServeHTTP notes a request whose content came to its end.
func (s *seen) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, understood(r.Method, r.RequestURI, body))
}

// understood writes a request down. Absolute-form is the same as origin-form for
// what the request means to a server.
func understood(method, uri string, body []byte) string {
	if _, rest, ok := strings.Cut(uri, "://"); ok && !strings.HasPrefix(uri, "/") {
		uri = "/"
		if i := strings.IndexAny(rest, "/?"); i >= 0 {
			uri = "/" + strings.TrimPrefix(rest[i:], "/")
		}
	}
	return fmt.Sprintf("%s %s %q", method, form(method, uri), body)
}

// form makes one of what OPTIONS * becomes on its way: nginx does not do what RFC
// 9112, section 3.2.4, asks of a proxy.
func form(method, uri string) string {
	if method == "OPTIONS" && uri == "*" {
		return "/"
	}
	return uri
}

// take returns the requests when none is under way any more.
func (s *seen) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.active) > 0 {
		s.quiet.Wait()
	}
	list := s.list
	s.list = nil
	return list
}

// reader is one way to read a connection.
type reader struct {
	name    string
	address string
	seen    *seen
	proxy   *proxy // nil for those of others
}

// oddCases returns the requests of the corpus, a Go string a line, by file.
func oddCases(t *testing.T) (cases []string) {
	t.Helper()
	files, err := filepath.Glob("testdata/odd/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no corpus", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			c, err := strconv.Unquote(line)
			if err != nil {
				t.Fatalf("%s:%d: %v", file, i+1, err)
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// sentinel follows each case: whoever is in step answers it, and closes.
const sentinel = "GET /sentinel HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n"

// patience is how long each reader waits for more of a request, or for another.
const patience = 200 * time.Millisecond

// impatient gives a proxy no more than patience, so that the proxy ends the
// connection where it waits for more than there is. A client that did would end
// one now and then on which a request is under way: then nobody knows whether the
// server gets it, and when.
func impatient(c Config) Config {
	c.Timeouts.Header, c.Timeouts.Idle, c.Timeouts.Body = patience, patience, patience
	return c
}

// exchangeBytes sends a case and waits until the reader ends the connection.
func exchangeBytes(t *testing.T, r reader, text string) {
	conn, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	io.WriteString(conn, text+sentinel)
	conn.SetReadDeadline(time.Now().Add(deadline))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%.300q: %s does not end the connection", text, r.name)
	}
}

const workers = 8

// TestOdd: each odd request is refused, or forwarded in exactly one reading: what
// the server behind the proxy understands is what the proxy says that it
// forwarded, and neither net/http nor nginx, where they take it, understands the
// same bytes otherwise.
func TestOdd(t *testing.T) {
	cases := oddCases(t)
	if len(cases) < 1000 {
		t.Fatalf("only %d cases", len(cases))
	}
	readers := make([][]reader, workers)
	for i := range readers {
		readers[i] = ownReaders(t)
	}
	startNginx(t, readers)
	work := make(chan string)
	var wg sync.WaitGroup
	var mu sync.Mutex
	forwarded := 0
	for _, rs := range readers {
		wg.Go(func() {
			for text := range work {
				n := compareReadings(t, rs, text)
				mu.Lock()
				forwarded += n
				mu.Unlock()
			}
		})
	}
	for _, text := range cases {
		work <- text
	}
	close(work)
	wg.Wait()
	t.Logf("%d cases, %d of them forwarded", len(cases), forwarded)
	if forwarded < 200 {
		t.Errorf("only %d cases were forwarded at all", forwarded)
	}
}

func ownReaders(t *testing.T) []reader {
	t.Helper()
	direct, over, std := new(seen), new(seen), new(seen)
	inbound := start(t, tlsctx.HTTP2, to(plain(t, over.listen(t), tlsctx.HTTP1)))
	outbound := start(t, tlsctx.HTTP1, impatient(to(session(t, inbound.address))))
	relay := start(t, tlsctx.HTTP1, impatient(to(plain(t, direct.listen(t), tlsctx.HTTP1))))
	std.patience = patience
	return []reader{
		{"relay", relay.address, direct, relay},
		{"pair", outbound.address, over, outbound},
		{"net/http", std.listen(t), std, nil},
	}
}

// startNginx adds nginx to each worker's readers, as a proxy that passes on what
// it understood.
func startNginx(t *testing.T, readers [][]reader) {
	t.Helper()
	dir := t.TempDir()
	var servers strings.Builder
	for i := range readers {
		behind := new(seen)
		address := components.FreeAddr(t)
		fmt.Fprintf(&servers, "server { listen %s; location / { proxy_pass http://%s; proxy_set_header Host $http_host; } }\n", address, behind.listen(t))
		readers[i] = append(readers[i], reader{"nginx", address, behind, nil})
	}
	config := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 512; }
http { access_log off; client_header_timeout %[3]s; client_body_timeout %[3]s; keepalive_timeout %[3]s; client_body_temp_path %[1]s/a; proxy_temp_path %[1]s/b; fastcgi_temp_path %[1]s/c; uwsgi_temp_path %[1]s/d; scgi_temp_path %[1]s/e;
%[2]s}
`, dir, servers.String(), fmt.Sprint(patience))
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	components.Start(t, components.Process{
		Path:  components.Command(t, "nginx"),
		Args:  []string{"-e", filepath.Join(dir, "error.log"), "-c", file},
		Ready: components.Accepts("tcp", readers[len(readers)-1][3].address),
	})
}

// compareReadings gives a case to every reader, and returns 1 if the relay
// forwarded any of it.
func compareReadings(t *testing.T, readers []reader, text string) int {
	readings := make([][]string, len(readers))
	for i, r := range readers {
		exchangeBytes(t, r, text)
		if r.proxy != nil {
			r.proxy.settle()
		}
		readings[i] = r.seen.take()
		if r.proxy == nil {
			continue
		}
		claims, inStep := r.proxy.takeForwarded()
		if !slices.EqualFunc(claims, readings[i], sameRequest) {
			t.Errorf("%.300q: %s says it forwarded %q, the server understood %q", text, r.name, claims, readings[i])
		}
		readings[i] = readings[i][:min(inStep, len(readings[i]))]
	}
	for i := range 2 {
		for j := i + 1; j < len(readers); j++ {
			for k := range min(len(readings[i]), len(readings[j])) {
				if readings[i][k] != readings[j][k] {
					t.Errorf("%.300q: %s understood %q, %s %q", text, readers[i].name, readings[i], readers[j].name, readings[j])
					break
				}
			}
		}
	}
	if len(readings[0]) > 0 && !strings.HasPrefix(readings[0][0], "GET /sentinel") {
		return 1
	}
	return 0
}

// settle waits until every request has been recorded.
func (p *proxy) settle() {
	p.await("end of all connections", func() bool { return p.open == 0 })
}

// takeForwarded returns what the proxy says that it forwarded completely and the
// server took, and forgets it; inStep says how many those were before one that
// the server refused by itself: from there on readings cannot be compared one by
// one.
func (p *proxy) takeForwarded() (list []string, inStep int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	inStep = -1
	for _, r := range p.records {
		switch {
		case r.Reason == OK && r.Status == 200:
			list = append(list, fmt.Sprintf("%s %s %d", r.Method, form(r.Method, r.Path), r.RequestBytes))
		case inStep < 0:
			inStep = len(list)
		}
	}
	p.records = nil
	if inStep < 0 {
		inStep = len(list)
	}
	return list, inStep
}

// sameRequest reports whether the proxy's word and the server's are of one
// request.
func sameRequest(claim, understood string) bool {
	method, rest, _ := strings.Cut(understood, " ")
	i := strings.LastIndex(rest, ` "`)
	body, err := strconv.Unquote(rest[i+1:])
	return err == nil && claim == fmt.Sprintf("%s %s %d", method, rest[:i], len(body))
}
