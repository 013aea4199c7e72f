package tracker

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/anacrolix/torrent/types/infohash"
)

// shardCount is how many locks there are. Info-hashes are spread over them by
// their first byte.
const shardCount = 64

// expireBatch is how many records are looked at under one lock: a quarter of a
// millisecond of work at most, if all of them go.
const expireBatch = 512

// store holds the swarms. Peers are kept in tables (see table), tables in
// swarms, swarms in shards. Each shard has a lock; nothing is ever done under
// two of them, and no foreign code runs under any.
type store struct {
	shards [shardCount]shard
	swarms atomic.Int64 // in all shards
	peers  atomic.Int64 // in all swarms
	ids    atomic.Int64 // peer_ids held (see idBudget)

	maxSwarms, maxPeers, maxPeersPerSwarm, maxPortsPerAddress int
}

type shard struct {
	mu     sync.Mutex // guards what follows, and the swarms themselves
	swarms map[infohash.T]*swarm
	_      [48]byte // a cache line each
}

func (st *store) shard(ih infohash.T) *shard { return &st.shards[ih[0]%shardCount] }

// announce records p, and picks peers for an answer. lasting says that the
// info-hash is a release of ours. It reports false if there was no room to
// record the peer; the answer is good nevertheless.
func (st *store) announce(ih infohash.T, lasting bool, p *announcement, w *wish, c *choice) (Counts, bool) {
	sh := st.shard(ih)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.swarms[ih]
	if s == nil {
		if p.event == eventStopped {
			return Counts{}, true
		}
		if st.swarms.Load() >= int64(st.maxSwarms) {
			return Counts{}, false
		}
		s = &swarm{}
		if sh.swarms == nil {
			sh.swarms = make(map[infohash.T]*swarm)
		}
		sh.swarms[ih] = s
		st.swarms.Add(1)
	}
	s.lasting = lasting
	ok := s.update(p, st)
	if w.n > 0 {
		s.pick(w, c)
	}
	st.dropIfDone(sh, ih, s)
	return s.result(), ok
}

func (s *swarm) result() Counts {
	return Counts{
		Seeders:     int(s.counts.seeders),
		Leechers:    int(s.counts.leechers),
		Downloaders: int(s.counts.leechers - s.counts.paused),
		Completed:   int(s.completed),
	}
}

func (st *store) counts(ih infohash.T) Counts {
	sh := st.shard(ih)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s := sh.swarms[ih]; s != nil {
		return s.result()
	}
	return Counts{}
}

// active calls f for every swarm that has peers, or whose count of downloads has
// grown since the last call. No lock is held then.
func (st *store) active(f func(infohash.T, Counts)) {
	type found struct {
		ih infohash.T
		Counts
	}
	var list []found
	for i := range st.shards {
		sh := &st.shards[i]
		list = list[:0]
		sh.mu.Lock()
		for ih, s := range sh.swarms {
			if s.peers() > 0 || s.completed != s.told {
				s.told = s.completed
				list = append(list, found{ih, s.result()})
			}
		}
		sh.mu.Unlock()
		for _, s := range list {
			f(s.ih, s.Counts)
		}
	}
}

// pick adds peers for at, who gets leechers only if it is known as a seeder.
func (st *store) pick(ih infohash.T, at *endpoint, w *wish, c *choice) {
	sh := st.shard(ih)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.swarms[ih]
	if s == nil {
		return
	}
	if t := s.table(at.width, w.asker); t != nil {
		if i, _, _ := t.find(at, 0); i >= 0 {
			w.leechersOnly = t.flags(i)&isSeeder != 0
		}
	}
	s.pick(w, c)
}

func (st *store) forget(ih infohash.T) {
	sh := st.shard(ih)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s := sh.swarms[ih]; s != nil {
		s.lasting = false
		s.clear(st)
		st.dropIfDone(sh, ih, s)
	}
}

// dropIfDone lets an empty swarm go, unless it holds a count worth keeping.
func (st *store) dropIfDone(sh *shard, ih infohash.T, s *swarm) {
	for _, t := range s.tables {
		if t.n > 0 {
			return
		}
	}
	s.tables = nil
	if !s.lasting || s.completed == 0 {
		delete(sh.swarms, ih)
		st.swarms.Add(-1)
	}
}

// expire removes the peers that were not seen for long enough, and the swarms
// that tracked no longer allows. life returns, in ticks, how long a peer of a
// swarm of that many peers lasts. It takes a lock for a short while only.
func (st *store) expire(ctx context.Context, now func() tick, life func(peers int) int, tracked func(infohash.T) bool) {
	var hashes []infohash.T
	for i := range st.shards {
		sh := &st.shards[i]
		hashes = hashes[:0]
		sh.mu.Lock()
		for ih := range sh.swarms {
			hashes = append(hashes, ih)
		}
		sh.mu.Unlock()
		for _, ih := range hashes {
			if ctx.Err() != nil {
				return
			}
			if !tracked(ih) {
				st.forget(ih)
				continue
			}
			st.expireSwarm(sh, ih, now, life)
		}
	}
}

func (st *store) expireSwarm(sh *shard, ih infohash.T, now func() tick, life func(int) int) {
	step := func(c cursor) (cursor, bool) {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		s := sh.swarms[ih]
		if s == nil {
			return c, true
		}
		c, done := s.expire(c, now(), life(s.peers()), expireBatch, st)
		if done {
			st.dropIfDone(sh, ih, s)
		}
		return c, done
	}
	for c, done := step(cursor{pos: -1}); !done; {
		c, done = step(c)
	}
}
