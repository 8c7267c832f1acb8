package chromium

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
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
	home := ""
	t.Run("open", func(t *testing.T) {
		browser := Run(t)
		home = browser.home
		if len(processes(t, home)) == 0 {
			t.Error("no process has the profile")
		}
		tab := browser.Open(t, server.URL)
		tab.Click("button")
		tab.Await(`document.title === "hello!"`)
		tab.Press("\r")
		tab.Await(`document.title === "hello!!"`)
		tab.Resize(400, 300)
		if got := Eval[int](tab, "Promise.resolve(innerWidth)"); got != 400 {
			t.Errorf("the page is %d wide", got)
		}
		tab.Prefer("prefers-color-scheme", "dark")
		if !Eval[bool](tab, `matchMedia("(prefers-color-scheme: dark)").matches`) {
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
			Eval[any](tab, "void "+expression)
			var all []string
			for len(all) == 0 {
				Eval[int](tab, "1")
				all = tab.Complaints()
			}
			if !strings.Contains(strings.Join(all, "\n"), want) {
				t.Errorf("%s: complaints %q, want one of %q", expression, all, want)
			}
		}
	})
	if left := processes(t, home); len(left) > 0 {
		t.Errorf("what is left: %q", left)
	}
	if _, err := os.Stat(home); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the profile is left: %v", err)
	}
}

// processes are those of the browser with a profile.
func processes(t *testing.T, home string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, file := range files {
		line, _ := os.ReadFile(file) // gone since
		if bytes.Contains(line, []byte("--user-data-dir="+home)) {
			all = append(all, string(line))
		}
	}
	return all
}
