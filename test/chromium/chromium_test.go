package chromium_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/hallmark-mesh/hallmark/test/chromium"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBrowser does with a page what there is to do.
func TestBrowser(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "img-src 'none'")
		fmt.Fprint(w, `<!doctype html><title>hello</title><button>press</button><script>
			document.querySelector("button").onclick = () => { document.title += "!" };
		</script>`)
	}))
	defer server.Close()
	before := ours(t)
	t.Run("open", func(t *testing.T) {
		tab := chromium.Run(t).Open(t, server.URL)
		tab.Click("button")
		tab.Await(`document.title === "hello!"`)
		tab.Press("\r")
		tab.Await(`document.title === "hello!!"`)
		tab.Resize(400, 300)
		if got := chromium.Eval[int](tab, "Promise.resolve(innerWidth)"); got != 400 {
			t.Errorf("the page is %d wide", got)
		}
		tab.Prefer("prefers-color-scheme", "dark")
		if !chromium.Eval[bool](tab, `matchMedia("(prefers-color-scheme: dark)").matches`) {
			t.Error("no dark colours are preferred")
		}
		tab.Screenshot("picture")
		if png, err := os.ReadFile(filepath.Join(t.ArtifactDir(), "picture.png")); err != nil || !bytes.HasPrefix(png, []byte("\x89PNG")) {
			t.Errorf("the picture: %.9q, %v", png, err)
		}
		if all := tab.Complaints(); len(all) != 0 {
			t.Errorf("complaints without a reason: %q", all)
		}
		for expression, want := range map[string]string{
			`console.error("oh no", 7)`:                   "oh no",
			`setTimeout(() => { throw new Error("ah") })`: "Error: ah",
			`void fetch("/%zz:").then(() => { document.body.append(new Image()); document.body.lastChild.src = "http://127.0.0.1:1/" })`: "img-src",
		} {
			chromium.Eval[any](tab, "void "+expression)
			var all []string
			for len(all) == 0 {
				chromium.Eval[int](tab, "1")
				all = tab.Complaints()
			}
			if !strings.Contains(strings.Join(all, "\n"), want) {
				t.Errorf("%s: complaints %q, want one of %q", expression, all, want)
			}
		}
	})
	if after := ours(t); len(after) > len(before) {
		t.Errorf("what is left: %q", after)
	}
}

// ours are the browsers that were started from here, and their children.
func ours(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		line, _ := os.ReadFile(file) // gone since
		if bytes.Contains(line, []byte("chromium")) && bytes.Contains(line, []byte(os.TempDir()+"/hallmark")) {
			all = append(all, string(line))
		}
	}
	return all
}
