package site

import (
	"regexp"
	"strings"
	"testing"
	"time"
)

// forbidden is what rendered Markdown must hold under no circumstances.
var forbidden = regexp.MustCompile(`(?i)<(script|style|iframe|object|embed|form|input|button|link|meta|base|svg|math|video|audio|template|textarea|noscript|title|xmp|plaintext)\b` +
	`|<[^>]*\s(on[a-z]+|style|class|name|srcset|formaction|xlink:href|target|data-[a-z]+)\s*=` +
	`|(href|src)\s*=\s*["']?\s*(javascript|data|vbscript|file|blob):` +
	`|src\s*=\s*["']?(https?:|//)` +
	`|\sid="(?:[^r]|r[^e])`)

func TestMarkdownIsHarmless(t *testing.T) {
	t.Parallel()
	for _, source := range []string{
		`<script>alert(1)</script>`, `<ScRiPt src="//evil.example/x.js"></sCrIpT>`, `<img src=x onerror=alert(1)>`,
		`<img src="https://evil.example/pixel.gif">`, `![](https://evil.example/pixel.gif)`, `![x](//evil.example/p.gif)`,
		`![x](data:image/svg+xml,<svg onload=alert(1)>)`, `[x](javascript:alert(1))`, `[x](JaVaScRiPt:alert(1))`,
		"[x](java\tscript:alert(1))", `[x](&#106;avascript:alert(1))`, `[x](\x01javascript:alert(1))`, `[x](vbscript:x)`, `[x](data:text/html,<script>1</script>)`,
		`<javascript:alert(1)>`, `<a href="javascript:alert(1)">x</a>`, `<a href="&#x6A;avascript:alert(1)">x</a>`, `<a href=" javascript:alert(1)">x</a>`,
		`<svg><script>alert(1)</script></svg>`, `<svg/onload=alert(1)>`, `<math><mi xlink:href="javascript:alert(1)">x</mi></math>`,
		`<iframe src="javascript:alert(1)"></iframe>`, `<object data="x"></object>`, `<embed src="x">`, `<form action="https://evil.example"><input name=q><button>x</button></form>`,
		`<div style="position:fixed;inset:0">x</div>`, `<p class="copy" id="pending">x</p>`, `<h3 id="releases">x</h3>`, `<button class="copy" data-copy="rm -rf /">Copy</button>`,
		`<span data-live="stats.size">1</span>`, `<base href="https://evil.example/">`, `<meta http-equiv="refresh" content="0;url=https://evil.example">`,
		`<link rel=stylesheet href="https://evil.example/x.css">`, `<style>*{display:none}</style>`, `<a target=_blank href="https://x.example">x</a>`,
		"<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">", `<textarea><img title="</textarea><img src=x onerror=alert(1)>">`,
		`<details open ontoggle=alert(1)>x</details>`, `<img srcset="https://evil.example/a 1x" src="../files/a">`, `<!--><img src=x onerror=alert(1)>-->`,
		`<![CDATA[<img src=x onerror=alert(1)>]]>`, "```html\n<script>alert(1)</script>\n```", "`<script>`", `[![x](https://evil.example/a.svg)](javascript:alert(1))`,
		`<https://evil.example/"onmouseover="alert(1)>`, `[a](<https://x.example/"onclick=alert(1) x=">)`, `# x {onclick=alert(1)}`, "[x]: javascript:alert(1)\n\n[x]",
		`<b/onclick=alert(1)>`, `<<script>script>alert(1)<</script>/script>`, `<img src="../files/a" onerror=alert(1)>`, "<a\nhref='javascript:alert(1)'\n>x", `www.x.example"onclick="alert(1)`,
	} {
		out := string(renderMarkdown([]byte(source), func(string) string { return "../files/release/x.png" }))
		if m := forbidden.FindString(out); m != "" {
			t.Errorf("%s\nbecame %s\nwhich holds %q", source, out, m)
		}
	}
}

func TestMarkdownIsRendered(t *testing.T) {
	t.Parallel()
	resolve := func(link string) string {
		if link == "docs/a.md" || link == "shot.png" || link == "a.svg" {
			return "../files/r/" + link
		}
		return ""
	}
	for _, tt := range []struct{ source, want string }{
		{"# One\n\n## Two\n\n# One", `<h3 id="readme-one">One</h3>` + "\n" + `<h4 id="readme-two">Two</h4>` + "\n" + `<h3 id="readme-one-1">One</h3>`},
		{"[up](#Two)", `<p><a href="#readme-two" rel="nofollow noreferrer">up</a></p>`},
		{"[x](https://x.example/)", `<p><a href="https://x.example/" rel="nofollow noreferrer">x</a></p>`},
		{"[x](docs/a.md)", `<p><a href="../files/r/docs/a.md" rel="nofollow noreferrer">x</a></p>`},
		{"[x](docs/b.md)", `<p>x</p>`},
		{"![a shot](shot.png)", `<p><img src="../files/r/shot.png" alt="a shot"></p>`},
		{"![a drawing](a.svg)", `<p>a drawing</p>`},
		{"![build *passing*](https://ci.example/b.svg)!", `<p>build <em>passing</em>!</p>`},
		{"[![badge](https://ci.example/b.svg)](https://ci.example/)", `<p><a href="https://ci.example/" rel="nofollow noreferrer">badge</a></p>`},
		{"- [x] done\n- [ ] not", "<ul>\n<li>☑ done</li>\n<li>☐ not</li>\n</ul>"},
		{"|a|b|\n|-|-:|\n|1|2|", "<table>\n<thead>\n<tr>\n<th>a</th>\n<th align=\"right\">b</th>\n</tr>\n</thead>\n<tbody>\n<tr>\n<td>1</td>\n<td align=\"right\">2</td>\n</tr>\n</tbody>\n</table>"},
		{"~~no~~ a<br>b <kbd>x</kbd>", "<p><del>no</del> a<br>b <kbd>x</kbd></p>"},
		{"```go\nx < y\n```", "<pre><code>x &lt; y\n</code></pre>"},
		{"\xff\x00bad", "<p>\uFFFD\uFFFDbad</p>"},
	} {
		if got := strings.TrimSpace(string(renderMarkdown([]byte(tt.source), resolve))); got != tt.want {
			t.Errorf("%q\ngave %s\nwant %s", tt.source, got, tt.want)
		}
	}
}

// What is made to take long takes little, and becomes little. Without the bounds
// some of these take minutes or gigabytes.
func TestMarkdownIsBounded(t *testing.T) {
	t.Parallel()
	fill := func(unit string) string { return strings.Repeat(unit, maxMarkdown/len(unit)) }
	for name, source := range map[string]string{
		"brackets": fill("["), "links": fill("[a]("), "images": fill("![a]("), "quotes": fill(">"), "mixed": fill("*_"), "ticks": fill("`a``b```c"),
		"wide table": strings.Repeat("|a", 10_000) + "\n" + strings.Repeat("|-", 10_000) + "\n" + fill("|\n"),
		"tall table": "|a|b|c|d\n|-|-|-|-\n" + fill("|\n"), "same headings": fill("#\n"), "nested list": fill("- "), "ordered": fill("1. "),
		"quoted lists": fill("> - "), "nothing closed": fill("x*_"), "names": fill("*a_ "), "lazy": strings.Repeat("- ", 16_000) + "\n" + fill("x\n")[:maxMarkdown/2],
		"deep quotes": strings.Repeat("> ", 200) + "\n" + fill(strings.Repeat("> ", 100)+"a\n"), "emphasis": fill("**a *b "),
	} {
		start := time.Now()
		out := renderMarkdown([]byte(source), nil)
		if took := time.Since(start); took > 5*time.Second { // a fiftieth is usual, but for a busy machine
			t.Errorf("%s took %v", name, took)
		}
		if len(out) > 6*maxRendered {
			t.Errorf("%s became %d bytes", name, len(out))
		}
	}
}

func FuzzMarkdown(f *testing.F) {
	f.Add("# a\n[b](c) ![d](e) <b>f</b> | g\n")
	f.Fuzz(func(t *testing.T, source string) {
		out := string(renderMarkdown([]byte(source), func(string) string { return "../files/x" }))
		if m := forbidden.FindString(out); m != "" {
			t.Errorf("%q became %q, which holds %q", source, out, m)
		}
	})
}
