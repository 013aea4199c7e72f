package site

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"path"
	"slices"
	"strings"
)

// Brand is how the pages look and what they say besides the releases. The zero
// value is dropseed's own look.
type Brand struct {
	Description  string // plain text; of what is published here
	Announcement string // Markdown; on top of every page
	Logo         Logo   // the zero value: a drop
	Accent       *Color // of buttons and links on light ground
	AccentDark   *Color // on dark ground; nil: Accent, made light enough
}

// MaxLogo is the most bytes that a logo may have.
const MaxLogo = 256 << 10

// A Logo is an image of at most MaxLogo bytes; see [NewLogo].
type Logo struct {
	ext  string // with the dot
	body []byte
}

// NewLogo returns the Logo that is in a file. Its name says which kind of image
// it is: SVG, PNG or WebP.
func NewLogo(name string, body []byte) (Logo, error) {
	ext := strings.ToLower(path.Ext(name))
	var ok bool
	switch ext {
	case ".svg":
		ok = bytes.Contains(body, []byte("<svg"))
	case ".png":
		ok = bytes.HasPrefix(body, []byte("\x89PNG\r\n\x1a\n"))
	case ".webp":
		ok = len(body) > 12 && string(body[:4]) == "RIFF" && string(body[8:12]) == "WEBP"
	default:
		return Logo{}, errors.New("want an image called .svg, .png or .webp")
	}
	if !ok {
		return Logo{}, fmt.Errorf("want an image as its name says (%s), but it holds something else", ext)
	}
	if len(body) > MaxLogo {
		return Logo{}, fmt.Errorf("want at most %d KiB, got %d bytes", MaxLogo>>10, len(body))
	}
	return Logo{ext, body}, nil
}

// logoPolicy keeps an SVG from being more than a picture when it is opened as a page.
const logoPolicy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"

// branding is a Brand made ready for the pages.
type branding struct {
	description  string
	announcement template.HTML
	logo, icon   string // paths within the site; logo: "" for the drop
}

// newBranding renders a Brand and adds its files to the assets.
func newBranding(b Brand, assets *assetSet) branding {
	light, dark := defaultAccent, defaultAccentDark
	if b.Accent != nil {
		light, dark = *b.Accent, linkOn(*b.Accent, darkGrounds)
	}
	if b.AccentDark != nil {
		dark = *b.AccentDark
	}
	assets.add("brand.css", []byte(brandSheet(light, dark)), "")
	assets.add("icon.svg", fmt.Appendf(nil, iconImage, readable(light, white)), logoPolicy)
	out := branding{description: b.Description, icon: assets.asset("icon.svg")}
	if b.Announcement != "" {
		out.announcement = renderMarkdown([]byte(b.Announcement), nil)
	}
	if b.Logo.body != nil {
		assets.add("logo"+b.Logo.ext, b.Logo.body, logoPolicy)
		out.logo = assets.asset("logo" + b.Logo.ext)
		out.icon = out.logo
	}
	return out
}

const iconImage = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path fill="%v" d="M12 2C9 7 5 10.5 5 15a7 7 0 0 0 14 0C19 10.5 15 7 12 2z"/></svg>`

// brandSheet is the style sheet with the colors of a Brand. An accent that is
// too faint to be read as a link is made stronger there, not where it is ground.
func brandSheet(light, dark Color) string {
	sheet := func(c Color, grounds []Color) string {
		return fmt.Sprintf("--accent:%v;--accent-text:%v;--link:%v;--banner:%v", c, textOn(c), linkOn(c, grounds), banner(c, grounds))
	}
	return fmt.Sprintf(":root{%s}\n@media (prefers-color-scheme:dark){:root{%s}}\n", sheet(light, lightGrounds), sheet(dark, darkGrounds))
}

// banner is the ground of the announcement in a theme: a touch of the accent.
func banner(accent Color, grounds []Color) Color { return mix(grounds[1], accent, 0.1) }

// linkOn is the color of links on everything that they stand on in a theme.
func linkOn(accent Color, grounds []Color) Color {
	return readable(accent, append(slices.Clone(grounds), banner(accent, grounds))...)
}
