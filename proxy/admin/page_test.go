package admin

import (
	_ "embed"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"github.com/hallmark-mesh/hallmark/test/chromium"
)

// pageJS is what the tests ask the page.
//
//go:embed testdata/page.js
var pageJS string

// TestPage: what the page shows of what the API says, and how it is used, in a real
// browser. That it complains of nothing is asserted of each.
func TestPage(t *testing.T) {
	browser := chromium.Run(t)
	for name, test := range map[string]func(*testing.T, *stage, *chromium.Tab){
		"picture": testPicture, "sizes": testSizes, "contrast": testContrast, "moving": testMoving, "newcomer": testNewcomer,
		"waiting": testWaiting, "motion": testMotion, "many": testMany, "overflow": testOverflow, "hostile": testHostile, "keyboard": testKeyboard,
		"lost": testLost, "hidden": testHidden, "live": testLive,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newStage(t), browser.Open(t, "about:blank"))
		})
	}
}

// testPicture: who is there, with which numbers, and how far each is to be believed.
func testPicture(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	equal(t, "callers", chromium.Eval[[]string](tab, `cards("callers")`), []string{
		"storefront attested web · http 412/s 99.9% ok p99 38.3 ms ↑ 124 kB/s ↓ 2.1 MB/s",
		"mobile-gateway verified web · grpc 88.2/s 98.1% ok p99 38.3 ms ↑ 26.5 kB/s ↓ 459 kB/s",
		"reporting asserted back-office · http 3.1/s 74% ok p99 38.3 ms ↑ 930 B/s ↓ 16.1 kB/s",
		"plaintext clients plaintext http 0.4/s 100% ok p99 38.3 ms ↑ 120 B/s ↓ 2.1 kB/s",
	})
	equal(t, "callees", chromium.Eval[[]string](tab, `cards("callees")`), []string{
		"payments verified money · grpc 41/s 99.9% ok p99 38.3 ms ↑ 12.3 kB/s ↓ 213 kB/s",
		"postgres attested data · postgres 1.2/s 100% ok ↑ 360 B/s ↓ 6.2 kB/s 7 open",
		"store.internal none not reached · http 0.3/s 0% ok p99 38.3 ms ↑ 90 B/s ↓ 1.6 kB/s",
		"a-name-of-a-workload-that-is-really-much-too-long-for-a-card none money · http 0.02/s 100% ok p99 38.3 ms ↑ 6 B/s ↓ 104 B/s",
	})
	self := chromium.Eval[string](tab, `document.getElementById("self").innerText`)
	for _, want := range []string{"orders", "shop", "spiffe://example.org/ns/shop/sa/orders", "Its certificate is good for 43 min", "service.version 2.3.0", "asserted"} {
		if !strings.Contains(self, want) {
			t.Errorf("no %q in the middle:\n%s", want, self)
		}
	}
	if got := chromium.Eval[string](tab, `document.getElementById("total-inbound").innerText.replaceAll(/\s+/g, " ")`); !strings.Contains(got, "504/s") || !strings.Contains(got, "99.4%") {
		t.Errorf("what comes in: %q", got)
	}
	if got := chromium.Eval[string](tab, `document.querySelector("#callers .card").getAttribute("aria-label")`); got !=
		"Caller storefront, in web, attested, http, 412 per second, 99.9% succeed, 99th percentile 38.3 ms, 124 kB per second sent, 2.1 MB received" {
		t.Errorf("a card is read out as %q", got)
	}
	if rows := chromium.Eval[[]string](tab, `[...document.querySelectorAll("#table tbody tr")].map((row) => [...row.cells].map((cell) => cell.innerText).join("|"))`); len(rows) != 8 ||
		rows[0] != "from storefront (web)|attested|store.internal|http|412/s|99.9%|2.3 ms|11.7 ms|38.3 ms|0|124 kB/s|2.1 MB/s|1.5M" {
		t.Errorf("the table: %q", rows)
	}
	checkLines(t, tab)
	tab.Screenshot("light")
}

// line is one of the picture.
type line struct {
	Provenance, Dashes, Color string
	Touches                   bool
}

// checkLines wants a line for each peer, at its card, drawn as it is to be believed.
func checkLines(t *testing.T, tab *chromium.Tab) {
	t.Helper()
	lines := chromium.Eval[[]line](tab, `lines()`)
	dashes, colors := map[string]string{}, map[string]string{}
	for _, l := range lines {
		if !l.Touches {
			t.Errorf("a line of one that is %s does not go to its card", l.Provenance)
		}
		for drawn, by := range map[string]map[string]string{l.Dashes: dashes, l.Color: colors} {
			if other, ok := by[drawn]; ok && other != l.Provenance {
				t.Errorf("%s and %s look alike: %s", other, l.Provenance, drawn)
			}
			by[drawn] = l.Provenance
		}
	}
	if len(lines) != 8 || len(dashes) != 5 || len(colors) != 5 {
		t.Errorf("%d lines, %d kinds of dashes, %d colours", len(lines), len(dashes), len(colors))
	}
	if n := chromium.Eval[int](tab, `document.querySelectorAll("#legend .edge").length`); n != 5 {
		t.Errorf("the legend has %d lines", n)
	}
}

// testSizes: nothing has to be scrolled sideways but tables, and lines go to their
// cards.
func testSizes(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	for _, width := range []int64{1000, 400, 320} {
		tab.Resize(width, 900)
		// Lines are drawn anew by an observer.
		tab.Await(`lines().every((line) => line.touches)`)
		checkLines(t, tab)
		if got := chromium.Eval[int64](tab, `document.documentElement.scrollWidth`); got > width {
			t.Errorf("at a width of %d the page is %d wide", width, got)
		}
		tab.Screenshot(fmt.Sprint("width-", width))
	}
}

// testContrast: all text can be read (WCAG 2.2, 1.4.3), in light and in dark.
func testContrast(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	tab.Click("#callers .card")
	s.send(t, s.request("storefront", "/orders/1", 200), s.request("storefront", "/orders/2", 503))
	tab.Await(`document.querySelectorAll("#details .live tbody tr").length === 2`)
	for _, scheme := range []string{"light", "dark"} {
		tab.Prefer("prefers-color-scheme", scheme)
		for _, root := range []string{"document.body", `document.getElementById("details")`} {
			equal(t, "what is faint in "+scheme, chromium.Eval[[]string](tab, `faint(`+root+`)`), []string{})
		}
		tab.Screenshot("drawer-" + scheme)
	}
	tab.Press(kb.Escape)
	tab.Screenshot("dark")
	if chromium.Eval[string](tab, `getComputedStyle(document.body).backgroundColor`) == "rgb(244, 246, 248)" {
		t.Error("what is preferred dark is light")
	}
}

// testMoving: numbers change by themselves, and neither the focus nor anybody's
// place does.
func testMoving(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	chromium.Eval[any](tab, `void (window.before = document.querySelectorAll("#callers .card")[1]).focus()`)
	edges := shop()
	edges[1] = edge("inbound", workload("mobile-gateway", "web", "verified"), "grpc", 9150, 1) // now the first
	s.set(append(edges[:3], edges[4:]...)...)
	tab.Await(`cards("callers")[0].includes("9,150/s 100% ok")`)
	if !chromium.Eval[bool](tab, `document.activeElement === before && before.isConnected`) {
		t.Error("the focus is lost")
	}
	if n := chromium.Eval[int](tab, `cards("callers").length`); n != 3 {
		t.Errorf("%d callers are shown, want 3", n)
	}
	tab.Await(`document.querySelectorAll("#totals .curve").length === 2`)
}

// testNewcomer: without any traffic the page says how there will be some.
func testNewcomer(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab)
	for side, want := range map[string]string{"callers": "Nobody has called yet.", "callees": "It has called nobody yet."} {
		if got := chromium.Eval[string](tab, `document.getElementById("`+side+`").innerText`); !strings.Contains(got, want) {
			t.Errorf("%s: %q", side, got)
		}
	}
	if chromium.Eval[bool](tab, `document.getElementById("totals").checkVisibility() || document.getElementById("table").checkVisibility()`) {
		t.Error("there are sums and tables of nothing")
	}
	equal(t, "what is faint", chromium.Eval[[]string](tab, `faint(document.body)`), []string{})
	tab.Screenshot("newcomer")
	s.set(shop()...)
	tab.Await(`cards("callers").length === 4 && lines().length === 8`)
}

// testWaiting: before the first answer the page says that it asks.
func testWaiting(t *testing.T, s *stage, tab *chromium.Tab) {
	s.gate = make(chan struct{})
	defer close(s.gate)
	s.set(shop()...)
	tab.Resize(1280, 800)
	tab.Load(s.url)
	tab.Await(`document.getElementById("graph").ariaBusy === "true" && document.getElementById("state").innerText === "Loading…"`)
	if chromium.Eval[bool](tab, `document.getElementById("callers-column").checkVisibility({ visibilityProperty: true })`) {
		t.Error("it shows who calls before it knows")
	}
	tab.Screenshot("waiting")
	s.gate <- struct{}{}
	tab.Await(`document.getElementById("graph").ariaBusy === null && document.querySelectorAll("#callers .card").length === 4`)
}

// testMotion: nothing moves for those who do not want it.
func testMotion(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	tab.Click("#callers .card")
	for prefers, want := range map[string]string{"reduce": "none", "no-preference": "enter"} {
		tab.Prefer("prefers-reduced-motion", prefers)
		if got := chromium.Eval[string](tab, `getComputedStyle(document.getElementById("details")).animationName`); got != want {
			t.Errorf("with %s the drawer has the animation %s, want %s", prefers, got, want)
		}
	}
}

// testMany: the busiest, and one for the others.
func testMany(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, many()...)
	for _, side := range []string{"callers", "callees"} {
		cards := chromium.Eval[[]string](tab, `cards("`+side+`")`)
		if len(cards) != 12 || !strings.HasPrefix(cards[0], side[:6]+"-13") || !slices.ContainsFunc(cards, func(c string) bool { return strings.HasPrefix(c, side[:6]+"-57") }) || !strings.HasPrefix(cards[11], "89 others") || !strings.Contains(cards[11], "4,005/s") {
			t.Errorf("%s: %q", side, cards)
		}
	}
	if n := chromium.Eval[int](tab, `document.querySelectorAll("#table tbody tr").length`); n != 200 {
		t.Errorf("the table has %d rows", n)
	}
	tab.Screenshot("many")
	tab.Click("#callers li:last-child .card")
	tab.Await(`document.querySelectorAll("#details .edges tbody tr").length === 89`)
	tab.Screenshot("others")
	tab.Click("#details .edges tbody button")
	tab.Await(`document.getElementById("details-title").innerText.startsWith("From caller-")`)
}

// testOverflow: what the proxy itself could not tell apart.
func testOverflow(t *testing.T, s *stage, tab *chromium.Tab) {
	over := edge("inbound", object{"security": "mutual_tls", "provenance": "none"}, "http", 900, 1)
	over["overflow"] = true
	s.self = object{"security": "none", "provenance": "none"} // which has no identity yet either
	s.show(tab, over)
	if cards := chromium.Eval[[]string](tab, `cards("callers")`); len(cards) != 1 || !strings.HasPrefix(cards[0], "others none too many to be told apart") {
		t.Errorf("cards %q", cards)
	}
	if self := chromium.Eval[string](tab, `document.getElementById("self").innerText`); !strings.Contains(self, "no identity yet") {
		t.Errorf("the middle: %q", self)
	}
}

// testHostile: a peer's words are shown, letter by letter, wherever they come.
func testHostile(t *testing.T, s *stage, tab *chromium.Tab) {
	peer := workload(hostile, hostile, "asserted")
	peer["attributes"] = []object{{"name": hostile, "value": hostile, "provenance": hostile}}
	e := edge("inbound", peer, hostile, 1, 1)
	e["service"] = object{"host": hostile, "name": hostile}
	s.self["workload"] = hostile
	s.show(tab, e)
	tab.Click("#table tbody button")
	event := s.request(hostile, hostile, 200)
	event["source"], event["error"] = peer, hostile
	s.send(t, event)
	tab.Await(`document.querySelectorAll("#details .live tbody tr").length === 1`)
	for _, selector := range []string{"#title", "#self .name", "#callers .name", "#table .service", "#details .fact b", "#details .badge[data-provenance^='<']", "#details .path"} {
		if got := chromium.Eval[string](tab, `document.querySelector("`+selector+`").textContent`); got != hostile {
			t.Errorf("%s has %q", selector, got)
		}
	}
	if title := chromium.Eval[string](tab, `document.title`); !strings.HasPrefix(title, hostile) {
		t.Errorf("the title is %q", title)
	}
	if n := chromium.Eval[int](tab, `document.images.length + document.scripts.length`); n != 2 { // the icon and main.js
		t.Errorf("there are %d images and scripts", n)
	}
	// The browser itself refuses to make markup of text.
	if got := chromium.Eval[string](tab, `(() => { try { document.body.innerHTML = "x"; return "done" } catch (e) { return e.name } })()`); got != "TypeError" {
		t.Errorf("making markup of text: %s", got)
	}
	if all := tab.Complaints(); len(all) != 1 || !strings.Contains(all[0], "TrustedHTML") {
		t.Errorf("complaints %q", all)
	}
}

// testKeyboard: everything can be reached and done without a mouse.
func testKeyboard(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	focused := func() string {
		return chromium.Eval[string](tab, `(document.activeElement.innerText || document.activeElement.getAttribute("aria-label") || document.activeElement.className).split("\n")[0]`)
	}
	var way []string
	for range 11 {
		tab.Press(kb.Tab)
		way = append(way, focused())
		if chromium.Eval[string](tab, `getComputedStyle(document.activeElement).outlineStyle`) != "solid" {
			t.Errorf("that %q has the focus does not show", way[len(way)-1])
		}
	}
	equal(t, "the way of the focus", way, []string{
		"Skip to the table", "storefront", "mobile-gateway", "reporting", "plaintext clients", "Watch everything live",
		"payments", "postgres", "store.internal", "a-name-of-a-workload-that-is-really-much-too-long-for-a-card", "How far a name is to be believed",
	})
	for range 3 {
		tab.PressShifted(kb.Tab)
	}
	if focused() != "postgres" {
		t.Fatalf("the focus is on %q", focused())
	}
	tab.Press(kb.Enter)
	tab.Await(`document.getElementById("details").open`)
	for range 6 { // it does not leave the drawer
		tab.Press(kb.Tab)
		if !chromium.Eval[bool](tab, `document.activeElement === document.body || document.getElementById("details").contains(document.activeElement)`) {
			t.Errorf("the focus leaves the drawer for %q", focused())
		}
	}
	tab.Press(kb.Escape)
	tab.Await(`!document.getElementById("details").open`)
	if focused() != "postgres" {
		t.Errorf("after the drawer the focus is on %q", focused())
	}
	for range 7 {
		tab.PressShifted(kb.Tab)
	}
	tab.Press(kb.Enter)
	tab.Await(`document.activeElement.id === "table"`)
}

// testLost: what is old is said to be, why, and what the proxy answered is text too.
func testLost(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	s.fails(true)
	tab.Await(`document.body.dataset.state === "lost" && document.getElementById("trouble").checkVisibility()`)
	got := chromium.Eval[string](tab, `document.getElementById("trouble").innerText`)
	if !strings.Contains(got, "No answer from the proxy: the proxy answers 500") || !strings.Contains(got, "<img src=x") || !strings.Contains(got, "What you see is from") {
		t.Errorf("it says %q", got)
	}
	if n := chromium.Eval[int](tab, `cards("callers").length`); n != 4 {
		t.Errorf("%d callers are left", n)
	}
	tab.Screenshot("lost")
	s.fails(false)
	tab.Await(`document.body.dataset.state === "live" && !document.getElementById("trouble").checkVisibility()`)
	if all := tab.Complaints(); len(all) == 0 || slices.ContainsFunc(all, func(c string) bool { return !strings.Contains(c, "status of 500") }) {
		t.Errorf("complaints %q", all)
	}
}

// testHidden: a page that nobody sees asks for nothing.
func testHidden(t *testing.T, s *stage, tab *chromium.Tab) {
	s.show(tab, shop()...)
	tab.Click("#callers .card")
	s.awaitWatching(t, 1)
	chromium.Eval[any](tab, `conceal(true)`)
	s.awaitWatching(t, 0)
	asked := s.asked.Load()
	tab.Pass(time.Minute)
	if again := s.asked.Load(); again != asked {
		t.Errorf("in a minute in which nobody saw it, it asked %d times", again-asked)
	}
	chromium.Eval[any](tab, `conceal(false)`)
	tab.Pass(time.Minute)
	if again := s.asked.Load(); again < asked+10 {
		t.Errorf("in a minute in which somebody saw it, it asked %d times", again-asked)
	}
	s.awaitWatching(t, 1)
}

// testLive: what happens with a peer, as it happens, until it is paused.
func testLive(t *testing.T, s *stage, tab *chromium.Tab) {
	rows := `[...document.querySelectorAll("#details .live tbody tr")].map((row) => [...row.cells].slice(1).map((cell) => cell.innerText).join("|"))`
	s.show(tab, shop()...)
	tab.Click("#callers .card")
	s.send(t, s.request("storefront", "/orders/1", 200), s.request("reporting", "/not/this", 200))
	s.send(t, object{"kind": "dropped", "dropped": 1234}, s.request("storefront", "/orders/2", 503))
	tab.Await(`document.querySelectorAll("#details .live tbody tr").length === 2`)
	equal(t, "what happens", chromium.Eval[[]string](tab, rows), []string{
		"GET /orders/2|503 upstream_reset|12.3 ms|0 B|5.2 kB|from storefront", "GET /orders/1|200|12.3 ms|0 B|5.2 kB|from storefront",
	})
	tab.Await(`document.querySelector("#details .live p").innerText === "The newest first. 1,234 were too many to show."`)

	tab.Click("#pause")
	s.awaitWatching(t, 0)
	tab.Await(`document.querySelector("#details .live p").innerText.startsWith("Paused.") && document.getElementById("pause").ariaPressed === "true"`)
	tab.Click("#pause")
	s.awaitWatching(t, 1)
	var many []any
	for i := range 300 {
		many = append(many, s.request("storefront", fmt.Sprint("/many/", i), 200))
	}
	s.send(t, many...)
	tab.Await(rows + `[0]?.startsWith("GET /many/299|")`)
	if n := chromium.Eval[int](tab, rows+`.length`); n != 200 {
		t.Errorf("%d are kept", n)
	}
	tab.Press(kb.Escape)
	s.awaitWatching(t, 0)

	tab.Click("#self button") // everything
	s.awaitWatching(t, 1)
	s.send(t, object{
		"kind": "closed", "time": time.Now().UTC(), "direction": "outbound", "source": s.self, "destination": workload("postgres", "data", "attested"),
		"service": "store.internal", "protocol": "postgres", "durationMs": 61000, "outcome": "ok", "failed": false,
		"connection": object{"id": 17, "bytesSent": 1000, "bytesReceived": 2},
	})
	tab.Await(rows + `[0] === "postgres connection 17 closed|ok|61 s|1 kB|2 B|to postgres"`)
}

// TestPageFiles: what the page consists of is small, complete, and may load nothing
// from elsewhere.
func TestPageFiles(t *testing.T) {
	c := newStage(t).config()
	total := 0
	files, err := fs.Glob(web, "web/*")
	if err != nil || len(files) < 5 {
		t.Fatalf("%q, %v", files, err)
	}
	all := get(t, c, "/").Body.String()
	for _, file := range files {
		at := "/page/" + path.Base(file)
		if path.Base(file) == "index.html" {
			at = "/"
		}
		w := get(t, c, at)
		total += w.Body.Len()
		if want := mime.TypeByExtension(path.Ext(file)); w.Code != http.StatusOK || w.Header().Get("Content-Type") != want {
			t.Errorf("%s: %d, %q, want %q", at, w.Code, w.Header().Get("Content-Type"), want)
		}
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: policy %q", at, policy)
		}
		all += w.Body.String()
	}
	for _, file := range files {
		if name := path.Base(file); name != "index.html" && !strings.Contains(all, "/"+name) {
			t.Errorf("nothing loads %s", name)
		}
	}
	if total > 60_000 {
		t.Errorf("the page has %d bytes", total)
	}
	for _, foreign := range []string{"https://", "innerHTML =", "insertAdjacentHTML", "document.write", "eval(", "style="} {
		if strings.Contains(all, foreign) {
			t.Errorf("there is %q in the page", foreign)
		}
	}
	if page := get(t, c, "/").Body.String(); !strings.Contains(page, `<a href="/config" title="the configuration in force">/config</a>`) {
		t.Error("the page does not link to the others")
	}
	r := httptest.NewRequest(http.MethodHead, "/page/main.js", nil)
	r.Host = "localhost"
	if w := ask(Operator(c), loopback, r); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
	c.Tap = nil
	if page := get(t, c, "/").Body.String(); strings.Contains(page, "main.js") || !strings.Contains(page, "/config") {
		t.Errorf("without the API:\n%s", page)
	}
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
