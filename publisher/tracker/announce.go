package tracker

import (
	"hash/maphash"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/anacrolix/torrent/types/infohash"
)

// event is the event of an announce; the numbers are those of BEP 15.
type event uint8

const (
	eventNone event = iota
	eventCompleted
	eventStarted
	eventStopped
	eventPaused // BEP 21; HTTP only
)

// request is an announce, parsed, no matter how it came.
type request struct {
	hash      infohash.T
	id        [idSize]byte
	key       uint32
	peer      netip.AddrPort // where the peer listens; plain
	extra     netip.AddrPort // its address in the other family, or zero
	seen      netip.Addr     // where the request came from; plain
	reached   netip.Addr     // where it came to; plain
	event     event
	seeder    bool
	want      int // peers wanted
	asList    bool
	oneFamily bool // the answer has no room for addresses of the family that seen is not of
}

// answer is what a request is told. It is reused.
type answer struct {
	counts   Counts
	interval time.Duration
	seeds    []netip.AddrPort // of both families, to come before peers
	peers    choice           // of the family of request.seen
	skip     [maxSeeds + 1]endpoint
}

// refusal is why a request is not answered.
type refusal struct {
	reason string
	retry  retry
	cause  cause
}

// retry is what a refused client is told about trying again (BEP 31).
type retry int

const (
	retryUnsaid retry = 0
	retryNever  retry = -1
	retrySoon   retry = 1 // minutes
)

var (
	refusedUnknown = &refusal{"this torrent is not tracked here", retrySoon, causeUnknown}
	refusedRetired = &refusal{"this release was retired: it was replaced or removed by its publisher", retryNever, causeRetired}
	refusedPort    = &refusal{"port must be a number from 1 to 65535", retryUnsaid, causePort}
	refusedLowPort = &refusal{"ports below 1024 are not allowed here", retryUnsaid, causePort}
	refusedAddress = &refusal{"the address that this request came from cannot be a peer's", retryUnsaid, causeAddress}
)

// announce records a request and fills a.
func (t *Tracker) announce(r *request, a *answer) *refusal {
	a.peers.reset(r.asList)
	a.seeds = a.seeds[:0]
	standing := t.opt.Standing(r.hash)
	switch {
	case standing == Retired:
		return refusedRetired
	case !standing.tracked():
		return refusedUnknown
	case r.peer.Port() == 0:
		return refusedPort
	case r.peer.Port() < 1024 && t.opt.Ports == UnprivilegedPort:
		return refusedLowPort
	case !usable(r.peer.Addr()):
		return refusedAddress
	}
	if r.event == eventStopped {
		r.want = 0
	}
	r.want = min(r.want, t.opt.MaxNumWant)

	if r.extra.IsValid() {
		t.record(r, r.extra, standing, &wish{}, a)
	}
	w := wish{n: r.want, asker: classOf(r.seen), width: widthOf(r.seen), leechersOnly: r.seeder}
	w.skip = append(a.skip[:0], endpointOf(r.peer))
	if standing == Tracked && t.opt.Seeds != nil {
		t.addSeeds(r, &w, a)
	}
	t.record(r, r.peer, standing, &w, a)
	a.interval = time.Duration((0.9 + 0.2*rand.Float64()) * float64(t.interval(a.counts.Seeders+a.counts.Leechers)))
	if standing == Tracked && t.opt.Seeds != nil {
		a.counts.Seeders++
	}
	if t.opt.OnAnnounce != nil && r.event != eventStopped {
		role := Leecher
		if r.seeder {
			role = Seeder
		}
		t.opt.OnAnnounce(r.hash, r.peer, role)
	}
	return nil
}

// addSeeds puts our own seeder into the answer, unless a seeder asks, and
// keeps it from being named twice. A seeder that has just started is told of it
// all the same: aria2 says left=0 while it has only a magnet link.
func (t *Tracker) addSeeds(r *request, w *wish, a *answer) {
	seeds := t.opt.Seeds(r.reached)
	for _, s := range seeds[:min(len(seeds), maxSeeds)] {
		s = netip.AddrPortFrom(plain(s.Addr()), s.Port())
		e := endpointOf(s)
		w.skip = append(w.skip, e)
		if r.seeder && r.event != eventStarted || len(a.seeds) >= r.want || s == r.peer ||
			r.oneFamily && e.width != w.width || !w.asker.reaches(classOf(s.Addr())) {
			continue
		}
		a.seeds = append(a.seeds, s)
		w.n--
	}
}

func (t *Tracker) record(r *request, at netip.AddrPort, standing Standing, w *wish, a *answer) {
	p := announcement{
		at: endpointOf(at), class: classOf(at.Addr()),
		id: r.id, ident: identity(r.id, r.key),
		event: r.event, seeder: r.seeder, now: t.now(),
	}
	var ok bool
	a.counts, ok = t.store.announce(r.hash, standing == Tracked, &p, w, &a.peers)
	if !ok {
		t.refused.Add(1)
	}
}

// identity is what makes one client of several announces: its peer_id and key.
func identity(id [idSize]byte, key uint32) uint32 {
	var b [idSize + 4]byte
	copy(b[:], id[:])
	b[idSize], b[idSize+1], b[idSize+2], b[idSize+3] = byte(key>>24), byte(key>>16), byte(key>>8), byte(key)
	return uint32(maphash.Bytes(hashSeed, b[:]))
}

// largeSwarm is the number of peers from which on a swarm's peers are asked to
// come less often: they know enough others.
const largeSwarm = 10_000

func (t *Tracker) interval(peers int) time.Duration {
	if peers >= largeSwarm {
		return t.opt.Interval * 3 / 2
	}
	return t.opt.Interval
}

// lifetime returns, in ticks, how long a peer lasts that does not announce:
// two intervals, and a little for their jitter and for slow answers.
func (t *Tracker) lifetime(peers int) int {
	d := t.interval(peers)
	return int((2*d+d/4)/(tickSeconds*time.Second)) + 1 // the first tick was not a whole one
}
