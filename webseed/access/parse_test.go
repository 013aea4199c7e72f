package access

import (
	"net/url"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const someHash = "$2y$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e"

func TestHtpasswdLines(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"accounts", "# who\n\nann:" + someHash + "\r\n bob:" + strings.Replace(someHash, "2y", "2b", 1), ""},
		{"a name with spaces", "ann and bob:" + someHash, ""},
		{"no hash", "ann", "line 1: want NAME:HASH"},
		{"no name", "\n:" + someHash, "line 2: want NAME:HASH"},
		{"a control character", "a\tb:" + someHash, "line 1: want NAME:HASH"},
		{"MD5", "ann:$apr1$x$y", "dropseed account hash"},
		{"plain", "ann:secret", "dropseed account hash"},
		{"broken bcrypt", "ann:$2x$05$/OK.fbVrR/bpIqNJ5ianF.CE5elHaaO4EbggVDjb8P19RukzXSM3e", "dropseed account hash"},
		{"cut", "ann:" + someHash[:50], "dropseed account hash"},
		{"too long", "ann:" + someHash + "x", "dropseed account hash"},
		{"too costly", "ann:" + strings.Replace(someHash, "$05$", "$15$", 1), "cost of bcrypt from 4 to 14, got 15"},
		{"too cheap", "ann:" + strings.Replace(someHash, "$05$", "$00$", 1), "cost of bcrypt from 4 to 14, got 00"},
		{"twice", "ann:" + someHash + "\nann:" + someHash, "line 2: the account is there already"},
	} {
		_, err := parseHtpasswd(row.text)
		if row.want == "" && err != nil || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells: %v", row.name, err)
		}
	}
}

func TestLineIsAnAccount(t *testing.T) {
	t.Parallel()
	line, err := Line("Ännchen", "pass: word")
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := parseHtpasswd(line)
	if err != nil || bcrypt.CompareHashAndPassword([]byte(hashes["Ännchen"]), []byte("pass: word")) != nil {
		t.Errorf("%q: %v, %v", line, hashes, err)
	}
	for _, row := range [][2]string{{"", "x"}, {"a:b", "x"}, {"#a", "x"}, {" a", "x"}, {"a\n", "x"}, {"a", ""}, {"a", strings.Repeat("x", 73)}} {
		if line, err := Line(row[0], row[1]); err == nil {
			t.Errorf("%q with %q: %q", row[0], row[1], line)
		}
	}
}

func FuzzHtpasswd(f *testing.F) {
	f.Add("ann:" + someHash + "\n# comment\nbob:" + someHash)
	f.Add("ann:x\x00\n:\n::\n$2y$")
	f.Fuzz(func(t *testing.T, text string) {
		hashes, err := parseHtpasswd(text)
		if err != nil && hashes != nil {
			t.Errorf("both %v and %v", hashes, err)
		}
		for name, hash := range hashes {
			cost, err := bcrypt.Cost([]byte(hash))
			if err != nil || cost > maxCost || !goodName(name) {
				t.Errorf("%q with %q: %d, %v", name, hash, cost, err)
			}
			again, err := parseHtpasswd(name + ":" + hash)
			if err != nil || again[name] != hash {
				t.Errorf("%q with %q is %v, %v by itself", name, hash, again, err)
			}
		}
	})
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]Kind{
		"/": Catalog, "/releases/x": Catalog, "/torrents/x.torrent": Catalog, "/feed.rss": Catalog, "/SHA256SUMS": Catalog,
		"/api/v1/releases": Catalog, "/api/v1/releases/abc": Catalog, "/api/v1/openapi.json": Catalog,
		"/healthz": Open, "/readyz": Open, "/assets/style.0.css": Open,
		"/status": Operator, "/metrics": Operator, "/api/v1/stats": Operator, "/api/v1/history": Operator, "/api/v1/events": Operator,
		"/api/v1/pending": Operator, "/api/v1/releases/abc/swarm": Operator, "/api/v2/anything": Operator, "/api/": Catalog, "/api": Catalog, "/api/v1/": Catalog, "/api/v1/openapi.yaml": Catalog, "/api/v1/x": Operator,
		"/api/v1/releases/abc%2Fswarm": Operator, "/%61pi/v1/stats": Operator, "/m%65trics": Operator,
		"/%68ealthz": Catalog, "/assets%2Fx": Catalog, "/assets%2F..%2Fstatus": Catalog,
		"//api/v1/stats": Catalog, "/releases/../api/v1/stats": Catalog, "": Catalog, // as for the router: names that nothing has
	} {
		u, err := url.ParseRequestURI("http://x" + path)
		if err != nil {
			t.Fatal(err)
		}
		if got := KindOf(u); got != want {
			t.Errorf("%s is of kind %d, want %d", path, got, want)
		}
	}
}
