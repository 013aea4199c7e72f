package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/configs"
	"dropseed/publisher"
	"dropseed/publisher/budget"
	"dropseed/publisher/catalog"
	"dropseed/publisher/dht"
	"dropseed/publisher/history"
	"dropseed/publisher/notify"
	"dropseed/publisher/seeder"
	"dropseed/publisher/tracker"
	"dropseed/watcher/cached"
	"dropseed/webseed"
	"dropseed/webseed/access"
	"dropseed/webseed/site"
)

// server is all components, composed. Its fields do not change.
type server struct {
	config    configs.Config
	log       *slog.Logger
	sources   map[string]*source // by name
	disk      *cached.Disk       // of all buckets; nil: none
	catalog   *catalog.Catalog
	publisher *publisher.Publisher
	tracker   *tracker.Tracker
	seeder    *seeder.Seeder
	dht       *dht.Node // nil: none
	webseed   *webseed.Server
	gate      *webseed.Gate
	site      *site.Site
	notify    *notify.Notifier // nil: nobody is told
	brand     site.Brand
	history   *history.History
	started   time.Time
	budget    *budget.Budget
	http      *http.Server
	access    *access.Access
	requests  *access.Limiter // of what is not content; nil: there is no limit
	tls       *encryption     // nil: http is not encrypted
	sent      accounts
	hooks     map[string]http.Handler // by path
	metrics   http.Handler

	connections   connectionLimit // of http
	debugListener net.Listener    // nil: none

	httpListener, peerListener net.Listener
	redirectListener           net.Listener // leads to httpListener; nil: there is none
	udp                        []*net.UDPConn
	dhtConns                   []*net.UDPConn // of each family at most one

	closers []func() error
}

// newServer opens everything that can fail, reports all that did together, and
// starts nothing.
func newServer(ctx context.Context, c configs.Config, log *slog.Logger) (_ *server, err error) {
	s := &server{
		config: c, log: log, budget: newBudget(c.Limits), started: time.Now().UTC().Truncate(time.Second),
		sources: make(map[string]*source), hooks: make(map[string]http.Handler),
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := errors.Join(s.openSources(), s.listen(ctx), s.openAccess(), s.openTLS(), s.openBrand()); err != nil {
		return nil, err
	}
	s.listenDHT(ctx)
	if s.catalog, err = catalog.Open(c.State, log); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.catalog.Close)
	if err := s.openNotify(); err != nil {
		return nil, err
	}

	s.composeSources()
	s.composeSeeder()
	s.composeTracker()
	if err := s.composeDHT(); err != nil {
		return nil, err
	}
	s.composeHistory()
	s.composeHTTP()
	return s, nil
}

func (s *server) close() {
	for _, c := range s.closers {
		c()
	}
}

func (s *server) listen(ctx context.Context) error {
	var errs []error
	tcp := func(key, what, addr string) net.Listener {
		lc := net.ListenConfig{Control: shortQueue}
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen for %s: %w (set %s to another address)", what, err, key))
			return nil
		}
		s.closers = append(s.closers, ln.Close)
		return ln
	}
	s.httpListener = tcp("--http", "HTTP", s.config.HTTP.Listen)
	s.peerListener = tcp("--peers", "BitTorrent peers", s.config.Peers.Listen)
	if s.config.HTTP.Redirect != "" {
		s.redirectListener = tcp("http.redirect", "what is to be led to https", s.config.HTTP.Redirect)
	}
	if s.config.Debug.Listen != "" {
		s.debugListener = tcp("debug.listen", "profiles", s.config.Debug.Listen)
	}
	if s.config.Tracker.UDP != "" {
		conns, err := tracker.ListenUDP(ctx, s.config.Tracker.UDP)
		if err != nil {
			errs = append(errs, fmt.Errorf("%w (set --udp to another address, or to nothing)", err))
		}
		s.udp = conns
		for _, c := range conns {
			s.closers = append(s.closers, c.Close)
		}
	}
	return errors.Join(errs...)
}

func (s *server) composeTracker() {
	c := s.config.Tracker
	o := tracker.Options{
		Standing: func(ih infohash.T) tracker.Standing {
			r, ok := s.catalog.Get(ih)
			switch {
			case !ok:
				return tracker.Unknown
			case !r.Live():
				return tracker.Retired
			}
			return tracker.Tracked
		},
		Seeds:          s.seeds,
		Interval:       c.Interval,
		MinInterval:    c.MinInterval,
		NumWant:        c.NumWant,
		MaxNumWant:     c.MaxNumWant,
		MaxPeers:       c.MaxPeers,
		TrustedProxies: s.config.HTTP.TrustedProxies,
		TrustedIPs:     c.TrustedClients,
		Log:            s.log,

		MaxPeersPerSwarm: c.MaxPerRelease,
	}
	o.OnAnnounce = func(ih infohash.T, peer netip.AddrPort, role tracker.Role) {
		if role != tracker.Leecher {
			return
		}
		s.gate.Announced(ih, peer.Addr())
		if s.config.Peers.Dial {
			s.seeder.Dial(ih, peer)
		}
		if s.dht != nil {
			s.dht.Hurry(ih)
		}
	}
	s.tracker = tracker.New(o)
	s.gate = webseed.NewGate(gateSwarm{s.seeder}, s.tracker.ClientAddr)
}

// seeds returns where a peer that reached us at an address finds our seeder.
func (s *server) seeds(reached netip.Addr) []netip.AddrPort {
	c := s.config.Peers
	local := s.peerListener.Addr().(*net.TCPAddr).AddrPort()
	port := s.peerPort()
	if len(c.PublicAddresses) > 0 {
		seeds := make([]netip.AddrPort, len(c.PublicAddresses))
		for i, a := range c.PublicAddresses {
			seeds[i] = netip.AddrPortFrom(a, port)
		}
		return seeds
	}
	if !local.Addr().IsUnspecified() {
		reached = local.Addr()
	}
	if !reached.IsValid() || reached.IsUnspecified() {
		return nil
	}
	return []netip.AddrPort{netip.AddrPortFrom(reached.Unmap(), port)}
}

func (s *server) composeSeeder() {
	c := s.config.Peers
	o := seeder.Options{
		Catalog:       s.catalog,
		Open:          s.openPatiently,
		Changed:       s.look,
		Offload:       s.offload,
		SentElsewhere: s.sent.total.Load,
		Seeders:       func(ih infohash.T) int { return s.tracker.Swarm(ih).Seeders - 1 },
		Limits: seeder.Limits{
			Connections: c.MaxConnections, PerRelease: c.MaxPerRelease, PerAddress: c.MaxPerAddress,
			Requests: c.Queue, Handshake: c.HandshakeTimeout, Idle: c.IdleTimeout, Write: c.WriteTimeout,
			Drain: s.config.Shutdown,
		},
		Client:  "dropseed " + version,
		Control: shortQueue,
		Log:     s.log,
	}
	if c.PEX {
		o.MayTell = tracker.MayTell
		o.Peers = func(ih infohash.T, to netip.AddrPort, n int) []netip.AddrPort { return s.tracker.Peers(ih, to, n) }
	}
	o.Chunk, o.LineRate = s.budget.Chunk(), s.budget.Rate()
	o.Take = func(ctx context.Context, ih infohash.T, to netip.Addr, n int) error {
		return s.budget.Take(ctx, budget.Peers, ih, to, n)
	}
	if len(s.dhtConns) > 0 {
		o.DHTPort, o.Node = s.peerPort(), s.metNode
	}
	s.seeder = seeder.New(o)
}

// offload is how the releases of a source are offered.
func (s *server) offload(name string) seeder.Offload {
	o := s.config.Offload
	if src := s.sources[name]; src != nil {
		o = src.config.Offload
	}
	mode := seeder.Spread
	if o.Mode == configs.OffloadPlain {
		mode = seeder.Plain
	}
	return seeder.Offload{Mode: mode, Help: o.Help}
}

// gateSwarm is the seeder as the webseed's gate asks it.
type gateSwarm struct{ *seeder.Seeder }

func (g gateSwarm) At(ih infohash.T, addr netip.Addr, off int64) webseed.Peers {
	return webseed.Peers(g.Seeder.At(ih, addr, off))
}

func newBudget(l configs.Limits) *budget.Budget {
	o := budget.Options{Rate: float64(l.Upload)}
	for kind, share := range map[budget.Kind]configs.Share{budget.Peers: l.Peers, budget.Webseed: l.Webseed, budget.Direct: l.Direct} {
		o.Shares[kind] = budget.Share{Floor: float64(share.Floor), Cap: float64(share.Cap)}
	}
	return budget.New(o)
}

// takeHTTP waits until a part of an answer may be sent.
func (s *server) takeHTTP(r *http.Request, ih infohash.T, kind webseed.Kind, n int) error {
	as := budget.Direct
	if kind == webseed.Webseed {
		as = budget.Webseed
	}
	return s.budget.Take(r.Context(), as, ih, s.tracker.ClientAddr(r), n)
}

func (s *server) composeHTTP() {
	s.webseed = webseed.New(webseed.Options{
		Catalog: s.catalog, Open: s.open, Sent: s.noteSent,
		Take: s.takeHTTP, Chunk: s.budget.Chunk(),
		Redirect: s.redirect,
		Gate:     s.gate,
		Metalink: func(w http.ResponseWriter, r *http.Request, c *catalog.Content, i int) {
			s.site.ServeMetalink(w, r, c, i)
		},
		MetalinkFrom: int64(s.config.HTTP.MetalinkFrom),
		Links:        s.links,
		Private:      s.config.Access.Catalog == configs.Private,
		Log:          s.log,
	})
	s.site = s.newSite()
	s.metrics = s.newMetrics()
	s.connections.most = int64(s.config.HTTP.MaxConnections)
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.route),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      answerTime,
		IdleTimeout:       75 * time.Second,
		MaxHeaderBytes:    32 << 10,
		ConnState:         s.connections.state,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// udpAddress is where the UDP tracker listens, for the log.
func (s *server) udpAddress() string {
	addrs := make([]string, len(s.udp))
	for i, c := range s.udp {
		addrs[i] = c.LocalAddr().String()
	}
	return strings.Join(slices.Compact(addrs), " ") // each processor has a socket at each
}
