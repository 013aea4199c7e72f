package feed

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/watcher"
)

func content(t testing.TB, files ...watcher.File) *catalog.Content {
	t.Helper()
	return contentWithSums(t, nil, files...)
}

// contentWithSums is a release of these files with their SHA-256.
func contentWithSums(t testing.TB, sums [][32]byte, files ...watcher.File) *catalog.Content {
	t.Helper()
	c, err := catalog.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	name, _, _ := strings.Cut(files[0].Path, "/")
	r, err := c.Put(catalog.New{
		InfoHash: infohash.T{0xab}, PieceLength: 16 << 10, Torrent: []byte("de"),
		Tree: watcher.Tree{Source: "src", Name: name, Files: files}, SHA256: sums,
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Content(r.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func listing() *Listing {
	return New(Options{
		WebseedURL: func(base string, r catalog.Release) string { return base + "/webseed/" + r.InfoHash.HexString() + "/" },
		Magnet:     func(base string, r catalog.Release) string { return "magnet:?xt=urn:btih:" + r.InfoHash.HexString() },
		FileURL:    func(base, path string) string { return base + "/files/" + url.PathEscape(path) },
		URLs: func(base string, r catalog.Release, path string) []string {
			return []string{base + "/webseed/" + r.InfoHash.HexString() + "/" + url.PathEscape(path), "https://mirror.example/a&b/" + url.PathEscape(path)}
		},
		TorrentSize: func(base string, r catalog.Release) int64 { return r.TorrentSize + 100 },
		Pieces: func(r catalog.Release) ([]byte, error) {
			return bytes.Repeat([]byte{0xab}, 20*r.Pieces()), nil
		},
		Swarm: func(infohash.T) Swarm { return Swarm{1, 2, 3, 4, 0.12345} },
		Sent:  func(infohash.T) Sent { return Sent{Peers: 100, Webseed: 20, Direct: 3, Gained: 489} },
	})
}

func TestJSONHasAllFields(t *testing.T) {
	c := contentWithSums(t, [][32]byte{{1}, {2}}, watcher.File{Path: "d/a \"b\"", Size: 100}, watcher.File{Path: "d/c"})
	var b bytes.Buffer
	if err := WriteJSON(&b, listing().Release("http://host:1", c.Release), c); err != nil {
		t.Fatal(err)
	}
	var got, want map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatalf("%v in %s", err, b.Bytes())
	}
	hash := "ab" + strings.Repeat("00", 19)
	zeros := strings.Repeat("00", 31)
	if err := json.Unmarshal([]byte(`{"name":"d","info_hash":"`+hash+`","size":100,"piece_length":16384,"format":"v1",
		"files":[{"path":"d/a \"b\"","size":100,"sha256":"01`+zeros+`"},{"path":"d/c","size":0,"sha256":"02`+zeros+`"}],"source":"src",
		"page_url":"http://host:1/releases/d","metalink_url":"http://host:1/files/d.meta4","torrent_url":"http://host:1/torrents/`+hash+`.torrent","magnet":"magnet:?xt=urn:btih:`+hash+`",
		"webseed_url":"http://host:1/webseed/`+hash+`/","swarm":{"seeders":1,"leechers":2,"completed":3,"connected":4,"progress":0.123},
		"sent":{"peers":100,"webseed":20,"direct":3},"copies":1.23,"peers_share":0.75}`), &want); err != nil {
		t.Fatal(err)
	}
	if got["created_at"] != c.CreatedAt.Format("2006-01-02T15:04:05.999999999Z07:00") {
		t.Errorf("created_at = %v", got["created_at"])
	}
	delete(got, "created_at")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestAnEmptyReleaseHasNoCopies(t *testing.T) {
	if r := listing().Release("", content(t, watcher.File{Path: "empty"}).Release); r.Copies != 0 {
		t.Errorf("copies = %v", r.Copies)
	}
}
