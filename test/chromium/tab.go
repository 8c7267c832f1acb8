package chromium

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// Tab is a tab of a browser, for as long as its test lasts.
type Tab struct {
	tb  testing.TB
	ctx context.Context

	mu         sync.Mutex
	complaints []string
}

// Open opens a tab and loads a page in it.
func (b *Browser) Open(tb testing.TB, url string) *Tab {
	tb.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t := &Tab{tb: tb, ctx: ctx}
	tb.Cleanup(func() {
		cancel()
		for _, complaint := range t.Complaints() {
			tb.Errorf("chromium: %s", complaint)
		}
	})
	if err := chromedp.Listen(ctx, t.listen); err != nil {
		tb.Fatalf("chromium: open a tab: %v", err)
	}
	// With several tabs each has the focus, as if it were the only one.
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		tb.Fatalf("chromium: give a tab the focus: %v", err)
	}
	t.Load(url)
	return t
}

// listen remembers complaints.
func (t *Tab) listen(event any) {
	complaint := ""
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			text, _ := json.Marshal(e.Args) // of strings and numbers
			complaint = fmt.Sprintf("the console has %s %s", e.Type, text)
		}
	case *runtime.EventExceptionThrown:
		complaint = "nobody caught " + thrown(e.ExceptionDetails)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			complaint = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	}
	if complaint != "" {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.complaints = append(t.complaints, complaint)
	}
}

// Complaints returns what the browser has complained of since the last call.
func (t *Tab) Complaints() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.complaints
	t.complaints = nil
	return all
}

// do does something within patience.
func (t *Tab) do(what string, actions ...chromedp.Action[chromedp.Void]) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		t.tb.Fatalf("chromium: %s: %v", what, err)
	}
}

// Load loads a page.
func (t *Tab) Load(url string) {
	t.tb.Helper()
	t.do("load "+url, chromedp.Navigate(url))
}

// Press presses keys one after the other, as package kb of chromedp names them.
func (t *Tab) Press(keys ...string) {
	t.tb.Helper()
	for _, key := range keys {
		t.do(fmt.Sprintf("press %q", key), chromedp.KeyEvent(key))
	}
}

// PressShifted presses a key together with Shift.
func (t *Tab) PressShifted(key string) {
	t.tb.Helper()
	t.do(fmt.Sprintf("press Shift and %q", key), chromedp.KeyEvent(key, chromedp.KeyModifiers(chromedp.ModifierShift)))
}

// Click clicks in the middle of the first element of a CSS selector, once it is
// visible.
func (t *Tab) Click(selector string) {
	t.tb.Helper()
	t.do("click "+selector, chromedp.Click(chromedp.CSS(selector)))
}

// Resize gives the page a width and a height in CSS pixels.
func (t *Tab) Resize(width, height int64) {
	t.tb.Helper()
	t.do("resize", chromedp.EmulateViewport(width, height))
}

// Prefer sets what the user prefers, by the name of the media feature: such as
// "prefers-color-scheme" and "dark".
func (t *Tab) Prefer(feature, value string) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: feature, Value: value}},
	}); err != nil {
		t.tb.Fatalf("chromium: prefer %s for %s: %v", value, feature, err)
	}
}

// Screenshot keeps a picture of what is to be seen among the artifacts of the test:
// `go test -artifacts` keeps them.
func (t *Tab) Screenshot(name string) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(t.tb.ArtifactDir(), name+".png"), png, 0o644)
	}
	if err != nil {
		t.tb.Fatalf("chromium: screenshot %s: %v", name, err)
	}
}

// Eval returns the value of a JavaScript expression, after it is settled if it is
// a promise, by JSON.
func Eval[T any](t *Tab, expression string) T {
	t.tb.Helper()
	value, err := eval[T](t, expression)
	if err != nil {
		t.tb.Fatalf("chromium: evaluate %s: %v", expression, err)
	}
	return value
}

func eval[T any](t *Tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

// poll is how often Await asks.
const poll = 20 * time.Millisecond

// Await waits until a JavaScript expression is true of the page.
func (t *Tab) Await(expression string) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	last := errors.New("it is false")
	for {
		switch yes, err := eval[bool](t, expression); {
		case err != nil:
			last = err // such as that the page is not there yet
		case yes:
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			text, _ := eval[string](t, "document.body.innerText") // empty says it as well
			t.tb.Fatalf("chromium: waiting until %s: %v; the page reads:\n%s", expression, last, text)
		}
	}
}

// thrown returns what an exception says, with its stack if it is an Error.
func thrown(e *runtime.ExceptionDetails) string {
	if e.Exception != nil && e.Exception.Description != "" {
		return e.Exception.Description
	}
	return e.Text
}

// Pass has time pass in the page: its timers run as if the duration had passed, at
// once. After that time stands still there, until it passes again.
func (t *Tab) Pass(d time.Duration) {
	t.tb.Helper()
	ctx, cancel := context.WithTimeout(t.ctx, patience)
	defer cancel()
	budget := float64(d.Milliseconds())
	_, err := chromedp.Run(ctx, chromedp.WaitEvent(emulation.VirtualTimeBudgetExpired, nil,
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetVirtualTimePolicy, emulation.SetVirtualTimePolicyParams{
				Policy: emulation.VirtualTimePolicyPauseIfNetworkFetchesPending, Budget: &budget,
			})
			return err
		})))
	if err != nil {
		t.tb.Fatalf("chromium: have %s pass: %v", d, err)
	}
}
