package notify

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// answerMost is how much of an answer is read, and not looked at, bytes.
const answerMost = 64 << 10

// secretPrefix begins a secret that is written as base64.
const secretPrefix = "whsec_"

// Secret is the key of the signatures: whsec_ and base64, or any text. However
// it is printed, it shows as [redacted].
type Secret string

// Format prints [redacted] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[redacted]")) }

// LogValue logs [redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue("[redacted]") }

func (s Secret) key() ([]byte, error) {
	text, ok := strings.CutPrefix(string(s), secretPrefix)
	if !ok {
		return []byte(s), nil
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("what follows whsec_ in the secret of notifications is not base64")
	}
	return key, nil
}

func (n *Notifier) addTargets() error {
	if len(n.o.URLs) > 0 {
		key, err := n.o.Secret.key()
		if err != nil {
			return err
		}
		if len(key) == 0 {
			return errors.New("the secret of notifications is missing")
		}
		sign, err := standardwebhooks.NewWebhookRaw(key)
		if err != nil {
			return fmt.Errorf("use the secret of notifications: %w", err)
		}
		client := n.newClient()
		for i, u := range n.o.URLs {
			t := newTarget(u.String(), fmt.Sprintf("URL %d, %s", i+1, u.Hostname()), "http")
			t.send = func(ctx context.Context, p payload) error { return n.post(ctx, client, sign, u.String(), p) }
			n.targets = append(n.targets, t)
		}
	}
	if len(n.o.Command) > 0 {
		t, err := n.newCommand()
		if err != nil {
			return err
		}
		n.targets = append(n.targets, t)
	}
	return nil
}

func (n *Notifier) newClient() *http.Client {
	transport := n.o.Transport
	if transport == nil {
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: n.o.Timeout}).DialContext,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: answerMost,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    n.o.Timeout,
		}
	}
	return &http.Client{
		Transport: transport,
		// What follows a redirect is not who was meant to be told.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// post tells a URL, signed as Standard Webhooks says.
func (n *Notifier) post(ctx context.Context, client *http.Client, sign *standardwebhooks.Webhook, to string, p payload) error {
	body, err := p.body()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return bare(err)
	}
	now := time.Now()
	signature, err := sign.Sign(p.ID, now, body)
	if err != nil {
		return fmt.Errorf("sign the event %s: %w", p.ID, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", n.o.UserAgent)
	req.Header.Set(standardwebhooks.HeaderWebhookID, p.ID)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	resp, err := client.Do(req)
	if err != nil {
		return bare(err)
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, answerMost) // so that the connection can be used again
	switch {
	case resp.StatusCode/100 == 2:
		return nil
	case resp.StatusCode == http.StatusGone:
		return fmt.Errorf("it answered %d: %w", resp.StatusCode, errGone)
	}
	err = fmt.Errorf("it answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	if wait := retryAfter(resp.Header.Get("Retry-After"), now); wait > 0 {
		return askedToWait{err, wait}
	}
	return err
}

// bare returns an error without the URL, which may hold a token.
func bare(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// retryAfter reads the header of that name (RFC 9110, 10.2.3): seconds or a date.
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return at.Sub(now)
	}
	return 0
}
