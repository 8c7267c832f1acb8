package e2e_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/hallmark-mesh/hallmark/test/apps"
	"github.com/hallmark-mesh/hallmark/test/chromium"
	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/hallmark-mesh/hallmark/test/e2e"
)

// TestPage looks, with a real browser, at the page of a workload that is called by
// four who are to be believed in four ways, one of which fails half of the time, and
// that calls a database and somebody who is not there.
func TestPage(t *testing.T) {
	const hostile = `<img src=x onerror="document.title='pwned'">`
	issuer := build.Issuer(t, e2e.IssuerOptions{Workloads: map[string]map[string]string{
		"/ns/web/sa/storefront": {"k8s.deployment.name": "storefront-canary"}, "/ns/web/sa/gateway": nil, "/legacy/reporting": nil,
		"/ns/shop/sa/orders": nil, "/ns/data/sa/redis": nil,
	}})
	app, redis := httptest.NewServer(new(halfWell)), apps.StartRedis(t)
	defer app.Close()
	between, data, front, nowhere := components.FreeAddr(t), components.FreeAddr(t), components.FreeAddr(t), components.FreeAddr(t)
	e2e.Run(t, e2e.Options{Workload: issuer.Workload(t, "/ns/data/sa/redis"), Inbound: []string{data + "=" + redis.Addr}, Name: "redis"})
	orders := e2e.Run(t, e2e.Options{
		Workload: issuer.Workload(t, "/ns/shop/sa/orders"), Name: "orders",
		Inbound:  []string{between + "=" + app.Listener.Addr().String() + ",plaintext=Permissive"},
		Outbound: []string{front + "=" + data, nowhere + "=" + components.FreeAddr(t)},
		Expect:   []string{issuer.Workload(t, "/ns/data/sa/redis").ID},
		Args:     []string{"--attested", e2e.TrustDomain},
	})
	urls := map[string]string{"plaintext": "http://" + between + "/orders"}
	for path, args := range map[string][]string{
		"/ns/web/sa/storefront": nil, "/ns/web/sa/gateway": nil, "/legacy/reporting": {"--attribute", "service.name=" + hostile},
	} {
		own := components.FreeAddr(t)
		e2e.Run(t, e2e.Options{Workload: issuer.Workload(t, path), Outbound: []string{own + "=" + between}, Expect: []string{issuer.Workload(t, "/ns/shop/sa/orders").ID}, Args: args, Name: path})
		urls[path] = "http://" + own + "/orders"
	}
	urls["/ns/web/sa/gateway"] += "/half"
	urls["nowhere"] = "http://" + nowhere
	redis.Via(front).Do(t, "PING")
	defer call(t, urls)()

	tab := chromium.Run(t).Open(t, "http://"+orders.Admin)
	tab.Resize(1280, 900)
	cards := func(side string) string {
		return `[...document.querySelectorAll("#` + side + ` .card")].map((card) => ["name", "badge"].map((part) => card.querySelector("." + part).innerText).join(" ")).sort().join(", ")`
	}
	tab.Await(cards("callers") + ` === "gateway verified, plaintext clients plaintext, reporting asserted, storefront-canary attested"`)
	tab.Await(cards("callees") + `.endsWith(" none, redis verified")`)
	tab.Await(`[...document.querySelectorAll("#callers .rate, #total-inbound .rate")].every((rate) => parseFloat(rate.innerText) > 0)`)
	if kinds := chromium.Eval[[]string](tab, `[...document.querySelectorAll("#lines .edge")].map((edge) => edge.dataset.provenance).sort()`); !slices.Equal(kinds, []string{"asserted", "attested", "none", "plaintext", "verified", "verified"}) {
		t.Errorf("lines %q", kinds)
	}
	// What fails half of the time does so on the page.
	gateway := `[...document.querySelectorAll("#callers .card")].find((card) => card.innerText.startsWith("gateway"))`
	tab.Await(`/^[45]\d(\.\d)?% ok$/.test(` + gateway + `.querySelector(".success").innerText)`)
	tab.Await(`document.querySelectorAll("#totals .curve").length === 2`)
	tab.Screenshot("mesh")
	if self := chromium.Eval[string](tab, `document.getElementById("self").innerText`); !strings.Contains(self, "spiffe://example.org/ns/shop/sa/orders") || !strings.Contains(self, "Its certificate is good for") {
		t.Errorf("the middle says %q", self)
	}

	// Its requests, as they happen: by the keyboard there, and away.
	chromium.Eval[any](tab, `void `+gateway+`.focus()`)
	tab.Press(kb.Enter)
	row := `[...document.querySelectorAll("#details .live tbody tr")].map((row) => row.innerText.replaceAll(/\s+/g, " "))`
	tab.Await(row + `.some((row) => /GET \/orders\/half 500 .* from gateway/.test(row)) && ` + row + `.some((row) => /GET \/orders\/half 200 .* from gateway/.test(row))`)
	if others := chromium.Eval[[]string](tab, row+`.filter((row) => !row.includes("from gateway"))`); len(others) != 0 {
		t.Errorf("others' requests: %q", others)
	}
	tab.Screenshot("mesh-drawer")
	tab.Press(kb.Escape)
	tab.Await(`!document.getElementById("details").open && document.activeElement === ` + gateway)

	// What a peer says of itself is text.
	tab.Click(`#callers .card[data-provenance="asserted"]`)
	tab.Await(`[...document.querySelectorAll("#details .fact b")].some((fact) => fact.textContent === ` + fmt.Sprintf("%q", hostile) + `)`)
	if title := chromium.Eval[string](tab, `document.title`); title != "orders · hallmark" {
		t.Errorf("the title is %q", title)
	}
	tab.Press(kb.Escape)
	if all := tab.Complaints(); len(all) != 0 {
		t.Errorf("the browser complains: %q", all)
	}

	orders.Kill()
	tab.Await(`document.body.dataset.state === "lost" && document.getElementById("trouble").innerText.includes("it cannot be reached")`)
	tab.Complaints() // that it cannot be reached
}

// halfWell is an application: what ends in half fails every other time.
type halfWell struct{ asked atomic.Int64 }

func (h *halfWell) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/half") && h.asked.Add(1)%2 == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	io.WriteString(w, strings.Repeat("order ", 100))
}

// call has everybody call, over and over, until the function that it returns is
// called. Nobody has to be there yet, or still.
func call(t *testing.T, urls map[string]string) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		client := http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			for _, url := range urls {
				get(ctx, &client, url)
			}
			<-tick.C
		}
	})
	return func() {
		cancel()
		all.Wait()
	}
}

func get(ctx context.Context, client *http.Client, url string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return
	}
	res, err := client.Do(req)
	if err != nil {
		return
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
}
