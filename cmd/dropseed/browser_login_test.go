package main_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/fetch"
	"github.com/chromedp/chromedp"
)

// login answers the browser's questions for a name and a password, as the one
// who sits before it would; without a name it says "cancel".
type login struct {
	mu             sync.Mutex // guards the fields below
	name, password string
	asked          int // how often the browser wanted to know
}

func (l *login) as(name, password string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.name, l.password, l.asked = name, password, 0
}

func (l *login) times() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// logins has the browser ask a login instead of showing a dialog.
func (b *tab) logins() *login {
	b.t.Helper()
	l := &login{}
	asked := chromedp.Events(b.ctx, fetch.AuthRequired)
	paused := chromedp.Events(b.ctx, fetch.RequestPaused)
	b.hearing.Go(func() {
		for ev, err := range asked {
			if err != nil {
				return
			}
			l.mu.Lock()
			l.asked++
			answer := &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseCancelAuth}
			if l.name != "" {
				answer = &fetch.AuthChallengeResponse{Response: fetch.AuthChallengeResponseResponseProvideCredentials, Username: l.name, Password: l.password}
			}
			l.mu.Unlock()
			b.answer(chromedp.Call(b.ctx, fetch.ContinueWithAuth, fetch.ContinueWithAuthParams{RequestID: ev.RequestID, AuthChallengeResponse: answer}))
		}
	})
	b.hearing.Go(func() {
		for ev, err := range paused {
			if err != nil {
				return
			}
			b.answer(chromedp.Call(b.ctx, fetch.ContinueRequest, fetch.ContinueRequestParams{RequestID: ev.RequestID}))
		}
	})
	handle := true
	_, err := chromedp.Call(b.ctx, fetch.Enable, fetch.EnableParams{HandleAuthRequests: &handle})
	b.must(err)
	return l
}

// answer notes that a request could not be answered, unless the test is over.
func (b *tab) answer(_ any, err error) {
	if err != nil && b.ctx.Err() == nil && !strings.Contains(err.Error(), "Invalid InterceptionId") && !strings.Contains(err.Error(), context.Canceled.Error()) {
		b.t.Errorf("chromium: %v", err)
	}
}

// A private catalog is for those with an account, and what is the operator's for
// operators. Who may not see it is not asked for a password again and again.
func TestBrowserLogin(t *testing.T) {
	t.Parallel()
	need(t, "chromium")
	accounts, operators := accountFiles(t)
	folder := dropPlain(t)
	s := serve(t, folder, configured(t, "access: {catalog: private, operator: private, accounts: "+accounts+", operators: "+operators+"}\n")...)
	s.eventually("the release is published", func() error {
		if resp, body := s.ask(s.url("/api/v1/releases"), "Authorization", basic("ann")); !strings.Contains(string(body), plain) {
			return fmt.Errorf("status %d: %.300s", resp.StatusCode, body)
		}
		return nil
	})

	b := newBrowser(t, s)
	b.excuse("status of 401")
	visitor := b.logins()
	b.open("/")
	if page := js[string](b, `document.body.dataset.page`); page != "error" || strings.Contains(b.text("body"), plain) {
		t.Errorf("without an account the page is %q: %q", page, b.text("body"))
	}
	if visitor.times() == 0 {
		t.Error("the browser was not told to ask for an account")
	}

	visitor.as("ann", "ann's password")
	b.open("/")
	if got := b.texts(names); len(got) != 1 || got[0] != plain {
		t.Errorf("ann sees the releases %q", got)
	}
	b.click(names)
	b.until(`document.body?.dataset.page === "release" && document.readyState === "complete"`)
	if js[bool](b, `Boolean(document.querySelector("#swarm, #charts, [data-live], a[href$='/status']"))`) {
		t.Error("ann sees what is the operator's")
	}
	if n := visitor.times(); n != 1 {
		t.Errorf("ann was asked %d times, want once", n)
	}
	if _, requests := b.traffic(); strings.Contains(strings.Join(requests, " "), "/api/") {
		t.Errorf("for ann, these were asked for: %q", requests)
	}

	// Another browser, since one does not forget whom it knows.
	b = newBrowser(t, s)
	visitor = b.logins()
	visitor.as("bob", "bob's password")
	b.open("/releases/" + plain)
	b.until(`document.documentElement.dataset.events === "open"`)
	b.until(`document.querySelector("#charts [role=tab]")`)
	b.open("/status")
	b.until(`document.documentElement.dataset.events === "open"`)
	if n := visitor.times(); n != 1 {
		t.Errorf("bob was asked %d times, want once", n)
	}
}

// basic is the header with which one of accountFiles says who it is.
func basic(name string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+name+"'s password"))
}
