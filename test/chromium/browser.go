// Package chromium drives a real Chromium, without a screen, for tests of pages
// and of what pages load. [Run] starts one for as long as a test lasts, [Browser.Open]
// opens a tab, and functions of the tab do what a user does and ask what the user
// sees.
//
// A tab remembers what the browser has complained of: errors on its console,
// exceptions that nobody caught, and violations of a Content-Security-Policy. A
// test that did not take them with [Tab.Complaints] fails by them.
//
// The package never waits for a time, only for what is to happen ([Tab.Await]),
// and no process, profile or connection outlives the test.
package chromium

import (
	"bytes"
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// patience is how long something may take on a loaded machine. Nothing asserts
// that it is quick.
const patience = 2 * time.Minute

// Browser is a running Chromium. It may be used from several goroutines, each of
// its tabs from one at a time.
type Browser struct {
	ctx    context.Context // of the process
	home   string          // the profile's folder
	output output
}

// Run runs a browser with a profile of its own. It listens on no port: it is
// driven through a pipe, and ends when the pipe closes, as it does when the test
// binary dies.
func Run(tb testing.TB) *Browser {
	tb.Helper()
	path, home := components.Command(tb, "chromium"), components.TempDirFor(tb, nil)
	b := &Browser{home: home}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(home), chromedp.CombinedOutput(&b.output),
		chromedp.Env("HOME="+home), // for what is kept outside a profile: certificates, caches of fonts
		chromedp.WindowSize(1280, 800),
		chromedp.Flag("no-proxy-server", true),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-component-update", true),
	)
	if os.Geteuid() == 0 {
		// As root Chromium does not start with its sandbox. What it loads here is ours.
		options = append(options, chromedp.NoSandbox)
	}
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ := chromedp.NewContext(allocator)
	b.ctx = ctx
	tb.Cleanup(func() {
		b.end(tb)
		cancel()
		chromedp.FromContext(ctx).Allocator.Wait()
		if tb.Failed() {
			tb.Logf("output of Chromium:\n%s", b.output.String())
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		tb.Fatalf("chromium: start %s: %v", path, err)
	}
	return b
}

// end has the browser close by itself.
func (b *Browser) end(tb testing.TB) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Cancel(ctx); err != nil {
		tb.Errorf("chromium: close Chromium: %v", err)
	}
}

// maxOutput bounds what is kept of what the browser prints.
const maxOutput = 64 << 10

// output keeps the beginning of what is written to it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes everything, and forgets what is too much.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p[:min(len(p), maxOutput-o.text.Len())])
	return len(p), nil
}

// String returns what was kept.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}
