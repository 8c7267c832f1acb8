package conformance_test

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/chromium"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// browserJS is what the page does.
//
//go:embed testdata/browser.mjs
var browserJS string

// sizeOfBody is that of what a page loads and sends in one go.
const sizeOfBody = 16 << 20

// TestBrowser: a page in Chromium, by HTTP/1.1 to the outbound port: many
// resources at once, forms, events and pieces of a body that arrive one by one,
// WebSocket, validators of its cache, long bodies both ways. The application
// learns who it is, and the metrics of the inbound side say so as well.
func TestBrowser(t *testing.T) {
	app := newPageApp(t)
	m := through(t, web(t, app.ServeHTTP))
	tab := chromium.Run(t).Open(t, "http://"+m.Addr(0))
	tab.Await(`document.readyState === "complete"`)

	for name, test := range map[string]struct{ call, want string }{
		"many resources": {"resources(120)", "http/1.1"},
		"events":         {"events(50)", ""},
		"pieces":         {"pieces(50)", ""},
		"download":       {fmt.Sprintf("download(%d)", sizeOfBody), ""},
		"upload":         {fmt.Sprintf("upload(%d)", sizeOfBody), ""},
		"abort":          {"abort()", ""},
		"revalidation":   {"revalidate()", "200 kept, 200 kept"},
		"WebSocket":      {"socket(1 << 20)", "echo 4321 as you wish"},
		"statuses":       {"statuses()", "204, 404, 410, 500, 503"},
	} {
		t.Run(name, func(t *testing.T) {
			got := chromium.Eval[string](tab, `import("/browser.mjs").then((m) => m.`+test.call+`).then((v) => v ?? "", (e) => "failed: " + e)`)
			if got != test.want {
				t.Errorf("%s: got %q, want %q", test.call, got, test.want)
			}
		})
	}
	t.Run("form", func(t *testing.T) {
		tab.Click("#send")
		tab.Await(`location.pathname === "/thanks" && document.body.innerText === "thank you, Zoë & sons"`)
	})
	tab.Complaints() // of the statuses that were asked for

	if app.revalidated.Load() != 1 {
		t.Errorf("304 was answered %d times", app.revalidated.Load())
	}
	select {
	case <-app.aborted:
	case <-time.After(2 * time.Minute):
		t.Error("the application was not told that a download was aborted")
	}
	named := []string{"reporter", "destination", "source_principal", "spiffe://example.org" + client, "request_protocol", "http"}
	for code, least := range map[string]float64{"200": 120 + 2*50, "303": 1, "304": 1, "410": 1, "500": 1} {
		e2e.Eventually(t, "requests with status "+code+" are counted", func() error {
			if n := m.Inbound.Sum(t, "istio_requests_total", append(named, "response_code", code)...); n < least {
				return fmt.Errorf("%v are, at least %v were made", n, least)
			}
			return nil
		})
	}
	if all, ours := m.Inbound.Sum(t, "istio_requests_total"), m.Inbound.Sum(t, "istio_requests_total", named...); all != ours {
		t.Errorf("%v requests name the caller, of %v", ours, all)
	}
	if n := app.strangers.Load(); n != 0 {
		t.Errorf("%d requests reached the application without their caller's identity", n)
	}
}

// pageApp is the application behind the page.
type pageApp struct {
	http.ServeMux

	next                   chan struct{} // one for each request for /next
	aborted                chan struct{}
	revalidated, strangers atomic.Int64
}

func newPageApp(t *testing.T) *pageApp {
	a := &pageApp{next: make(chan struct{}), aborted: make(chan struct{})}
	socket, err := url.Parse("http://" + webSocketEcho(t))
	if err != nil {
		t.Fatal(err)
	}
	a.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `<!doctype html><meta charset="utf-8"><title>page</title><link rel="icon" href="/image/1"><link rel="modulepreload" href="/browser.mjs">
			<form method="post" action="/order"><input name="who" value="Zoë &amp; sons"><button id="send">Send</button></form>`)
	})
	a.HandleFunc("GET /browser.mjs", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, browserJS)
	})
	a.HandleFunc("GET /image/{width}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "image/svg+xml")
		fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" width=%q height="1"/>`, r.PathValue("width"))
	})
	a.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	a.HandleFunc("GET /status/{status}", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status")) // the page's own
		w.WriteHeader(status)
	})
	a.HandleFunc("POST /next", func(w http.ResponseWriter, r *http.Request) {
		select {
		case a.next <- struct{}{}:
		case <-r.Context().Done():
		}
	})
	a.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		a.oneByOne(w, r, "data: event %d\n\n")
	})
	a.HandleFunc("GET /pieces", func(w http.ResponseWriter, r *http.Request) { a.oneByOne(w, r, "piece %d") })
	a.HandleFunc("GET /endless", a.endless)
	a.HandleFunc("GET /big", big)
	a.HandleFunc("PUT /mirror", mirror)
	a.HandleFunc("POST /form", form)
	a.HandleFunc("GET /cached", a.cached)
	a.HandleFunc("POST /order", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/thanks?"+url.Values{"who": {r.FormValue("who")}}.Encode(), http.StatusSeeOther)
	})
	a.HandleFunc("GET /thanks", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "thank you, "+r.FormValue("who"))
	})
	a.Handle("GET /socket", &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(socket)
		r.Out.Host = r.In.Host // which is to be that of the page
	}})
	return a
}

// ServeHTTP counts requests of somebody who is not the caller, and serves all.
func (a *pageApp) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if claims := r.Header["X-Forwarded-Client-Cert"]; len(claims) != 1 || !strings.HasSuffix(claims[0], "URI=spiffe://example.org"+client) {
		a.strangers.Add(1)
	}
	a.ServeMux.ServeHTTP(w, r)
}

// oneByOne sends fifty pieces, each after the page has asked for it.
func (a *pageApp) oneByOne(w http.ResponseWriter, r *http.Request, format string) {
	for i := range 50 {
		fmt.Fprintf(w, format, i)
		w.(http.Flusher).Flush()
		select {
		case <-a.next:
		case <-r.Context().Done():
			return
		}
	}
}

// endless sends until nobody listens any more.
func (a *pageApp) endless(w http.ResponseWriter, _ *http.Request) {
	defer close(a.aborted)
	block := make([]byte, 64<<10)
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

// cached is the same for ever, and the page is told so if it asks.
func (a *pageApp) cached(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("ETag", `"1"`)
	if r.Header.Get("If-None-Match") == `"1"` {
		a.revalidated.Add(1)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	io.WriteString(w, "kept")
}

// big sends a long body in which each byte tells its place.
func big(w http.ResponseWriter, _ *http.Request) {
	block := make([]byte, 251*256)
	for i := range block {
		block[i] = byte(i % 251)
	}
	for left := sizeOfBody; left > 0; left -= len(block) {
		if _, err := w.Write(block[:min(left, len(block))]); err != nil {
			return
		}
	}
}

// form says what came in a form of several parts.
func form(w http.ResponseWriter, r *http.Request) {
	file, header, err := r.FormFile("file")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	defer file.Close()
	size, err := io.Copy(io.Discard, file)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"size": size, "name": header.Filename, "field": r.FormValue("field")})
}
