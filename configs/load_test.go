package configs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// load runs Load with a file holding yaml (none if empty), environment and
// command line. A word of the command line without dashes is the FOLDER.
func load(t *testing.T, yaml string, env map[string]string, line ...string) (Config, error) {
	t.Helper()
	for k, v := range env {
		t.Setenv(k, v)
	}
	if yaml != "" {
		line = append(line, "--config", write(t, yaml))
	}
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(line); err != nil {
		t.Fatal(err)
	}
	return Load(flags, flags.Args())
}

func write(t *testing.T, yaml string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dropseed.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFolderAloneIsEnough(t *testing.T) {
	c, err := load(t, "", nil, "some/drop")
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.State = filepath.Join("some", "drop", ".dropseed")
	want.Sources = []Source{{Name: "drop", Type: TypeFolder, Path: "some/drop", Watch: want.Watch, Torrent: want.Torrent, Offload: want.Offload}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

func TestExampleHoldsEveryKeyWithItsDefault(t *testing.T) {
	data, err := os.ReadFile("example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := load(t, string(data), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.State = filepath.Join("drop", ".dropseed")
	want.Sources = []Source{{Name: "drop", Type: TypeFolder, Path: "./drop", Watch: want.Watch, Torrent: want.Torrent, Offload: want.Offload}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}

	f := parseFile("example.yaml", data)
	for _, field := range fieldsOf(reflect.ValueOf(&c).Elem(), "") {
		if f.lines[field.key] == 0 {
			t.Errorf("%s is not in example.yaml", field.key)
		}
	}
	for _, key := range []string{"name", "type", "path"} {
		if f.lines["sources[0]."+key] == 0 {
			t.Errorf("sources[0].%s is not in example.yaml", key)
		}
	}
	commented := strings.NewReplacer("    # settle:", "    settle:", "    # torrent:", "    torrent:", "    #   private:", "      private:").Replace(string(data))
	if c, err = load(t, commented, nil); err != nil {
		t.Fatal(err)
	}
	if s := c.Sources[0]; s.Watch.Settle != time.Minute || !s.Torrent.Private || s.Watch.Rescan != c.Watch.Rescan {
		t.Errorf("the commented-out overrides give %+v", s)
	}
}

func TestLaterOriginWins(t *testing.T) {
	const yaml = "watch: {settle: 1s}\nhttp: {listen: ':1', title: file}\n"
	env := map[string]string{"DROPSEED_HTTP_LISTEN": ":2", "DROPSEED_WATCH_SETTLE": "2s", "DROPSEED_TRACKER_UDP": ""}
	c, err := load(t, yaml, env, "drop", "--settle=3s")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ key, got, want string }{
		{"watch.settle: the flag wins", c.Watch.Settle.String(), "3s"},
		{"sources inherit it", c.Sources[0].Watch.Settle.String(), "3s"},
		{"http.listen: the variable wins", c.HTTP.Listen, ":2"},
		{"http.title: the file wins", c.HTTP.Title, "file"},
		{"tracker.udp: an empty variable counts", c.Tracker.UDP, ""},
		{"peers.listen: the default is left", c.Peers.Listen, ":6881"},
	} {
		if row.got != row.want {
			t.Errorf("%s: got %q, want %q", row.key, row.got, row.want)
		}
	}
}

func TestEveryFlagSetsItsKey(t *testing.T) {
	c, err := load(t, "", nil, "drop", "--state=s", "--http=:1", "--peers=:2", "--udp=:3", "--public-url=https://example.org",
		"--settle=4s", "--upload-limit=100Mbit/s", "--log-format=json")
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.State, c.HTTP.Listen, c.Peers.Listen, c.Tracker.UDP, c.HTTP.PublicURL.String(), c.Watch.Settle, c.Limits.Upload, c.Log.Format}
	want := []any{"s", ":1", ":2", ":3", "https://example.org", 4 * time.Second, Rate(12_500_000), LogJSON}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestValuesHaveTheirTypes(t *testing.T) {
	c, err := load(t, `
state: /var/lib/dropseed
sources:
  - {path: /srv/iso, settle: 1m, ignore: ["*.bak"], torrent: {piece_length: 1MiB, private: true}}
  - {path: /srv/data, name: sets}
torrent:
  source: 0123
  comment: yes
  trackers: ["udp://a.example:6969", ["https://b.example/announce", "wss://c.example"]]
  webseeds: ["https://mirror.example/iso/"]
http: {trusted_proxies: [127.0.0.1, 10.1.2.3/8, "::1"], max_connections: 7}
peers: {public_addresses: [203.0.113.7, "2001:db8::7"], pex: false}
notify: {urls: ["https://a.example/hook?token=x"], secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, command: [tell, "a, b"], events: [failed]}
log: {level: debug}
`, map[string]string{"DROPSEED_TRACKER_TRUSTED_CLIENTS": "192.168.0.0/16, fd00::/8"})
	if err != nil {
		t.Fatal(err)
	}
	urls := func(texts ...string) (us []*url.URL) {
		for _, text := range texts {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			us = append(us, u)
		}
		return us
	}
	want := Default()
	want.State = "/var/lib/dropseed"
	want.Torrent = Torrent{
		Checksums: true,
		Source:    "0123", Comment: "yes",
		Trackers: [][]*url.URL{urls("udp://a.example:6969"), urls("https://b.example/announce", "wss://c.example")},
		Webseeds: urls("https://mirror.example/iso/"),
	}
	want.HTTP.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	want.HTTP.MaxConnections = 7
	want.Peers.PublicAddresses = []netip.Addr{netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")}
	want.Peers.PEX = false
	want.Notify.URLs, want.Notify.Secret = urls("https://a.example/hook?token=x"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	want.Notify.Command, want.Notify.Events = []string{"tell", "a, b"}, []NotifyEvent{EventFailed}
	want.Log.Level = slog.LevelDebug
	want.Tracker.TrustedClients = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fd00::/8")}
	iso, sets := want.newSource(), want.newSource()
	iso.Name, iso.Path, iso.Watch.Settle, iso.Watch.Ignore = "iso", "/srv/iso", time.Minute, []string{"*.bak"}
	iso.Torrent.PieceLength, iso.Torrent.Private = 1<<20, true
	sets.Name, sets.Path = "sets", "/srv/data"
	want.Sources = []Source{iso, sets}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got  %+v\nwant %+v", c, want)
	}
}

// Each row is one bad setting, which must give exactly one problem: with key,
// origin and all of texts.
func TestBadValueIsOneProblemThatNamesIt(t *testing.T) {
	for _, row := range []struct {
		yaml, env, flag string // env is NAME=VALUE
		key, origin     string
		texts           []string
	}{
		{flag: "--http=80", key: "http.listen", origin: "--http", texts: []string{`"80"`, "HOST:PORT"}},
		{flag: "--peers=:99999", key: "peers.listen", origin: "--peers", texts: []string{`":99999"`, ":PORT"}},
		{flag: "--udp=:http", key: "tracker.udp", origin: "--udp", texts: []string{`":http"`, ":PORT"}},
		{flag: "--settle=5", key: "watch.settle", origin: "--settle", texts: []string{`"5"`, "300ms"}},
		{flag: "--settle=0s", key: "watch.settle", origin: "--settle", texts: []string{"got 0s", "10ms"}},
		{flag: "--upload-limit=fast", key: "limits.upload", origin: "--upload-limit", texts: []string{`"fast"`, "10MB/s"}},
		{flag: "--upload-limit=0.1B/s", key: "limits.upload", origin: "--upload-limit", texts: []string{`"0.1B/s"`}},
		{flag: "--upload-limit=-1", key: "limits.upload", origin: "--upload-limit", texts: []string{`"-1"`}},
		{flag: "--log-format=xml", key: "log.format", origin: "--log-format", texts: []string{`"xml"`, "text or json"}},
		{flag: "--public-url=example.org", key: "http.public_url", origin: "--public-url", texts: []string{`"example.org"`, "https://"}},
		{flag: "--public-url=ftp://example.org", key: "http.public_url", origin: "--public-url", texts: []string{`"ftp://example.org"`, "https://"}},
		{flag: "--public-url=https://example.org?a=b", key: "http.public_url", origin: "--public-url", texts: []string{"query"}},
		{flag: "--state=drop", key: "state", origin: "--state", texts: []string{`"drop"`, "published"}},
		{flag: "--state=drop/db", key: "state", origin: "--state", texts: []string{`"drop/db"`, "published"}},
		{flag: "--config=/nowhere.yaml", key: "config", origin: "--config", texts: []string{"/nowhere.yaml", "no such file"}},
		{env: "DROPSEED_CONFIG=/nowhere.yaml", key: "config", origin: "DROPSEED_CONFIG", texts: []string{"/nowhere.yaml"}},
		{env: "DROPSEED_PEERS_QUEUE=many", key: "peers.queue", origin: "DROPSEED_PEERS_QUEUE", texts: []string{`"many"`, "whole number"}},
		{env: "DROPSEED_PEERS_QUEUE=2", key: "peers.queue", origin: "DROPSEED_PEERS_QUEUE", texts: []string{"got 2", "16 to 10000"}},
		{env: "DROPSEED_PEERS_PEX=maybe", key: "peers.pex", origin: "DROPSEED_PEERS_PEX", texts: []string{`"maybe"`, "true or false"}},
		{env: "DROPSEED_PEERS_QEUE=5", origin: "DROPSEED_PEERS_QEUE", texts: []string{"DROPSEED_PEERS_QUEUE"}},
		{env: "DROPSEED_SOURCES=/srv", key: "sources", origin: "DROPSEED_SOURCES", texts: []string{"file"}},
		{yaml: "htp: {listen: ':1'}", key: "htp", origin: "line 1", texts: []string{"unknown key", "did you mean http?"}},
		{yaml: "http:\n  listne: ':1'", key: "http.listne", origin: "line 2", texts: []string{"did you mean http.listen?"}},
		{yaml: "public_url: https://a.example", key: "public_url", origin: "line 1", texts: []string{"did you mean http.public_url?"}},
		{yaml: "HTTP: {listen: ':1'}", key: "HTTP", origin: "line 1", texts: []string{"unknown key"}},
		{yaml: "http.listen: ':1'", key: "http.listen", origin: "line 1", texts: []string{"unknown key"}},
		{yaml: "colour:", key: "colour", origin: "line 1", texts: []string{"unknown key"}},
		{yaml: "http: 8080", key: "http", origin: "line 1", texts: []string{`"8080"`, "section"}},
		{yaml: "http: {listen: [1]}", key: "http.listen", origin: "line 1", texts: []string{"one value", "a list of 1"}},
		{yaml: "http: {listen: {a: b}}", key: "http.listen", origin: "line 1", texts: []string{"one value", "section"}},
		{yaml: "http:\n  title: a\n  title: b", key: "http.title", origin: "line 3", texts: []string{"twice", "line 2"}},
		{yaml: "http: {trusted_proxies: [10.0.0.0/40]}", key: "http.trusted_proxies", origin: "line 1", texts: []string{`"10.0.0.0/40"`, "10.0.0.0/8"}},
		{yaml: "peers: {public_addresses: [example.org]}", key: "peers.public_addresses", origin: "line 1", texts: []string{`"example.org"`, "IP address"}},
		{yaml: "peers: {public_addresses: [203.0.113.7, 203.0.113.8]}", key: "peers.public_addresses", origin: "line 1", texts: []string{"at most one", "203.0.113.8"}},
		{yaml: "peers: {public_addresses: [0.0.0.0]}", key: "peers.public_addresses", origin: "line 1", texts: []string{"0.0.0.0"}},
		{yaml: "peers: {idle_timeout: 1ms}", key: "peers.idle_timeout", origin: "line 1", texts: []string{"1s", "got 1ms"}},
		{yaml: "tracker: {numwant: 300}", key: "tracker.numwant", origin: "line 1", texts: []string{"got 300", "1 to 200"}},
		{yaml: "tracker: {interval: 1m}", key: "tracker.min_interval", texts: []string{"got 5m0s", "1s to 1m0s"}},
		{yaml: "torrent: {piece_length: 100KB}", key: "torrent.piece_length", origin: "line 1", texts: []string{"100kB", "power of two", "16KiB to 16MiB"}},
		{yaml: "torrent: {piece_length: 32MiB}", key: "torrent.piece_length", origin: "line 1", texts: []string{"32MiB", "16MiB"}},
		{yaml: "torrent: {piece_length: big}", key: "torrent.piece_length", origin: "line 1", texts: []string{`"big"`, "256KiB"}},
		{yaml: "torrent: {trackers: ['ftp://a.example']}", key: "torrent.trackers", origin: "line 1", texts: []string{"ftp://a.example", "udp://"}},
		{yaml: "torrent: {trackers: [nonsense]}", key: "torrent.trackers", origin: "line 1", texts: []string{`"nonsense"`}},
		{yaml: "torrent: {webseeds: ['https://a.example/iso']}", key: "torrent.webseeds", origin: "line 1", texts: []string{"slash"}},
		{yaml: "watch: {ignore: ['.*', '[a']}", key: "watch.ignore", origin: "line 1", texts: []string{`"[a"`, "*.part"}},
		{yaml: "watch: {ignore: ['*.iso']}", key: "state", texts: []string{".dropseed", "ignore"}},
		{yaml: "watch: {ignore: {a: b}}", key: "watch.ignore", origin: "line 1", texts: []string{"want a list"}},
		{yaml: "offload: {help: 2}", key: "offload.help", origin: "line 1", texts: []string{"0 to 1", "got 2"}},
		{yaml: "offload: {help: NaN}", key: "offload.help", origin: "line 1", texts: []string{"0 to 1"}},
		{yaml: "offload: {help: much}", key: "offload.help", origin: "line 1", texts: []string{`"much"`, "0.2"}},
		{yaml: "limits: {peers: {floor: 1MB/s}}", key: "limits.peers.floor", origin: "line 1", texts: []string{"limits.upload"}},
		{yaml: "limits: {upload: 9MB/s, direct: {floor: 2MB/s, cap: 1MB/s}}", key: "limits.direct.floor", origin: "line 1", texts: []string{"cap"}},
		{yaml: "limits: {upload: 3MB/s, direct: {floor: 2MB/s}, webseed: {floor: 2MB/s}}", key: "limits.upload", origin: "line 1", texts: []string{"floors", "4000000"}},
		{yaml: "site: {accent: blue}", key: "site.accent", origin: "line 1", texts: []string{`"blue"`, "#0f74c4"}},
		{yaml: "site: {accent_dark: '#12345'}", key: "site.accent_dark", origin: "line 1", texts: []string{`"#12345"`, "#0f74c4"}},
		{yaml: "site: {logo: a.gif}", key: "site.logo", origin: "line 1", texts: []string{`"a.gif"`, ".png"}},
		{yaml: "site: {description: '" + strings.Repeat("a", 501) + "'}", key: "site.description", origin: "line 1", texts: []string{"500"}},
		{yaml: "site: {announcement: '" + strings.Repeat("a", 4001) + "'}", key: "site.announcement", origin: "line 1", texts: []string{"4000"}},
		{yaml: "log: {level: loud}", key: "log.level", origin: "line 1", texts: []string{`"loud"`, "debug, info, warn or error"}},
		{yaml: "debug: {listen: ':6060'}", key: "debug.listen", origin: "line 1", texts: []string{`":6060"`, "loopback", "127.0.0.1:6060"}},
		{yaml: "debug: {listen: '192.0.2.1:6060'}", key: "debug.listen", origin: "line 1", texts: []string{"loopback"}},
		{yaml: "debug: {listen: 'localhost'}", key: "debug.listen", origin: "line 1", texts: []string{"HOST:PORT"}},
		{yaml: "shutdown: 1h", key: "shutdown", origin: "line 1", texts: []string{"10m0s", "1h0m0s"}},
		{yaml: "sources: here", key: "sources", origin: "line 1", texts: []string{"want a list", `"here"`}},
		{yaml: "- a\n- b", origin: "dropseed.yaml", texts: []string{"keys and values", "a list of 2"}},
		{yaml: "a: b\n  c: d", origin: "dropseed.yaml", texts: []string{"line 2"}},
		{yaml: "log: {level: info}\n---\nlog: {level: debug}", origin: "dropseed.yaml", texts: []string{"one YAML document"}},
	} {
		t.Run(fmt.Sprintf("%.60s", row.yaml+row.env+row.flag), func(t *testing.T) {
			line := []string{"drop"}
			if row.flag != "" {
				line = append(line, row.flag)
			}
			env := map[string]string{}
			if name, value, ok := strings.Cut(row.env, "="); ok {
				env[name] = value
			}
			_, err := load(t, row.yaml, env, line...)
			checkOne(t, err, row.key, row.origin, row.texts)
		})
	}
}

func checkOne(t *testing.T, err error, key, origin string, texts []string) {
	t.Helper()
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != 1 {
		t.Fatalf("got %v, want one problem", err)
	}
	p := ps[0]
	if p.Key != key {
		t.Errorf("key %q, want %q (%v)", p.Key, key, p)
	}
	if (origin == "") != (p.Origin == "") || !strings.Contains(p.Origin, origin) {
		t.Errorf("origin %q, want %q", p.Origin, origin)
	}
	for _, text := range append(texts, origin) {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
}

// As the table above, without a FOLDER.
func TestBadSourceIsOneProblemThatNamesIt(t *testing.T) {
	for _, row := range []struct {
		yaml, key, origin string
		texts             []string
	}{
		{"", "sources", "", []string{"FOLDER"}},
		{"state: /s\nsources: [{path: a}, {path: b/a}]", "sources[1].name", "", []string{`"a"`, "sources[0]"}},
		{"sources: [{path: a}, {path: b}]", "state", "", []string{"several sources"}},
		{"sources: [{name: a}]", "sources[0].path", "", []string{"folder to watch"}},
		{"sources:\n- path: a\n  pth: b", "sources[0].pth", "line 3", []string{"did you mean sources[0].path?"}},
		{"sources:\n- path: a\n  Path: b", "sources[0].Path", "line 3", []string{"did you mean sources[0].path?"}},
		{"sources:\n- path: a\n  type: disk", "sources[0].type", "line 3", []string{`"disk"`, "folder", "bucket"}},
		{"sources:\n- path: a\n  bucket: {name: b}", "sources[0].bucket", "line 3", []string{"type: bucket"}},
		{"state: s\nsources:\n- type: bucket", "sources[0].bucket.name", "", []string{"missing"}},
		{"state: s\nsources:\n- type: bucket\n  path: a\n  bucket: {name: b}", "sources[0].path", "line 4", []string{"type: folder"}},
		{"sources:\n- type: bucket\n  bucket: {name: b}", "state", "", []string{"bucket"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, access_key: k}", "sources[0].bucket.access_key", "line 4", []string{"secret_key"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, anonymous: true, access_key: k, secret_key: hidden}", "sources[0].bucket.anonymous", "line 4", []string{"credentials"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, endpoint: 'https://s3.example/b'}", "sources[0].bucket.endpoint", "line 4", []string{"host"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, webseed: cdn}", "sources[0].bucket.webseed", "line 4", []string{`"cdn"`, "proxy", "redirect", "public"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, webseed: redirect, anonymous: true}", "sources[0].bucket.webseed", "line 4", []string{"credentials"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, webseed: public}", "sources[0].bucket.public_url", "", []string{"webseed: public"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, public_url: 'https://cdn.example/'}", "sources[0].bucket.public_url", "line 4", []string{"webseed: public"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, webseed: public, public_url: 'https://cdn.example/a'}", "sources[0].bucket.public_url", "line 4", []string{"slash"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, hook_secret: short}", "sources[0].bucket.hook_secret", "line 4", []string{"16"}},
		{"sources:\n- path: a\ncache: {disk: 1GB}", "cache.folder", "", []string{"cache.disk"}},
		{"sources:\n- path: a\nnotify: {urls: ['https://h.example']}", "notify.secret", "", []string{"missing", "openssl"}},
		{"sources:\n- path: a\nnotify: {urls: ['https://h.example'], secret: hidden}", "notify.secret", "line 3", []string{"16"}},
		{"sources:\n- path: a\nnotify: {secret: whsec_hidden}", "notify.secret", "line 3", []string{"base64"}},
		{"sources:\n- path: a\nnotify: {secret: whsec_aGlkZGVu}", "notify.secret", "line 3", []string{"16 bytes"}},
		{"sources:\n- path: a\nnotify: {urls: ['ftp://h.example'], secret: 0123456789abcdef}", "notify.urls", "line 3", []string{"http://"}},
		{"sources:\n- path: a\nnotify: {urls: ['https://h.example', 'https://h.example'], secret: 0123456789abcdef}", "notify.urls", "line 3", []string{"twice"}},
		{"sources:\n- path: a\nnotify: {command: ['', a]}", "notify.command", "line 3", []string{"program"}},
		{"sources:\n- path: a\nnotify: {events: [removed]}", "notify.events", "line 3", []string{`"removed"`, "published, retired or failed"}},
		{"sources:\n- path: a\nnotify: {events: []}", "notify.events", "line 3", []string{"at least one"}},
		{"sources:\n- path: a\nnotify: {timeout: 0s}", "notify.timeout", "line 3", []string{"1s"}},
		{"sources:\n- path: a\ncache: {folder: b}", "cache.folder", "line 3", []string{"cache.disk"}},
		{"sources:\n- path: a\ncache: {memory: 1MB}", "cache.memory", "line 3", []string{"8MiB"}},
		{"state: s\nsources:\n- path: a\ncache: {disk: 1GB, folder: a/cache}", "cache.folder", "line 4", []string{"published"}},
		{"state: s\nsources:\n- type: bucket\n  bucket: {name: b, addressing: dns}", "sources[0].bucket.addressing", "line 4", []string{`"dns"`, "path"}},
		{"sources:\n- path: a\n  name: a/b", "sources[0].name", "line 3", []string{`"a/b"`}},
		{"sources:\n- path: /", "sources[0].name", "", []string{`"/"`}},
		{"sources:\n- path: a\n  settle: soon", "sources[0].settle", "line 3", []string{`"soon"`}},
		{"sources:\n- path: a\n  torrent: {piece_length: 1}", "sources[0].torrent.piece_length", "line 3", []string{"power of two"}},
		{"sources:\n- path: a\n  torrent: {privat: true}", "sources[0].torrent.privat", "line 3", []string{"private"}},
		{"sources: [a]", "sources[0]", "line 1", []string{`"a"`, "path"}},
		{"state: b/x\nsources: [{path: a}, {path: b}]", "state", "line 1", []string{"sources[1]", "published"}},
	} {
		t.Run(row.yaml, func(t *testing.T) {
			_, err := load(t, row.yaml, nil)
			if row.key == "sources[0]" {
				// The list has no usable source then, which is said too.
				err = err.(Problems)[:1]
			}
			checkOne(t, err, row.key, row.origin, row.texts)
		})
	}
}

func TestAllProblemsAreReportedTogether(t *testing.T) {
	_, err := load(t, "http:\n  listen: 80\n  titel: x\ntracker: {numwant: 0}\nlog: {level: loud}\n",
		map[string]string{"DROPSEED_PEERS_QUEUE": "x"}, "a", "b", "--settle=-1s", "--http=90")
	want := []string{
		`http.titel (`, `peers.queue (DROPSEED_PEERS_QUEUE)`, `log.level (`, `sources (FOLDER)`,
		`watch.settle (--settle)`, `http.listen (--http)`, `tracker.numwant (`,
	}
	var ps Problems
	if !errors.As(err, &ps) || len(ps) != len(want) {
		t.Fatalf("got %v, want %d problems", err, len(want))
	}
	for _, text := range want {
		if !strings.Contains(err.Error(), "\n  "+text) {
			t.Errorf("%v\ndoes not have a line for %s", err, text)
		}
	}
	var p Problem
	if !errors.As(err, &p) {
		t.Error("a single Problem cannot be found in Problems")
	}
}

func TestAliasesCannotExpandWithoutEnd(t *testing.T) {
	for _, yaml := range []string{
		"log: &a [*a]",
		"watch: {ignore: &a [x, x, x, x, x, x, x, x]}\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: &c [*b, *b, *b, *b, *b, *b, *b, *b]\n" +
			"d: &d [*c, *c, *c, *c, *c, *c, *c, *c]\ne: &e [*d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e]",
	} {
		if _, err := load(t, yaml, nil, "drop"); err == nil || !strings.Contains(err.Error(), "too many or too deeply nested") {
			t.Errorf("%.20s…: got %v", yaml, err)
		}
	}
}

func TestForeignVariablesAreLeftAlone(t *testing.T) {
	_, err := load(t, "", map[string]string{
		"DROPSEED_REQUIRE_ALL": "1", "DROPSEED_PORT": "tcp://10.0.0.1:8080", "DROPSEED_SERVICE_HOST": "10.0.0.1",
		"DROPSEED_HTTP_SERVICE_PORT": "80", "DROPSEED_PORT_8080_TCP_ADDR": "10.0.0.1", "DROPSEED_HTTP_PORT": "tcp://10.0.0.1:80",
	}, "drop")
	if err != nil {
		t.Error(err)
	}
}

// A command for notifications may run dropseed.
func TestVariablesOfNotificationsAreLeftAlone(t *testing.T) {
	env := map[string]string{"DROPSEED_SOURCE": "drop"}
	if _, err := load(t, "", env, "drop"); err == nil || !strings.Contains(err.Error(), "DROPSEED_SOURCES") {
		t.Errorf("got %v", err)
	}
	env["DROPSEED_EVENT"] = "published"
	if _, err := load(t, "", env, "drop"); err != nil {
		t.Error(err)
	}
}

func TestFolderReplacesSourcesOfTheFile(t *testing.T) {
	c, err := load(t, "sources: [{path: a}, {path: b}]\nwatch: {settle: 7s}", nil, "c")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Sources) != 1 || c.Sources[0].Name != "c" || c.Sources[0].Watch.Settle != 7*time.Second || c.State != filepath.Join("c", ".dropseed") {
		t.Errorf("got %+v", c)
	}
}

func TestDefaultIsValidOnceItWatchesSomething(t *testing.T) {
	c := Default()
	s := c.newSource()
	s.Name, s.Path = "drop", "drop"
	c.Sources = []Source{s}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	if err := Default().Validate(); err == nil {
		t.Error("a configuration that watches nothing is valid")
	}
}

func TestHelpShowsDefaults(t *testing.T) {
	flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
	AddFlags(flags)
	for name, want := range map[string]string{
		"state": "", "http": ":8080", "peers": ":6881", "udp": ":6969", "public-url": "", "settle": "5s", "upload-limit": "0", "log-format": "text", "config": "",
	} {
		if f := flags.Lookup(name); f == nil || f.DefValue != want {
			t.Errorf("--%s: got %+v, want default %q", name, f, want)
		}
	}
}

func FuzzFile(f *testing.F) {
	example, err := os.ReadFile("example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(example))
	f.Add("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n<<: *a")
	f.Add("sources: [{path: a, torrent: {trackers: [[x], y]}}]\n? [a, b] : c")
	f.Add("log: &a [*a]")
	f.Fuzz(func(t *testing.T, yaml string) {
		l := newLoader()
		l.file = parseFile("fuzz", []byte(yaml))
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		AddFlags(flags)
		if c, err := l.load(flags, nil); err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("loaded, but %v", err)
			}
		} else if err.Error() == "" || len(err.(Problems)) == 0 {
			t.Error("an error that says nothing")
		}
	})
}
