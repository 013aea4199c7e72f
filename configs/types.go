package configs

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes, written with a unit of 1000 (kB, MB, GB) or 1024
// (KiB, MiB, GiB), such as 256KiB; without a unit it is bytes.
type Size int64

// UnmarshalText parses a size.
func (s *Size) UnmarshalText(text []byte) error {
	n, err := parseBytes(string(text))
	if err != nil {
		return errors.New("want a size such as 256KiB, 10MB or 262144")
	}
	*s = Size(n)
	return nil
}

func (s Size) String() string { return formatBytes(int64(s)) }

// Rate is a number of bytes per second, written as a size per second (10MB/s,
// 500KiB/s) or in bits (100Mbit/s, 1.5 Gbit/s). 0 means unlimited.
type Rate int64

// UnmarshalText parses a rate. A rate below one byte per second is refused, as
// it would turn into unlimited.
func (r *Rate) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(string(text)), "/s"))
	bits, isBits := strings.CutSuffix(s, "bit")
	if isBits {
		// "100M" and "100 M" are both sizes that ParseBytes knows.
		s = strings.TrimSpace(bits)
	}
	n, err := parseBytes(s)
	if isBits && err == nil {
		if n > 0 && n < 8 {
			err = strconv.ErrRange
		}
		n /= 8
	}
	if err != nil {
		return errors.New("want a rate such as 10MB/s, 500KiB/s or 100Mbit/s, or 0 for unlimited")
	}
	*r = Rate(n)
	return nil
}

func (r Rate) String() string {
	if r == 0 {
		return "0"
	}
	return formatBytes(int64(r)) + "/s"
}

func parseBytes(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil {
		return 0, err
	}
	// A fraction of a byte must not turn into 0, which often means unlimited.
	if n > math.MaxInt64 || n == 0 && strings.ContainsAny(s, "123456789") {
		return 0, strconv.ErrRange
	}
	return int64(n), nil
}

// formatBytes is exact, unlike humanize.IBytes: what it returns parses as n.
func formatBytes(n int64) string {
	if n == 0 {
		return "0"
	}
	for _, u := range []struct {
		name string
		size int64
	}{
		{"GiB", humanize.GiByte}, {"GB", humanize.GByte}, {"MiB", humanize.MiByte},
		{"MB", humanize.MByte}, {"KiB", humanize.KiByte}, {"kB", humanize.KByte},
	} {
		if n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// LogFormat is how log lines look.
type LogFormat string

// The log formats.
const (
	LogText LogFormat = "text" // for people
	LogJSON LogFormat = "json" // one JSON object a line
)

// UnmarshalText parses a log format.
func (f *LogFormat) UnmarshalText(text []byte) error {
	switch v := LogFormat(text); v {
	case LogText, LogJSON:
		*f = v
		return nil
	}
	return errors.New("want text or json")
}

// Color is a color as #rrggbb; empty is a default.
type Color string

// UnmarshalText parses a color.
func (c *Color) UnmarshalText(text []byte) error {
	s := strings.ToLower(string(text))
	if s != "" && (len(s) != len("#rrggbb") || s[0] != '#' || strings.Trim(s[1:], "0123456789abcdef") != "") {
		return errors.New("want a color such as #0f74c4 (in quotes, as # begins a comment)")
	}
	*c = Color(s)
	return nil
}

// OffloadMode is how releases are offered to peers.
type OffloadMode string

// The modes of offering.
const (
	OffloadSpread OffloadMode = "spread" // each piece to one peer first
	OffloadPlain  OffloadMode = "plain"  // everything to everybody
)

// UnmarshalText parses a mode of offering.
func (m *OffloadMode) UnmarshalText(text []byte) error {
	switch v := OffloadMode(text); v {
	case OffloadSpread, OffloadPlain:
		*m = v
		return nil
	}
	return errors.New("want spread or plain")
}

// Addressing is where in the URLs of a bucket its name stands.
type Addressing string

// The Addressings.
const (
	AddressingAuto Addressing = ""
	AddressingPath Addressing = "path"
	AddressingHost Addressing = "host"
)

// UnmarshalText reads auto, path or host.
func (a *Addressing) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "auto":
		*a = AddressingAuto
	case "path", "host":
		*a = Addressing(s)
	default:
		return errors.New("want auto, path or host")
	}
	return nil
}

// BucketWebseed is who sends a bucket's content over HTTP.
type BucketWebseed string

// The BucketWebseeds.
const (
	WebseedProxy    BucketWebseed = ""         // dropseed
	WebseedRedirect BucketWebseed = "redirect" // the bucket's server, by signed URLs
	WebseedPublic   BucketWebseed = "public"   // whoever has it at a public URL
)

// UnmarshalText reads proxy, redirect or public.
func (b *BucketWebseed) UnmarshalText(text []byte) error {
	switch s := string(text); s {
	case "proxy":
		*b = WebseedProxy
	case "redirect", "public":
		*b = BucketWebseed(s)
	default:
		return errors.New("want proxy, redirect or public")
	}
	return nil
}

// NotifyEvent is a kind of event that others are told of.
type NotifyEvent string

// The NotifyEvents.
const (
	EventPublished NotifyEvent = "published"
	EventRetired   NotifyEvent = "retired"
	EventFailed    NotifyEvent = "failed"
)

// UnmarshalText reads published, retired or failed.
func (e *NotifyEvent) UnmarshalText(text []byte) error {
	switch v := NotifyEvent(text); v {
	case EventPublished, EventRetired, EventFailed:
		*e = v
		return nil
	}
	return errors.New("want published, retired or failed")
}

// Secret is a password, token or key. However it is printed or logged, it
// shows as [redacted]; only Reveal returns it.
type Secret string

const redacted = "[redacted]"

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Format prints [redacted] for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue logs [redacted].
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText encodes [redacted], in JSON and YAML too.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// UnmarshalText takes any text.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
