package status

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"github.com/dustin/go-humanize"
	"github.com/dustin/go-humanize/english"
)

// Looks are how parts of the text are set off. Nil functions leave them as they are.
type Looks struct {
	Heading, Faint, Alarm func(string) string
}

func (l Looks) heading(s string) string { return apply(l.Heading, s) }
func (l Looks) faint(s string) string   { return apply(l.Faint, s) }
func (l Looks) alarm(s string) string   { return apply(l.Alarm, s) }

func apply(f func(string) string, s string) string {
	if f == nil {
		return s
	}
	return f(s)
}

// mostPending is how many pending trees are shown, however much room there is.
const mostPending = 20

// Text lays a snapshot out for people, in lines of at most width columns (0: any
// number), and so that it needs at most height lines if that is possible (0: any).
func (s Snapshot) Text(width, height int, l Looks) string {
	if width <= 0 {
		width = 120
	}
	st := s.Stats
	lines := []string{
		l.heading("dropseed "+clean(st.Version)) + " at " + s.URL + since(st.StartedAt, s.At),
		"",
		row("Releases", fmt.Sprintf("%d, %s", st.Releases, size(st.Size))),
		row("Sending", fmt.Sprintf("%s (peers %s, webseed %s, direct %s)", rate(st.Rates.Peers+st.Rates.Webseed+st.Rates.Direct),
			rate(st.Rates.Peers), rate(st.Rates.Webseed), rate(st.Rates.Direct))),
		row("Peers carry", fmt.Sprintf("%s, %.0f %% of all so far", rate(st.Rates.Carried), 100*st.PeersShare)),
		row("Sent", fmt.Sprintf("%s (peers %s, webseed %s, direct %s)", size(st.Sent.Peers+st.Sent.Webseed+st.Sent.Direct),
			size(st.Sent.Peers), size(st.Sent.Webseed), size(st.Sent.Direct))),
		row("Copies", fmt.Sprintf("%.2f", st.Copies)),
		row("Swarms", fmt.Sprintf("%s, %s, %d connected here, %s completed", // we seed all, and are not counted
			english.Plural(st.Swarm.Seeders, "other seeder", ""), english.Plural(st.Swarm.Leechers, "leecher", ""),
			st.Swarm.Connected, english.Plural(st.Swarm.Completed, "download", ""))),
	}
	pending, releases := min(len(s.Pending), mostPending), len(s.Releases)
	if height > 0 {
		pending, releases = room(height-len(lines), pending, releases)
	}
	if len(s.Pending) > 0 {
		lines = append(lines, "", l.heading(fmt.Sprintf("Not published yet (%d)", len(s.Pending))))
		for _, p := range s.Pending[:pending] {
			lines = append(lines, p.line(width, l))
		}
		if n := len(s.Pending) - pending; n > 0 {
			lines = append(lines, l.faint(fmt.Sprintf("  … and %d more", n)))
		}
	}
	if releases > 0 {
		lines = append(lines, "", l.heading("Busiest releases"))
		lines = append(lines, s.table(releases, width, l)...)
	}
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, width, "…")
	}
	return strings.Join(lines, "\n") + "\n"
}

// room returns for how many of the pending trees and releases there is room in so
// many lines. Half of it is for either, and what one does not need the other gets.
func room(lines, pending, releases int) (int, int) {
	lines -= 6 // empty lines, headings, the table's head, and how many more there are
	half := max(lines/2, 1)
	switch {
	case pending+releases <= lines:
	case pending <= half:
		releases = min(releases, max(lines-pending, 0))
	case releases <= half:
		pending = min(pending, max(lines-releases, 1))
	default:
		pending, releases = half, min(releases, max(lines-half, 0))
	}
	return pending, releases
}

// row is a line with what it is about in front.
func row(what, text string) string { return fmt.Sprintf("  %-12s %s", what, text) }

// line describes a pending tree.
func (p Pending) line(width int, l Looks) string {
	name := pad(clean(p.Name), min(32, width/3))
	text := fmt.Sprintf("  %s  %-8s", name, clean(p.State))
	switch p.State {
	case "hashing":
		return text + "  " + bar(p.Done, p.Total, 20) + fmt.Sprintf(" %s of %s", size(p.Done), size(p.Total))
	case "failed", "problem":
		return text + "  " + l.alarm(clean(p.Reason))
	}
	if p.Reason != "" {
		return text + "  " + clean(p.Reason)
	}
	if p.Total > 0 {
		text += "  " + size(p.Total)
	}
	return text
}

// bar shows how much of the total is done.
func bar(done, total int64, width int) string {
	share := 0.0
	if total > 0 {
		share = min(max(float64(done)/float64(total), 0), 1)
	}
	full := int(share * float64(width))
	return fmt.Sprintf("[%s%s] %3.0f %%", strings.Repeat("#", full), strings.Repeat(".", width-full), 100*share)
}

// table lists the first n releases.
func (s Snapshot) table(n, width int, l Looks) []string {
	name := max(min(48, width-58), 12)
	lines := []string{l.faint(fmt.Sprintf("  %s %9s %8s %8s %9s %8s %6s", pad("name", name), "size", "seeders", "leechers", "connected", "progress", "copies"))}
	for _, r := range s.Releases[:n] {
		progress := "-"
		if r.Swarm.Connected > 0 {
			progress = fmt.Sprintf("%.0f %%", 100*r.Swarm.Progress)
		}
		lines = append(lines, fmt.Sprintf("  %s %9s %8d %8d %9d %8s %6.2f", pad(clean(r.Name), name), size(r.Size),
			r.Swarm.Seeders, r.Swarm.Leechers, r.Swarm.Connected, progress, r.Copies))
	}
	return lines
}

// pad cuts or fills a text to a number of columns.
func pad(s string, width int) string {
	s = ansi.Truncate(s, width, "…")
	return s + strings.Repeat(" ", max(width-ansi.StringWidth(s), 0))
}

// clean replaces what is not printed, such as the escape sequences that a name
// may hold.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, strings.ToValidUTF8(s, "·"))
}

func size(n int64) string { return humanize.Bytes(uint64(max(n, 0))) }

func rate(perSecond float64) string { return size(int64(perSecond)) + "/s" }

// since says for how long a server has been up.
func since(started, now time.Time) string {
	if started.IsZero() || now.Before(started) {
		return ""
	}
	up := now.Sub(started)
	switch {
	case up < time.Minute:
		return fmt.Sprintf(", up %d s", int(up.Seconds()))
	case up < time.Hour:
		return fmt.Sprintf(", up %d min", int(up.Minutes()))
	case up < 48*time.Hour:
		return fmt.Sprintf(", up %d h %d min", int(up.Hours()), int(up.Minutes())%60)
	}
	return fmt.Sprintf(", up %d days", int(up.Hours())/24)
}
