// Package configs holds the one Config of dropseed and loads it.
//
// [Load] merges, later ones winning: the defaults, the YAML file that --config
// or DROPSEED_CONFIG names, DROPSEED_… environment variables, flags, and the
// FOLDER argument. It is strict: an unknown key is an error, and all problems
// are reported together as [Problems], each naming its key and where its value
// came from. The comments of [Config] and its sections are the manual, and
// example.yaml holds every key with its default.
//
// A key's environment variable is DROPSEED_ and the key in capitals with _ for
// the dots: http.public_url is DROPSEED_HTTP_PUBLIC_URL. Lists are separated by
// commas there. sources can be set in the file only. A variable that is set
// counts, even when empty. Unknown DROPSEED_ variables are left alone, because
// Kubernetes makes some up for a service called dropseed, unless one is so
// close to a key's that it must be a slip.
//
// The package touches nothing but that file: whether a folder can be read or a
// port is free is found out by whoever opens it. Only cmd imports it; packages
// take their own Options.
package configs

import (
	"log/slog"
	"net/netip"
	"net/url"
	"time"
)

// Config is everything that can be configured. Durations are written 300ms, 5s
// or 2h; for sizes see [Size], for rates [Rate]. Relative paths start at the
// working directory.
type Config struct {
	// State is the folder that holds the catalog of releases. The default is
	// the hidden folder .dropseed in the source's; with several sources it has
	// to be given. Two running dropseeds cannot share it.
	State string `key:"state"`

	// Shutdown is how long downloads under way may take to finish after
	// SIGTERM or SIGINT, before they are cut. 0 cuts them at once.
	Shutdown time.Duration `key:"shutdown"`

	// Sources are what is watched. FOLDER on the command line takes the place
	// of all of them, as one source with the settings of watch and torrent.
	Sources []Source `key:"sources"`

	Watch   Watch   `key:"watch"`
	Torrent Torrent `key:"torrent"`
	Offload Offload `key:"offload"`
	Cache   Cache   `key:"cache"`
	HTTP    HTTP    `key:"http"`
	Access  Access  `key:"access"`
	Site    Site    `key:"site"`
	Peers   Peers   `key:"peers"`
	Tracker Tracker `key:"tracker"`
	DHT     DHT     `key:"dht"`
	Limits  Limits  `key:"limits"`
	Notify  Notify  `key:"notify"`
	Log     Log     `key:"log"`
	Debug   Debug   `key:"debug"`
}

// Source is one watched folder or bucket.
type Source struct {
	// Name is how releases, logs and the API call the source. It is unique;
	// the default is the last component of path, or the bucket's name.
	Name string `key:"name"`
	// Type is the kind of source: folder or bucket.
	Type string `key:"type"`
	// Path is the folder. It is created if it does not exist.
	Path string `key:"path"`
	// Bucket is the bucket.
	Bucket Bucket `key:"bucket"`
	// Watch overrides single settings of the section watch. Its keys stand
	// directly in the source: settle, rescan, ignore.
	Watch Watch `key:",inline"`
	// Torrent overrides single settings of the section torrent.
	Torrent Torrent `key:"torrent"`
	// Offload overrides single settings of the section offload.
	Offload Offload `key:"offload"`
}

// Bucket is an S3 bucket. Its objects stay where they are: they are read when
// somebody asks for them.
type Bucket struct {
	// Name is what the server calls the bucket.
	Name string `key:"name"`
	// Endpoint is the server: an http or https URL. Empty: Amazon's.
	Endpoint *url.URL `key:"endpoint"`
	// Region is where the server keeps the bucket. Empty: it is found out.
	Region string `key:"region"`
	// Prefix is what the keys of all objects begin with that are published. It
	// is not part of their names. Empty: every object is.
	Prefix string `key:"prefix"`
	// Addressing says where in URLs the bucket's name stands: path, host, or
	// auto: in the host at Amazon and the like, else in the path.
	Addressing Addressing `key:"addressing"`
	// CAFile holds the certificates (PEM) of the authorities that vouch for the
	// server. Empty: the system's.
	CAFile string `key:"ca_file"`
	// AccessKey and SecretKey are the credentials. Empty: those of the
	// environment (AWS_ACCESS_KEY_ID and so on), else of the shared file
	// (~/.aws/credentials), else of the machine's role (IAM).
	AccessKey string `key:"access_key"`
	SecretKey Secret `key:"secret_key"`
	// Anonymous asks without credentials, for public buckets.
	Anonymous bool `key:"anonymous"`
	// Webseed says who sends the content over HTTP, as webseed and to direct
	// downloads: proxy, dropseed; redirect, the server, to which clients are sent
	// with a signed URL; or public, whoever has it at public_url.
	Webseed BucketWebseed `key:"webseed"`
	// PublicURL is where anybody can get what is below prefix, such as the URL of
	// a CDN: http or https, ends in a slash. With webseed: public.
	PublicURL *url.URL `key:"public_url"`
	// HookSecret opens /hooks/s3/NAME, with the source's name, to notifications of
	// the bucket's changes. Empty: there is no such path.
	HookSecret Secret `key:"hook_secret"`
}

// Watch is how sources are watched. A source may override each of these.
type Watch struct {
	// Settle is the quiet time: a file or directory is published after
	// nothing in it has changed for so long.
	Settle time.Duration `key:"settle"`
	// Rescan is how often everything is listed anew, which finds what the
	// operating system did not report (it never does on NFS and SMB).
	Rescan time.Duration `key:"rescan"`
	// Ignore lists what is left out: patterns with * ? [a-z] for a file's or
	// directory's name at any depth, or, if they contain a slash, for a path
	// from the source's top. Letter case does not matter. A list given here
	// takes the place of the default.
	Ignore []string `key:"ignore"`
}

// Torrent is how torrents are made. A source may override each of these.
// What is part of the info-hash (piece_length, private, source) applies to
// releases made from then on; the rest to all, at once.
type Torrent struct {
	// PieceLength is a power of two from 16KiB to 16MiB, or 0: chosen by the
	// size of the content, so that the .torrent stays below 1 MB if possible.
	PieceLength Size `key:"piece_length"`
	// Private (BEP 27) keeps clients from looking for peers anywhere but at
	// the trackers.
	Private bool `key:"private"`
	// Source is the source tag, which gives the same content a different
	// info-hash on different trackers. Empty: none.
	Source string `key:"source"`
	// Checksums has the SHA-256 of every file computed, for those who download
	// over HTTP: it stands on the pages, in /SHA256SUMS, in Metalinks and in
	// headers. It comes from the same reading as the hashes of pieces, and takes
	// about as much processor time again.
	Checksums bool `key:"checksums"`
	// Comment is shown by clients. Empty: none.
	Comment string `key:"comment"`
	// Trackers are added behind dropseed's own: a list of tiers (BEP 12),
	// each a list of http, https, udp, ws or wss announce URLs. A plain URL in
	// place of a tier is a tier of its own.
	Trackers [][]*url.URL `key:"trackers"`
	// Webseeds (BEP 19) are added behind dropseed's own: http or https URLs
	// of folders that hold the same content; they end in a slash.
	Webseeds []*url.URL `key:"webseeds"`
}

// Offload is how much of the work is left to the peers. A source may override
// each of these.
type Offload struct {
	// Mode is spread, to offer each piece to one peer first, so that peers
	// trade them and about one copy is sent from here; or plain, to offer
	// everything to everybody, as an ordinary seed and webseed do.
	Mode OffloadMode `key:"mode"`
	// Help is when more than one copy is sent because the peers are slow to
	// pass it on (home lines send little): once everything is out and sending
	// more would cut the time that is left by more than this share. 0 always
	// helps, 1 never.
	Help float64 `key:"help"`
}

// Cache is what is kept of the content of buckets.
type Cache struct {
	// Memory is how much is kept in memory, for all buckets together. What was
	// used last is kept the longest.
	Memory Size `key:"memory"`
	// Disk is how much is kept in Folder besides, which restarts do not empty. 0: nothing.
	Disk Size `key:"disk"`
	// Folder is where. It is created if it does not exist.
	Folder string `key:"folder"`
}

// HTTP is the one listener for pages, .torrent files, announces over HTTP,
// webseed, direct downloads and the API.
type HTTP struct {
	// Listen is the TCP address, HOST:PORT or :PORT for all of the machine's
	// addresses. Port 0 picks a free one.
	Listen string `key:"listen"`
	// PublicURL is how the outside reaches this listener: http or https, for
	// instance through a reverse proxy. Empty: what a request's Host says.
	PublicURL *url.URL `key:"public_url"`
	// TrustedProxies are the addresses and networks of reverse proxies whose
	// X-Forwarded-For and X-Forwarded-Proto are believed.
	TrustedProxies []netip.Prefix `key:"trusted_proxies"`
	// Title is the heading of the pages and the feed.
	Title string `key:"title"`
	// MaxConnections is the limit of open connections.
	MaxConnections int `key:"max_connections"`
	// TLS has the listener speak https with a certificate from files.
	TLS TLS `key:"tls"`
	// ACME has it speak https with certificates that it gets by itself, from
	// Let's Encrypt or another authority (RFC 8555). They are kept in state.
	ACME ACME `key:"acme"`
	// Redirect is another TCP address, such as :80, that sends browsers which come
	// without https to the listener. Empty: none.
	Redirect string `key:"redirect"`
	// MetalinkFrom is the size from which on who asks for a single file below /files
	// and says that it takes a Metalink document gets that, as aria2 does: it then
	// downloads from peers and over HTTP at once. As with any torrent it then seeds
	// (--seed-time=0 has it end), and does not use the name that -o gives. 0: files
	// themselves are sent always.
	MetalinkFrom Size `key:"metalink_from"`
}

// Site is how the pages look, and what they say besides the releases.
type Site struct {
	// Description says in a sentence what is published here. Empty: nothing.
	Description string `key:"description"`
	// Logo is an image file in place of the drop: SVG, PNG or WebP, of at most
	// 256 KiB. Empty: the drop.
	Logo string `key:"logo"`
	// Accent is the color of buttons and links, as #rrggbb. Where it is too faint
	// for text to be read, a stronger shade is used. Empty: blue.
	Accent Color `key:"accent"`
	// AccentDark is that in the dark theme. Empty: accent, made light enough.
	AccentDark Color `key:"accent_dark"`
	// Announcement is shown on top of every page: Markdown. Empty: none.
	Announcement string `key:"announcement"`
}

// Peers is the seeder: who may download over BitTorrent, and how much at once.
type Peers struct {
	// Listen is the TCP address for BitTorrent peers, as http.listen.
	Listen string `key:"listen"`
	// PublicAddresses are the IP addresses at which peers outside reach us, at
	// most one of each family, when they differ from the machine's (port
	// forwarding, containers). Empty: the address on which the asking peer
	// reached us.
	PublicAddresses []netip.Addr `key:"public_addresses"`
	// PublicPort is the port at which peers outside reach us. 0: that of listen.
	PublicPort int `key:"public_port"`
	// MaxConnections is the limit of peer connections in all.
	MaxConnections int `key:"max_connections"`
	// MaxPerRelease is the limit of peer connections for one release.
	MaxPerRelease int `key:"max_per_release"`
	// MaxPerAddress is the limit of peer connections from one address (IPv6:
	// one /64). Everybody behind one NAT shares it.
	MaxPerAddress int `key:"max_per_address"`
	// Queue is how many requests of 16 KiB a peer may have waiting (reqq of
	// BEP 10). More than that are rejected.
	Queue int `key:"queue"`
	// HandshakeTimeout is how long a connection may take until it has said
	// which release it wants.
	HandshakeTimeout time.Duration `key:"handshake_timeout"`
	// IdleTimeout cuts a peer that has not sent anything for so long.
	// Clients send a keep-alive every two minutes.
	IdleTimeout time.Duration `key:"idle_timeout"`
	// WriteTimeout cuts a peer that does not take what it asked for.
	WriteTimeout time.Duration `key:"write_timeout"`
	// Dial connects to leechers that announce themselves to the tracker, for
	// those that are slow to come or cannot come themselves.
	Dial bool `key:"dial"`
	// PEX tells peers of each other (BEP 11), except for private torrents.
	PEX bool `key:"pex"`
	// ShowAddresses shows the addresses of connected peers to whoever may see a
	// release's swarm, on its page and in the API.
	ShowAddresses bool `key:"show_addresses"`
}

// Tracker is the tracker of our own releases.
type Tracker struct {
	// UDP is the address of the tracker over UDP (BEP 15), as http.listen.
	// Empty: none. Over HTTP the tracker is always at /announce.
	UDP string `key:"udp"`
	// Interval is how often clients are asked to announce themselves.
	Interval time.Duration `key:"interval"`
	// MinInterval is how soon a client may come again.
	MinInterval time.Duration `key:"min_interval"`
	// NumWant is how many peers a client gets that does not say how many.
	NumWant int `key:"numwant"`
	// MaxNumWant is how many peers a client gets at most.
	MaxNumWant int `key:"max_numwant"`
	// MaxPeers is the limit of peers kept in all.
	MaxPeers int `key:"max_peers"`
	// MaxPerRelease is the limit of peers kept for one release.
	MaxPerRelease int `key:"max_per_release"`
	// TrustedClients are the addresses and networks of clients that may
	// announce themselves under another address (the ip parameter).
	TrustedClients []netip.Prefix `key:"trusted_clients"`
}

// DHT has releases found without a tracker, by their info-hash alone (BEP 5).
// Private torrents are left out. Its node listens where peers.listen says, over UDP.
type DHT struct {
	// Enabled takes part in it.
	Enabled bool `key:"enabled"`
	// Bootstrap are the nodes to begin with, HOST:PORT. Later those are used that
	// have answered.
	Bootstrap []string `key:"bootstrap"`
	// Rate is how many releases are announced in a second; each takes some 50
	// packets. All are announced at least every half an hour if there are not too
	// many for that; else those first that have peers.
	Rate float64 `key:"rate"`
}

// Limits are what all parts share.
type Limits struct {
	// Upload is the rate of all content that is sent: to peers, by the webseed
	// and to direct downloads together. Kinds that want it share it equally,
	// and so do within a kind its releases, and within a release its clients
	// (an IPv4 address, or an IPv6 /64), however many connections they have.
	// 0: unlimited.
	Upload Rate `key:"upload"`
	// Peers, Webseed and Direct bound the share of a kind.
	Peers   Share `key:"peers"`
	Webseed Share `key:"webseed"`
	Direct  Share `key:"direct"`
	// Requests bounds how often one client may ask for what is not content.
	Requests Requests `key:"requests"`
}

// Share bounds what a kind of sending gets of limits.upload.
type Share struct {
	// Floor is the rate that it gets before the others, if it wants it. 0: none.
	Floor Rate `key:"floor"`
	// Cap is the rate that it never exceeds, with or without limits.upload. 0: none.
	Cap Rate `key:"cap"`
}

// Notify is who is told that a release was published or retired, or that a tree
// could not be published: URLs, a command, or both. Each is told at least once,
// in order, over restarts too; whoever does not listen is tried again for three
// days. After a time without notifications, what is older than that is not told.
type Notify struct {
	// URLs are posted to: http or https. The JSON that is sent is signed as the
	// Standard Webhooks specification says (standardwebhooks.com).
	URLs []*url.URL `key:"urls"`
	// Secret is the key of the signatures: whsec_ and base64, or any other text,
	// whose bytes are the key. It is needed with urls.
	Secret Secret `key:"secret"`
	// Command is a program and its arguments, run for one event at a time, without
	// a shell. The facts are in its environment (DROPSEED_EVENT, DROPSEED_NAME and
	// so on) and, as JSON, on its standard input. If it fails, it is run again.
	Command []string `key:"command"`
	// Events are what is told: published, retired, failed.
	Events []NotifyEvent `key:"events"`
	// Existing has the first start with notifications tell of all releases that
	// there are. Else only of what happens from then on.
	Existing bool `key:"existing"`
	// Timeout is how long one request or run of the command may take. The command
	// is killed then, with all that it started.
	Timeout time.Duration `key:"timeout"`
}

// Log is what is written to standard error.
type Log struct {
	// Format is text, for people, or json, one object a line.
	Format LogFormat `key:"format"`
	// Level is the least that is written: debug, info, warn or error.
	Level slog.Level `key:"level"`
}

// Debug is for finding out what the process itself does.
type Debug struct {
	// Listen is the address of Go's profiles (net/http/pprof), HOST:PORT with a
	// loopback address: they tell a lot, and asking for them costs. Empty: none.
	Listen string `key:"listen"`
}

// Default returns the configuration that holds without a file, variables and
// flags. It watches nothing yet.
func Default() Config {
	return Config{
		Shutdown: 5 * time.Second,
		Watch: Watch{
			Settle: 5 * time.Second,
			Rescan: 30 * time.Second,
			Ignore: []string{".*", "*.part", "*.tmp", "*.partial", "*.crdownload", "*.filepart", "*.aria2", "*.!qB", "*~"},
		},
		Torrent: Torrent{Checksums: true},
		Offload: Offload{Mode: OffloadSpread, Help: 0.2},
		Cache:   Cache{Memory: 256 << 20},
		HTTP: HTTP{
			Listen:         ":8080",
			Title:          "dropseed",
			MaxConnections: 4096,
			MetalinkFrom:   16 << 20,
		},
		Peers: Peers{
			Listen:           ":6881",
			MaxConnections:   4096,
			MaxPerRelease:    2048,
			MaxPerAddress:    64,
			Queue:            512,
			HandshakeTimeout: 10 * time.Second,
			IdleTimeout:      3 * time.Minute,
			WriteTimeout:     30 * time.Second,
			Dial:             true,
			PEX:              true,
		},
		Tracker: Tracker{
			UDP:           ":6969",
			Interval:      30 * time.Minute,
			MinInterval:   5 * time.Minute,
			NumWant:       50,
			MaxNumWant:    200,
			MaxPeers:      4_000_000,
			MaxPerRelease: 1_000_000,
		},
		DHT: DHT{
			Enabled:   true,
			Bootstrap: []string{"router.bittorrent.com:6881", "dht.transmissionbt.com:6881", "dht.libtorrent.org:25401"},
			Rate:      2,
		},
		Limits: Limits{Requests: Requests{Rate: 20, Burst: 100}},
		Notify: Notify{
			Events:  []NotifyEvent{EventPublished, EventRetired, EventFailed},
			Timeout: 30 * time.Second,
		},
		Log: Log{Format: LogText, Level: slog.LevelInfo},
	}
}
