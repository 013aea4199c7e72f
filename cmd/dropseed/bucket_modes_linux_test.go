package main_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// TestWebseedModesB16 has every client download from the webseed of a bucket, in
// each way of serving it. All finish with all of them.
func TestWebseedModesB16(t *testing.T) {
	for i, mode := range []string{"proxy", "redirect", "public"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			need(t, "curl")
			need(t, "aria2c")
			need(t, "transmission-cli")
			needLibtorrent(t)
			l := newLab(t, 40+i)
			inServer := []string{need(t, "ip"), "netns", "exec", l.server}
			store := newS3At(t, inServer, l.address+":7070", l.dial)

			var elsewhere atomic.Int64 // requests to the CDN, as it were
			settings := "bucket webseed: " + mode
			if mode == "public" {
				files := http.FileServer(http.Dir(filepath.Join(store.dir, s3Bucket)))
				cdn := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					elsewhere.Add(1)
					files.ServeHTTP(w, r)
				})}
				ln := l.listen(t)
				go cdn.Serve(ln)
				t.Cleanup(func() { cdn.Close() })
				settings += fmt.Sprintf(", public_url: \"http://%s/public/\"", ln.Addr())
			}
			folder := dropTrees(t, single, portable)
			store.putTree(folder, single)
			store.putTree(folder, portable)
			s := l.serve(t, "", "--config", store.config("http://"+store.addr, settings))
			rels := s.published(single, portable)

			here := func(client string) {
				t.Helper()
				sent := func(r release) int64 { return r.Sent.Webseed + r.Sent.Direct + r.Sent.Peers }
				if mode == "proxy" {
					s.expectSent(single, "by us after "+client, func(r release) bool { return sent(r) >= r.Size })
				} else {
					s.expectSent(single, "nothing by us after "+client, func(r release) bool { return sent(r) == 0 })
					s.expectSent(portable, "nothing by us after "+client, func(r release) bool { return sent(r) == 0 })
				}
			}
			inClient := func(command ...string) {
				t.Helper()
				run(t, "", need(t, "ip"), append([]string{"netns", "exec", l.client}, command...)...)
			}
			torrents := s.torrents(rels, "announce", "announce-list")

			out := t.TempDir()
			inClient(append([]string{need(t, "curl"), "-sSL", "--fail", "-o", filepath.Join(out, "curled")}, s.url("/files/"+escape(single)))...)
			expectSame(t, filepath.Join(folder, single), filepath.Join(out, "curled"))
			here("curl")

			out = t.TempDir()
			inClient(aria2Command(t, out, torrents...)...)
			for _, r := range rels {
				expectSame(t, filepath.Join(folder, r.Name), filepath.Join(out, r.Name))
			}
			here("aria2")

			for i, r := range rels {
				expectSame(t, asTransmissionNames(t, folder, r.Name), l.transmission(t, torrents[i]))
			}
			here("transmission")
			// libtorrent cannot follow redirects to a bucket, so it is served here.
			out = t.TempDir()
			libtorrent(t, libtorrentJob{Torrents: torrents, Out: out, NoTrackers: true, Listen: "0.0.0.0:0"},
				need(t, "ip"), "netns", "exec", l.client)
			for _, r := range rels {
				expectSame(t, filepath.Join(folder, r.Name), filepath.Join(out, r.Name))
			}
			if mode == "redirect" {
				s.expectSent(portable, "to libtorrent by us", webseedOnly)
			} else {
				here("libtorrent")
			}
			if mode == "public" && elsewhere.Load() == 0 {
				t.Error("nothing was asked of the CDN")
			}
		})
	}
}
