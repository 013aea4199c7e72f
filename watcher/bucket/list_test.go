package bucket

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dropseed/watcher"
)

// lister answers ListObjectsV2 as S3 does, with keys that no file system holds.
type lister struct {
	keys  []string          // in the order of their bytes
	class map[string]string // storage classes other than STANDARD
	etags map[string]string // ETags, quoted, other than the usual
	size  int64
}

func (l *lister) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("list-type") != "2" || q.Get("encoding-type") != "url" {
		w.WriteHeader(http.StatusNotImplemented)
		return
	}
	limit, err := strconv.Atoi(q.Get("max-keys"))
	if err != nil {
		limit = 1000
	}
	var page []string
	more := false
	for _, k := range l.keys {
		if !strings.HasPrefix(k, q.Get("prefix")) || k <= q.Get("continuation-token") {
			continue
		}
		if more = len(page) == limit; more {
			break
		}
		page = append(page, k)
	}
	fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>%v</IsTruncated>`, more)
	if more {
		fmt.Fprintf(w, "<NextContinuationToken>%s</NextContinuationToken>", page[len(page)-1])
	}
	for _, k := range page {
		size, class, etag := l.size, "STANDARD", `"9dd4e461268c8034f5c8564e155c67a6"`
		if strings.HasSuffix(k, "/") {
			size = 0
		}
		if c := l.class[k]; c != "" {
			class = c
		}
		if e, ok := l.etags[k]; ok {
			etag = e
		}
		fmt.Fprintf(w, "<Contents><Key>%s</Key><LastModified>2026-01-02T03:04:05.000Z</LastModified>"+
			"<ETag>%s</ETag><Size>%d</Size><StorageClass>%s</StorageClass></Contents>",
			url.QueryEscape(k), strings.ReplaceAll(etag, `"`, "&#34;"), size, class)
	}
	fmt.Fprint(w, "</ListBucketResult>")
}

// listed is a Bucket on a lister.
func listed(t testing.TB, l *lister, log *logBuffer) *Bucket {
	t.Helper()
	slices.Sort(l.keys)
	l.size = 1
	s := httptest.NewServer(l)
	t.Cleanup(s.Close)
	o := Options{Endpoint: s.URL, Region: region, Bucket: "isos", AccessKey: accessKey, SecretKey: secretKey}
	if log != nil {
		o.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	return newBucket(t, o)
}

func TestKeysThatAreNoPathsAreProblemsOfTheirTrees(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 256)
	problems := map[string]string{
		"t1/a//b":           "empty",
		"t2/../b":           `".."`,
		"t3/./b":            `"."`,
		"t4/\xff":           "UTF-8",
		"t5/a\x00b":         "NUL",
		"t6/" + long:        "255 bytes",
		"t7/a/b.iso":        `differs from "t7/a/B.ISO" by letter case`,
		"../b":              `".."`,
		"\xfe\xfd":          "UTF-8",
		"t8/archived":       "GLACIER",
		"t9/weak":           "ETag",
		"t9a/none":          "ETag",
		"top\xffdir/x/y\nz": "UTF-8",
		"/leading":          "empty",
		"TOP.iso":           "",
		"top.ISO":           `differs from that of "TOP.iso" by letter case`,
		"top.iso":           `differs from that of "TOP.iso" by letter case`,
		"Top/a":             "",
		"top/b":             `differs from that of "Top" by letter case`,
	}
	maps.DeleteFunc(problems, func(_, why string) bool { return why == "" })
	l := &lister{
		class: map[string]string{"t8/archived": "GLACIER", "t8/instant": "GLACIER_IR"},
		etags: map[string]string{"t9/weak": `W/"abc"`, "t9a/none": ""},
	}
	want := []string{"good/a", "good/A/b", "good/é b+c%&#?\n", "TOP.iso", "Top/a", "t7/a/B.ISO", "t8/instant", "good/" + strings.Repeat("y", 255)}
	for tree := range strings.FieldsSeq("t1 t2 t3 t4 t5 t6 t8 t9") {
		want = append(want, tree+"/fine")
	}
	l.keys = slices.Concat(want, slices.Collect(maps.Keys(problems)), []string{
		"marker/", "good/sub/", "t1/", "//", ".hidden/x//y", "good/x.part", "good/.tmp/../x", // left out
	})
	b := listed(t, l, nil)
	files, got := list(t, b, "")
	if paths := slices.Sorted(maps.Keys(files)); !slices.Equal(paths, slices.Sorted(slices.Values(want))) {
		t.Errorf("listed: %q\nwant    %q", paths, slices.Sorted(slices.Values(want)))
	}
	for path, why := range problems {
		if !strings.Contains(got[path], why) || got[path] == "" {
			t.Errorf("the problem with %q is %q, want something with %q", path, got[path], why)
		}
		delete(got, path)
		// A look at the tree alone says the same.
		tree, _, _ := strings.Cut(path, "/")
		tree = cmp.Or(tree, "/")
		if _, alone := list(t, b, tree); !strings.Contains(alone[path], why) {
			t.Errorf("List(%q) has the problems %q", tree, alone)
		}
	}
	if len(got) > 0 {
		t.Errorf("other problems: %q", got)
	}
	wantPaths(t, b, "good", "good/a", "good/A/b", "good/é b+c%&#?\n", "good/"+strings.Repeat("y", 255))
}

func TestOnlyTheTreeWithABadKeyIsHeldBack(t *testing.T) {
	t.Parallel()
	b := listed(t, &lister{keys: []string{"/nameless", "bad/a", "bad/b//c", "fine/a", "z.iso"}}, nil)
	w := watcher.New(b, watcher.Options{Settle: 100 * time.Millisecond, Rescan: 100 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	var reported []string
	must(t, w.Run(ctx, func(e watcher.Event) { reported = append(reported, e.Tree.Name) }))
	slices.Sort(reported)
	if !slices.Equal(reported, []string{"fine", "z.iso"}) {
		t.Errorf("reported: %q", reported)
	}
	p := w.Pending()
	slices.SortFunc(p, func(a, b watcher.Pending) int { return cmp.Compare(a.Name, b.Name) })
	if len(p) != 2 || p[1].Name != "bad" || p[1].Path != "bad/b//c" || !strings.Contains(p[1].Err, "empty") ||
		p[0].Name != "/" || p[0].Path != "/nameless" || !strings.Contains(p[0].Err, "empty") {
		t.Errorf("pending: %+v", p)
	}
}

// Between "a" and "a/" stand all keys that continue "a" with a byte below the slash.
func TestTreeIsListedAloneBesideNamesThatContinueIt(t *testing.T) {
	t.Parallel()
	keys := []string{"a/b", "a/c/d", "a0", "a0/x", "b", "b.txt", "b-1/x", "c/x", "c0/y"}
	for i := range 50 {
		keys = append(keys, fmt.Sprintf("a-%02d.iso", i))
	}
	b := listed(t, &lister{keys: keys}, nil)
	b.pageSize = 10
	for name, want := range map[string]struct {
		paths    string
		requests int64
	}{
		"a": {"a/b a/c/d", 2}, "a0": {"a0/x a0", 1}, "b": {"b", 2}, "b.txt": {"b.txt", 1}, "c": {"c/x", 1}, "d": {"", 1}, "a-01.iso": {"a-01.iso", 1},
	} {
		before := b.Usage().Lists
		wantPaths(t, b, name, strings.Fields(want.paths)...)
		if n := b.Usage().Lists - before; n != want.requests {
			t.Errorf("List(%q) made %d requests, want %d", name, n, want.requests)
		}
	}
	wantPaths(t, b, strings.Repeat("x", 2000))
}

func TestListingGoesThroughAllPages(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	b := newBucket(t, s.options())
	b.pageSize = 20
	paths := map[string][]string{}
	var all []string
	for i := range 450 {
		tree := []string{"d", "e", "d-more"}[i%3]
		path := fmt.Sprintf("%s/%d/%04d", tree, i%7, i)
		paths[tree] = append(paths[tree], path)
		all = append(all, path)
	}
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := w; i < len(all); i += 8 {
				if err := s.Write(all[i], []byte{byte(i)}); err != nil {
					t.Errorf("write: %v", err)
				}
			}
		})
	}
	wg.Wait()
	wantPaths(t, b, "", all...)
	if u := b.Usage(); u.Lists < 450/20 || u.Lists > 450/20+2 {
		t.Errorf("%d requests for 450 objects, 20 a page", u.Lists)
	}
	for tree, want := range paths {
		wantPaths(t, b, tree, want...)
	}
	// What fails in the middle is an error, and not a shorter listing.
	pages := 0
	o := s.options()
	o.Endpoint = proxy(t, s, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if pages++; pages > 10 {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		pass.ServeHTTP(w, r)
	})
	b = newBucket(t, o)
	b.pageSize = 20
	if err := listErr(t, b); err == nil {
		t.Error("a listing whose eleventh page fails ends without an error")
	}
}

func TestListingOfManyPagesIsStreamed(t *testing.T) {
	t.Parallel()
	l := &lister{}
	for i := range 12_000 {
		l.keys = append(l.keys, fmt.Sprintf("t%02d/%05d", i%12, i))
	}
	b := listed(t, l, nil)
	n := 0
	for _, err := range b.List(t.Context(), "") {
		must(t, err)
		if n++; n == 1500 {
			break
		}
	}
	if u := b.Usage(); u.Lists != 2 {
		t.Errorf("%d requests for the first 1,500 objects", u.Lists)
	}
	n = 0
	for _, err := range b.List(t.Context(), "") {
		must(t, err)
		n++
	}
	if n != 12_000 {
		t.Errorf("%d objects are listed, want 12,000", n)
	}
}

func TestOnlyWhatIsBelowThePrefixIsListed(t *testing.T) {
	t.Parallel()
	s := newStore(t, shared(t))
	for _, key := range []string{"public/a/b", "public/c", "public-not/d", "other"} {
		must(t, s.Write(key, []byte("x")))
	}
	for _, prefix := range []string{"public", "public/"} {
		s.prefix = prefix
		b := newBucket(t, s.options())
		wantPaths(t, b, "", "a/b", "c")
		wantPaths(t, b, "a", "a/b")
		wantPaths(t, b, "public")
	}
}
