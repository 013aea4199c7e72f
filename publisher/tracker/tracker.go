// Package tracker tells the peers of a swarm about each other, over HTTP
// (BEP 3, 7, 23, 24, 31, 48), UDP (BEP 15, 41) and WebSocket (WebTorrent), IPv4 and
// IPv6.
//
// [Tracker.ServeHTTP] and [Tracker.ServeUDP] parse what comes in and share
// everything else: whether an info-hash is tracked at all is asked of
// Options.Standing for every announce, peers are kept in memory in flat tables
// under sharded locks (see store and table), and our own seeder comes first
// in every answer to a leecher. Peers at private addresses are named only to
// those who can reach them. [Tracker.Run] removes peers that went silent.
// The announcing peer is included in the counts of its answer, and so is our
// own seeder.
//
// An info-hash is an opaque 20 bytes here: the v1 and v2 hashes of a hybrid
// torrent are two swarms. Peers that come over WebSocket, as browsers do, find each
// other only: the tracker passes their offers and answers on (see webStore). The
// package does not store anything on disk, and does not know passkeys (it accepts
// them in paths and ignores them).
//
// Publishers may say in DNS where a name's trackers are (BEP 34): a TXT record
// on the host of the announce URL such as "BITTORRENT UDP:6969 TCP:8080", in
// order of preference, or "BITTORRENT" alone if there is none.
package tracker

import (
	"context"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// Standing is what an info-hash is to us.
type Standing uint8

const (
	// Unknown info-hashes are refused; clients are told to come again soon,
	// for it may be a release that is being published.
	Unknown Standing = iota
	// Tracked is a release of ours: tracked, with our own seeder among the peers.
	Tracked
	// Listed is somebody else's torrent that we track, without a seeder of ours.
	Listed
	// Retired releases are refused for good.
	Retired
)

func (s Standing) tracked() bool { return s == Tracked || s == Listed }

// Options configure a Tracker. The zero value of every field is usable.
type Options struct {
	// Standing says what an info-hash is to us, for every announce and scrape
	// anew. It must be fast and safe for concurrent use. If nil, every
	// info-hash is Listed.
	Standing func(infohash.T) Standing

	// Seeds returns the addresses of our own seeder, for somebody who reached
	// the tracker at that local address. It must be fast and safe for
	// concurrent use; what it returns is not modified. At most 7 are used.
	// If nil, there is no seeder of ours.
	Seeds func(reached netip.Addr) []netip.AddrPort

	// OnAnnounce, if not nil, hears of every announce that was answered, except
	// stopped ones. It is called while the peer waits, so it must not block.
	OnAnnounce func(ih infohash.T, peer netip.AddrPort, role Role)

	Interval    time.Duration // between announces of a peer, varied by 10 %; default 30 min, at most 24 h
	MinInterval time.Duration // peers are told not to come sooner; default 5 min, at most Interval
	NumWant     int           // peers in an answer if the client does not say; default 50
	MaxNumWant  int           // peers in an answer at most; default 200 (UDP packets hold 242, IPv6 67)

	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	TrustedIPs     []netip.Prefix // from where ip=, ipv4= and ipv6= are honoured
	Ports          PortRule       // which ports peers may listen on
	Warning        string         // shown by clients to their users, over HTTP; default none

	// ConnectionKey signs the connection ids of UDP. Instances that answer for
	// one address must share it; if zero, it is made up at the start.
	ConnectionKey ConnectionKey
	// ConnectionWindow is how long a connection id is good for: default 10 min
	// (some clients keep them for 5, though BEP 15 says 1), at least 2 min, at
	// most 24 h.
	ConnectionWindow time.Duration

	// Bounds on memory; a peer for whom there is no room is answered but not
	// named to others. Defaults: 1<<20 swarms, 1<<22 peers in all (100 to
	// 200 MB), 1<<20 peers in a swarm, 256 ports per address in a swarm.
	MaxSwarms, MaxPeers, MaxPeersPerSwarm, MaxPortsPerAddress int

	// Sweep is how often expired peers are looked for; default 1 min.
	Sweep time.Duration

	Now func() time.Time // default time.Now
	Log *slog.Logger     // default none
}

// maxSeeds is how many addresses of our own seeder are put in an answer.
const maxSeeds = 7

// Role is what a peer does in a swarm.
type Role uint8

const (
	Leecher Role = iota
	Seeder
)

// PortRule says which ports peers may announce.
type PortRule uint8

const (
	AnyPort          PortRule = iota // 1 to 65535
	UnprivilegedPort                 // 1024 to 65535
)

// Counts are the figures of a swarm, our own seeder included.
type Counts struct {
	Seeders     int
	Leechers    int
	Downloaders int // Leechers without those that are partial seeds (BEP 21)
	Completed   int // downloads finished since the start
}

// Stats are figures of the whole tracker.
type Stats struct {
	Swarms           int    // with peers, or with a count of downloads
	Peers            int    // addresses, of all swarms
	PeersRefused     uint64 // not recorded for lack of room
	BadConnectionIDs uint64 // UDP packets dropped for their connection id
}

// Tracker answers announces and scrapes. All methods are safe for concurrent use.
type Tracker struct {
	opt   Options
	store store
	conn  *connectionIDs
	web   *webStore
	begin time.Time

	counts  counters
	refused atomic.Uint64
}

// New returns a tracker that knows no peers. It starts nothing: serve it with
// ServeHTTP and ServeUDP, and call Run.
func New(opt Options) *Tracker {
	setDefaults(&opt)
	t := &Tracker{opt: opt, conn: newConnectionIDs(opt.ConnectionKey, opt.ConnectionWindow), web: newWebStore(), begin: opt.Now()}
	t.store.maxSwarms = opt.MaxSwarms
	t.store.maxPeers = opt.MaxPeers
	t.store.maxPeersPerSwarm = opt.MaxPeersPerSwarm
	t.store.maxPortsPerAddress = opt.MaxPortsPerAddress
	return t
}

func setDefaults(o *Options) {
	orDefault(&o.Interval, 30*time.Minute)
	o.Interval = min(max(o.Interval, time.Second), 24*time.Hour)
	orDefault(&o.MinInterval, 5*time.Minute)
	o.MinInterval = min(max(o.MinInterval, time.Second), o.Interval)
	orDefault(&o.NumWant, 50)
	orDefault(&o.MaxNumWant, 200)
	orDefault(&o.ConnectionWindow, 10*time.Minute)
	o.ConnectionWindow = min(max(o.ConnectionWindow, 2*time.Minute), 24*time.Hour)
	orDefault(&o.MaxSwarms, 1<<20)
	orDefault(&o.MaxPeers, 1<<22)
	orDefault(&o.MaxPeersPerSwarm, 1<<20)
	orDefault(&o.MaxPortsPerAddress, 256)
	orDefault(&o.Sweep, time.Minute)
	if o.Standing == nil {
		o.Standing = func(infohash.T) Standing { return Listed }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func orDefault[T int | time.Duration](v *T, def T) {
	if *v <= 0 {
		*v = def
	}
}

// Run removes peers that did not announce for two intervals, and swarms that
// Options.Standing no longer allows, until ctx ends. Then it closes all WebSockets
// and returns nil.
func (t *Tracker) Run(ctx context.Context) error {
	tracked := func(ih infohash.T) bool { return t.opt.Standing(ih).tracked() }
	ticker := time.NewTicker(t.opt.Sweep)
	defer ticker.Stop()
	defer t.web.stop()
	var reported uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		t.store.expire(ctx, t.now, t.lifetime, tracked)
		t.web.expire(tracked)
		if n := t.refused.Load(); n > reported {
			t.opt.Log.Warn("no room for more peers: they are answered, but not named to others", "refused", n-reported)
			reported = n
		}
	}
}

// Swarm returns the counts that an announce or a scrape would be told now.
// They are zero for what is not tracked.
func (t *Tracker) Swarm(ih infohash.T) Counts {
	return t.swarm(ih, t.opt.Standing(ih))
}

func (t *Tracker) swarm(ih infohash.T, standing Standing) Counts {
	if !standing.tracked() {
		return Counts{}
	}
	c := t.store.counts(ih)
	if standing == Tracked && t.opt.Seeds != nil {
		c.Seeders++
	}
	return c
}

// Completed returns how many downloads were finished that the tracker knows of,
// also of what became untracked within the last minute: unlike that of Swarm, the
// count does not come back when that is tracked again.
func (t *Tracker) Completed(ih infohash.T) int { return t.store.counts(ih).Completed }

// Active calls f with the counts of every swarm that has peers, or in which a
// download was finished since the last call, our own seeder excluded. What
// became untracked within the last minute may be among them.
func (t *Tracker) Active(f func(infohash.T, Counts)) { t.store.active(f) }

// Peers returns up to n random peers of a swarm that asker may be told of, of
// both address families, without asker itself. A known seeder is told of
// leechers only.
func (t *Tracker) Peers(ih infohash.T, asker netip.AddrPort, n int) []netip.AddrPort {
	at := endpointOf(asker)
	w := wish{n: max(n, 0), asker: classOf(plain(asker.Addr())), skip: []endpoint{at}}
	var c choice
	c.reset(true)
	t.store.pick(ih, &at, &w, &c)
	peers := make([]netip.AddrPort, len(c.list))
	for i, l := range c.list {
		peers[i] = l.at
	}
	return peers
}

// Forget drops a swarm, its peers and its count of downloads at once.
func (t *Tracker) Forget(ih infohash.T) { t.store.forget(ih) }

// Stats returns figures of the whole tracker.
func (t *Tracker) Stats() Stats {
	return Stats{
		Swarms:           int(t.store.swarms.Load()),
		Peers:            int(t.store.peers.Load()),
		PeersRefused:     t.refused.Load(),
		BadConnectionIDs: t.counts.errors[overUDP][causeConnection].Load(),
	}
}

func (t *Tracker) now() tick {
	return tick(t.opt.Now().Sub(t.begin) / (tickSeconds * time.Second))
}
