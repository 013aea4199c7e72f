package site

import (
	"bytes"
	"fmt"
	"html/template"
	"regexp"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/renderer/html"
	gmtext "github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// Bounds of Markdown, which anybody may have written.
const (
	maxMarkdown = 64 << 10 // bytes
	maxCells    = 20_000   // of tables: short rows are filled up to the width of the first
	maxBrackets = 3000     // which may begin links: each looks for its end
	maxQuoting  = 100      // quotes and lists within each other, that begin in one line
	maxEmphasis = 5000     // runs of what may begin emphasis: each looks for its beginning
	maxRendered = 1 << 20  // bytes of HTML
)

// idPrefix is in front of what headings of Markdown are called, so that they
// cannot be taken for parts of our pages.
const idPrefix = "readme-"

// resolver returns the link within the site that a relative link in Markdown
// means, or "" if it means nothing that is published.
type resolver func(link string) string

// The parsers know the GitHub flavor of Markdown; one of them leaves tables alone.
var withTables, withoutTables = newMarkdown(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignAttribute))), newMarkdown()

func newMarkdown(more ...goldmark.Extender) goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(append(more, extension.Strikethrough, extension.Linkify, extension.TaskList)...),
		goldmark.WithParserOptions(
			parser.WithAutoHeadingID(),
			parser.WithASTTransformers(util.Prioritized(transformer{}, 1000)),
		),
		goldmark.WithRendererOptions(
			html.WithUnsafe(), // sanitized holds for all of it
			renderer.WithNodeRenderers(util.Prioritized(checkBoxes{}, 100)),
		),
	)
}

// ownImage is the address of an image among the files, of a kind that is sent as
// an image.
var ownImage = regexp.MustCompile(`^\.\./files/[A-Za-z0-9._~%/-]+\.(?i:png|jpe?g|gif|webp|avif)$`)

// sanitized is all that rendered Markdown may hold. Images are those of the
// release; links lead to other sites, to its files, and within the text.
var sanitized = func() *bluemonday.Policy {
	p := bluemonday.NewPolicy()
	p.AllowElements("h3", "h4", "h5", "h6", "p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "b", "i", "u", "s", "del",
		"ins", "sub", "sup", "kbd", "samp", "var", "small", "mark", "abbr", "dl", "dt", "dd", "details", "summary", "div", "span")
	p.AllowLists()
	p.AllowElements("table", "thead", "tbody", "tfoot", "tr", "th", "td")
	p.AllowAttrs("align").Matching(regexp.MustCompile(`^(left|center|right)$`)).OnElements("th", "td", "p", "div")
	p.AllowAttrs("id").Matching(regexp.MustCompile(`^`+idPrefix+`[a-z0-9_-]+$`)).OnElements("h3", "h4", "h5", "h6")
	p.AllowAttrs("href").Matching(regexp.MustCompile(`^(https?://|mailto:|\.\./files/|#` + idPrefix + `)`)).OnElements("a")
	p.AllowAttrs("src").Matching(ownImage).OnElements("img")
	p.AllowAttrs("alt", "title").OnElements("img", "a", "abbr")
	p.AllowAttrs("width", "height").Matching(regexp.MustCompile(`^[0-9]{1,4}%?$`)).OnElements("img")
	p.AllowURLSchemes("http", "https", "mailto")
	p.AllowRelativeURLs(true)
	p.RequireParseableURLs(true)
	p.RequireNoFollowOnLinks(true)
	p.RequireNoReferrerOnLinks(true) // and so noopener
	return p
}()

// renderMarkdown returns Markdown as HTML that is safe whoever wrote it. What
// would become very large is shown as it was written. resolve may be nil, and
// then there are no relative links and no images.
func renderMarkdown(source []byte, resolve resolver) template.HTML {
	source = bytes.ToValidUTF8(source[:min(len(source), maxMarkdown)], []byte("\uFFFD"))
	if isIntricate(source) {
		return renderPlain(source)
	}
	md := withTables
	if cells(source) > maxCells {
		md = withoutTables
	}
	pc := parser.NewContext(parser.WithIDs(&headingIDs{used: make(map[string]int)}))
	pc.Set(resolverKey, resolve)
	var b bytes.Buffer
	err := md.Convert(source, &b, parser.WithContext(pc))
	if err != nil || b.Len() > maxRendered {
		return renderPlain(source)
	}
	out := sanitized.SanitizeBytes(b.Bytes())
	return template.HTML(out)
}

// renderPlain returns text as HTML that shows it as it is.
func renderPlain(source []byte) template.HTML {
	return template.HTML("<pre>" + template.HTMLEscapeString(strings.ToValidUTF8(string(source), "\uFFFD")) + "</pre>")
}

// cells bounds how many cells the tables of a text can have: all its lines, each
// as wide as the widest.
func cells(source []byte) int {
	lines, widest := 0, 0
	for line := range bytes.SplitSeq(source, []byte("\n")) {
		lines++
		widest = max(widest, bytes.Count(line, []byte("|")))
	}
	return lines * widest
}

// isIntricate reports whether reading a text as Markdown would take long: for
// some of what it may hold the time grows with the square of its length.
func isIntricate(source []byte) bool {
	if bytes.Count(source, []byte("[")) > maxBrackets {
		return true
	}
	runs, last := 0, byte(0)
	for _, c := range source {
		if c != last && bytes.IndexByte([]byte("*_~"), c) >= 0 {
			runs++
		}
		last = c
	}
	if runs > maxEmphasis {
		return true
	}
	for line := range bytes.SplitSeq(source, []byte("\n")) {
		if len(nesting.Find(line)) > 0 {
			return true
		}
	}
	return false
}

// nesting is a line that begins more quotes and lists than maxQuoting.
var nesting = regexp.MustCompile(fmt.Sprintf(`^([ \t]*(>|[-+*][ \t]|[0-9]{1,9}[.)][ \t])){%d}`, maxQuoting+1))

var resolverKey = parser.NewContextKey()

// transformer fits what was read into our pages: it moves headings below those
// of the page, and makes links of what relative links mean.
type transformer struct{}

func (transformer) Transform(doc *ast.Document, _ gmtext.Reader, pc parser.Context) {
	resolve, _ := pc.Get(resolverKey).(resolver)
	var images []*ast.Image
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			n.Level = min(n.Level+2, 6)
		case *ast.Link:
			n.Destination = []byte(linkTo(string(n.Destination), resolve))
		case *ast.Image:
			n.Destination = []byte(linkTo(string(n.Destination), resolve))
			if !ownImage.Match(n.Destination) {
				images = append(images, n)
			}
		}
		return ast.WalkContinue, nil
	})
	for _, img := range images { // what is shown in place of a foreign image is what it says of itself
		parent := img.Parent()
		for c := img.FirstChild(); c != nil; {
			next := c.NextSibling()
			parent.InsertBefore(parent, img, c)
			c = next
		}
		parent.RemoveChild(parent, img)
	}
}

// linkTo returns where a link in Markdown leads on our page.
func linkTo(link string, resolve resolver) string {
	switch {
	case strings.HasPrefix(link, "#"):
		return "#" + idPrefix + strings.ToLower(link[1:])
	case absolute.MatchString(link):
		return link // the policy judges its scheme
	case resolve == nil:
		return ""
	}
	return resolve(link)
}

// absolute is how a link begins that does not lead to a file of the release.
var absolute = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*:|/|\\)`)

// headingIDs names headings as GitHub does, roughly.
type headingIDs struct{ used map[string]int }

func (h *headingIDs) Generate(value []byte, _ ast.NodeKind) []byte {
	id := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c == ' ':
			return '-'
		}
		return -1
	}, string(bytes.TrimSpace(value)))
	if id == "" {
		id = "heading"
	}
	n := h.used[id]
	h.used[id]++
	if n > 0 {
		id = fmt.Sprintf("%s-%d", id, n)
	}
	return []byte(idPrefix + id)
}

func (h *headingIDs) Put([]byte) {}

// checkBoxes shows task lists with signs: a box that cannot be checked is no
// control, and would need a label.
type checkBoxes struct{}

func (checkBoxes) RegisterFuncs(reg renderer.NodeRendererFuncRegisterer) {
	reg.Register(extast.KindTaskCheckBox, func(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
		if box, ok := n.(*extast.TaskCheckBox); ok && entering {
			sign := "☐ "
			if box.IsChecked {
				sign = "☑ "
			}
			_, _ = w.WriteString(sign)
		}
		return ast.WalkContinue, nil
	})
}
