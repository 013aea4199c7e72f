package main_test

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// tab is a page in a Chromium of its own. Whatever a visitor's browser would
// complain of fails the test: an error in the console, an exception that nobody
// catches, a violation of the content security policy, a request to another host.
type tab struct {
	t    testing.TB
	ctx  context.Context
	host string // the only one that may be asked

	hearing sync.WaitGroup // of what listens to events until the browser ends

	mu       sync.Mutex // guards the fields below
	wrong    []string
	excused  []string // what complaints may hold
	received float64  // bytes over the network
	requests []string // paths, in the order of asking
}

// newBrowser starts a Chromium for pages of s, which ends with the test. Its
// window is as wide as a laptop's, and its theme is light.
func newBrowser(t testing.TB, s *server) *tab {
	t.Helper()
	return newBrowserFor(t, s.http)
}

func newBrowserFor(t testing.TB, host string) *tab {
	t.Helper()
	path := need(t, "chromium")
	profile, err := os.MkdirTemp("", "dropseed-chromium-") // Chromium still writes while it ends: not t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.UserDataDir(profile), chromedp.WindowSize(1280, 900),
		chromedp.NoSandbox, // the tests may run as root, and the pages are ours
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("no-proxy-server", true),
	)
	ctx, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := context.WithTimeout(ctx, 6*patience)
	ctx, closeTab := chromedp.NewContext(ctx)
	b := &tab{t: t, ctx: ctx, host: host}
	t.Cleanup(func() {
		if t.Failed() {
			b.keepPicture()
		}
		closeTab()
		cancel()
		stop()
		b.hearing.Wait()
		os.RemoveAll(profile)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, w := range b.wrong {
			t.Errorf("the browser complains: %s", w)
		}
	})
	b.must(chromedp.Listen(ctx, b.hear))
	_, err = chromedp.Call(ctx, network.Enable, network.EnableParams{})
	b.must(err)
	_, err = chromedp.Call(ctx, audits.Enable, struct{}{})
	b.must(err)
	_, err = chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	b.must(err)
	b.theme("light")
	return b
}

// hear is called for each event of the tab.
func (b *tab) hear(ev any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch ev := ev.(type) {
	case *runtime.EventExceptionThrown:
		b.complain("exception: %s %s", ev.ExceptionDetails.Text, describe(ev.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if ev.Type == "error" || ev.Type == "assert" {
			var words []string
			for _, arg := range ev.Args {
				words = append(words, describe(arg))
			}
			b.complain("console: %s", strings.Join(words, " "))
		}
	case *log.EventEntryAdded:
		if ev.Entry.Level == "error" || ev.Entry.Source == "security" {
			b.complain("%s: %s (%s)", ev.Entry.Source, ev.Entry.Text, ev.Entry.URL)
		}
	case *audits.EventIssueAdded:
		if d := ev.Issue.Details.ContentSecurityPolicyIssueDetails; d != nil {
			b.complain("content security policy: %s blocked %q at %+v", d.ViolatedDirective, d.BlockedURL, d.SourceCodeLocation)
		}
	case *network.EventRequestWillBeSent:
		u, err := url.Parse(ev.Request.URL)
		if err != nil || u.Host != b.host && u.Scheme != "data" && u.Scheme != "blob" {
			b.complain("a request to another host: %s", ev.Request.URL)
			return
		}
		b.requests = append(b.requests, u.RequestURI())
	case *network.EventLoadingFinished:
		b.received += ev.EncodedDataLength
	}
}

func describe(o *runtime.RemoteObject) string {
	if o == nil {
		return ""
	}
	if o.Description != "" {
		return o.Description
	}
	return string(o.Value)
}

// complain notes what is wrong, unless it is excused. b.mu is held.
func (b *tab) complain(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	for _, e := range b.excused {
		if strings.Contains(line, e) {
			return
		}
	}
	b.wrong = append(b.wrong, line)
}

// excuse has complaints with that text not fail the test, from now on.
func (b *tab) excuse(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.excused = append(b.excused, text)
}

func (b *tab) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatalf("chromium: %v", err)
	}
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	b.must(chromedp.Do(b.ctx, steps...))
}

// open goes to an address of the host and waits until it is loaded.
func (b *tab) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate("http://" + b.host + path))
}

// js evaluates an expression, which may be a promise, in the page.
func js[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression is true in the page, over reloads too.
func (b *tab) until(expression string) {
	b.t.Helper()
	err := eventually(patience, func() error {
		ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && !ok {
			err = fmt.Errorf("it is not")
		}
		return err
	})
	if err != nil {
		text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.body.innerText`))
		b.t.Fatalf("waited %v for that %s: %v; the page is:\n%.3000s", patience, expression, err, text)
	}
}

// text is what an element shows.
func (b *tab) text(selector string) string {
	b.t.Helper()
	return js[string](b, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// texts is what each of some elements shows.
func (b *tab) texts(selector string) []string {
	b.t.Helper()
	return js[[]string](b, fmt.Sprintf("Array.from(document.querySelectorAll(%q), e => e.innerText.trim())", selector))
}

// key presses keys, one after the other, wherever the focus is.
func (b *tab) key(keys ...string) {
	b.t.Helper()
	for _, k := range keys {
		b.do(chromedp.KeyEvent(k))
	}
}

// click clicks the middle of an element, as a mouse does.
func (b *tab) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible))
}

// theme has the system prefer "light" or "dark".
func (b *tab) theme(theme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}},
	})
	b.must(err)
}

// size sets the size of the window in CSS pixels; 360 wide is a phone.
func (b *tab) size(width, height int64) {
	b.t.Helper()
	if width < 600 {
		b.do(chromedp.EmulateViewport(width, height, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulateScale(2)))
		return
	}
	b.do(chromedp.EmulateViewport(width, height))
}

// scripts switches scripts on or off, for pages that are opened from now on.
func (b *tab) scripts(on bool) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
	b.must(err)
}

// allowClipboard has pages of the host read and write the clipboard unasked.
func (b *tab) allowClipboard() {
	b.t.Helper()
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		_, err := chromedp.CallBrowser(b.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name},
			Setting:    browser.PermissionSettingGranted, Origin: "http://" + b.host,
		})
		b.must(err)
	}
}

// traffic returns the bytes received and the paths asked for since the last call.
func (b *tab) traffic() (float64, []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	received, requests := b.received, b.requests
	b.received, b.requests = 0, nil
	return received, requests
}

// keepPicture keeps what a failed test saw, if there is a place for it.
func (b *tab) keepPicture() {
	dir := os.Getenv("DROPSEED_TEST_PICTURES")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	if png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100)); err == nil {
		name := strings.ReplaceAll(b.t.Name(), "/", "_") + ".png"
		_ = os.WriteFile(dir+"/"+name, png, 0o644) // it is only a help
	}
}

// What says that nothing is wrong must hear of it when something is.
func TestBrowserComplains(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	b := newBrowser(t, serve(t, t.TempDir()))
	b.open("/")
	for _, row := range []struct{ does, complaint string }{
		{`console.error("of the page")`, "console: \"of the page\""},
		{`setTimeout(() => { throw new Error("nobody catches it") })`, "nobody catches it"},
		{`Promise.reject(new Error("nobody waits for it"))`, "nobody waits for it"},
		{`document.body.append(Object.assign(document.createElement("script"), {textContent: "window.ran = true"}))`, "content security policy: script-src"},
		{`document.body.setAttribute("style", "color: red")`, "content security policy: style-src"},
		{`document.body.append(Object.assign(new Image(), {src: "http://elsewhere.invalid/x.png"}))`, "elsewhere.invalid"},
		{`fetch("nothing")`, "404"},
	} {
		js[bool](b, "("+row.does+", true)")
		err := eventually(patience, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			if all := strings.Join(b.wrong, "\n"); !strings.Contains(all, row.complaint) {
				return fmt.Errorf("the complaints are %q", all)
			}
			b.wrong = nil
			return nil
		})
		if err != nil {
			t.Errorf("%s: want %q: %v", row.does, row.complaint, err)
		}
	}
	if js[bool](b, `window.ran === true`) {
		t.Error("a script within the page ran")
	}
	time.Sleep(100 * time.Millisecond) // each of these is told of in several ways
	b.mu.Lock()
	b.wrong = nil
	b.mu.Unlock()
}
