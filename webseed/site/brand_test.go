package site

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func testLogo(tb testing.TB, name, body string) Logo {
	tb.Helper()
	l, err := NewLogo(name, []byte(body))
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

// branded returns a fixture whose pages look as a Brand says.
func branded(tb testing.TB, b Brand) *fixture {
	f := newFixture(tb)
	o := f.site.o
	o.Brand = b
	f.site = New(o)
	f.Config.Handler = f.site
	return f
}

func TestContrastIsCountedAsWCAGDoes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b Color
		want float64
	}{{white, black, 21}, {white, white, 1}, {Color{0x77, 0x77, 0x77}, white, 4.478}, {Color{255, 0, 0}, white, 3.998}, {Color{0, 0, 255}, white, 8.592}} {
		if got := contrast(tt.a, tt.b); got < tt.want-0.002 || got > tt.want+0.002 {
			t.Errorf("contrast of %v on %v is %.3f, want %.3f", tt.a, tt.b, got, tt.want)
		}
	}
}

// Whatever the accent is, text on it and links in it can be read, in both themes.
func TestEveryAccentIsReadable(t *testing.T) {
	t.Parallel()
	for r := 0; r <= 255; r += 17 {
		for g := 0; g <= 255; g += 17 {
			for b := 0; b <= 255; b += 17 {
				c := Color{uint8(r), uint8(g), uint8(b)}
				if got := contrast(textOn(c), c); got < leastContrast {
					t.Fatalf("text on %v has a contrast of %.2f", c, got)
				}
				for _, grounds := range [][]Color{lightGrounds, darkGrounds} {
					link := linkOn(c, grounds)
					for _, ground := range append(slices.Clone(grounds), banner(c, grounds)) {
						if got := contrast(link, ground); got < leastContrast {
							t.Fatalf("a link of %v, which is %v on %v, has a contrast of %.2f", c, link, ground, got)
						}
					}
				}
			}
		}
	}
	for _, c := range []Color{defaultAccent, defaultAccentDark} {
		grounds := lightGrounds
		if c == defaultAccentDark {
			grounds = darkGrounds
		}
		if linkOn(c, grounds) != c {
			t.Errorf("the default %v is too faint", c)
		}
	}
}

// What color.go knows of the grounds is what style.css says.
func TestGroundsAreThoseOfTheSheet(t *testing.T) {
	t.Parallel()
	sheet, err := embedded.ReadFile("assets/style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, _ := bytes.Cut(sheet, []byte("prefers-color-scheme:dark"))
	for _, theme := range []struct {
		sheet   []byte
		grounds []Color
	}{{light, lightGrounds}, {dark, darkGrounds}} {
		find := func(name string) Color {
			m := regexp.MustCompile(`--` + name + `:(#[0-9a-f]{3,6})`).FindSubmatch(theme.sheet)
			if m == nil {
				t.Fatalf("no --%s", name)
			}
			text := string(m[1])
			if len(text) == 4 {
				text = "#" + strings.Repeat(text[1:2], 2) + strings.Repeat(text[2:3], 2) + strings.Repeat(text[3:4], 2)
			}
			c, err := ParseColor(text)
			if err != nil {
				t.Fatal(err)
			}
			return c
		}
		for i, name := range []string{"bg", "panel", "hover"} {
			if got := find(name); got != theme.grounds[i] {
				t.Errorf("--%s is %v, color.go says %v", name, got, theme.grounds[i])
			}
			for _, words := range []string{"text", "soft", "green", "orange", "red"} {
				if words == "red" && theme.sheet == nil {
					continue
				}
				if got := contrast(find(words), theme.grounds[i]); got < leastContrast {
					t.Errorf("--%s on --%s has a contrast of %.2f", words, name, got)
				}
			}
			if got := contrast(find("edge"), theme.grounds[i]); got < 3 { // WCAG 1.4.11
				t.Errorf("--edge on --%s has a contrast of %.2f", name, got)
			}
		}
	}
}

func TestBrandIsShown(t *testing.T) {
	t.Parallel()
	accent, _ := ParseColor("#FFD400")
	f := branded(t, Brand{
		Description: `Films & "more" <b>`, Announcement: "**News:** <script>x</script> [read](https://news.example/) ![p](https://x.example/p.gif)",
		Logo: testLogo(t, "mark.PNG", "\x89PNG\r\n\x1a\nx"), Accent: &accent,
	})
	f.publish(t, "a", 1, "")
	f.base = "https://public.example/seed"
	for _, page := range []string{"/", "/releases/a", "/nothing"} {
		a := f.get(t, page)
		wantAll(t, answer{a.Response, a.body}, a.StatusCode, `<strong>News:</strong>`, `<a href="https://news.example/" rel="nofollow noreferrer">read</a>`,
			`<img src="/seed`+f.site.assets.asset("logo.png")+`" alt=""`, `href="/seed`+f.site.assets.asset("brand.css"))
		if strings.Contains(a.body, "<script>") || strings.Contains(a.body, "p.gif") || strings.Contains(a.body, "#ffd400") {
			t.Errorf("%s holds what it must not:\n%s", page, a.body)
		}
	}
	wantAll(t, f.get(t, "/"), 200, `<p class="lead">Films &amp; &#34;more&#34; &lt;b&gt;</p>`, `<meta name="description" content="Films &amp; &#34;more&#34; &lt;b&gt;">`)
	wantAll(t, f.get(t, f.site.assets.asset("brand.css")), 200, "--accent:#ffd400;--accent-text:#0b121a;--link:#", "@media (prefers-color-scheme:dark){:root{--accent:#ffd400;")
	if a := f.get(t, f.site.assets.asset("logo.png")); a.Header.Get("Content-Type") != "image/png" || a.body != "\x89PNG\r\n\x1a\nx" {
		t.Errorf("the logo is %q: %q", a.Header.Get("Content-Type"), a.body)
	}
}

func TestLogosAreWhatTheySay(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a.svg": "PNG", "a.png": "<svg>", "a.webp": "RIFFxxxxWAVE1", "a.gif": "GIF89a", "a": "<svg>", "b.svg": "<svg>" + strings.Repeat(" ", MaxLogo),
	} {
		if _, err := NewLogo(name, []byte(body)); err == nil {
			t.Errorf("%s with %.20q is taken", name, body)
		}
	}
	testLogo(t, "A.SVG", "<?xml version='1.0'?><svg/>")
	testLogo(t, "a.webp", "RIFFxxxxWEBPVP8")
}

func TestParseColor(t *testing.T) {
	t.Parallel()
	if c, err := ParseColor("#0f74C4"); err != nil || c != (Color{0x0f, 0x74, 0xc4}) || c.String() != "#0f74c4" {
		t.Errorf("got %v, %v", c, err)
	}
	for _, bad := range []string{"", "#", "0f74c4", "#0f7", "#0f74c", "#0f74c4f", "#0g74c4", "red", "#+f74c4", "##f74c4"} {
		if c, err := ParseColor(bad); err == nil {
			t.Errorf("%q is %v", bad, c)
		}
	}
}
