package main

import (
	"crypto/sha1"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"sort"
)

// swarms is a made-up population: many info-hashes of uneven size, as on a real
// tracker, where the n-th largest swarm has about 1/n of the peers of the largest.
// Each peer has an address of its own in 127.0.0.0/8.
type swarms struct {
	hashes [][20]byte
	ends   []int // ends[i] is how many peers the swarms up to the i-th have
}

// mostPeers is how many addresses there are.
const mostPeers = 1<<24 - firstAddress - 1

const (
	firstAddress = 1 << 16 // 127.1.0.0
	firstPort    = 6881
)

// newSwarms spreads peers over so many swarms. The least swarm has two.
func newSwarms(torrents, peers int) *swarms {
	s := &swarms{hashes: make([][20]byte, torrents), ends: make([]int, torrents)}
	var weight float64
	for i := range torrents {
		weight += 1 / float64(i+1)
	}
	end := 0
	for i := range torrents {
		binary.BigEndian.PutUint64(s.hashes[i][:], uint64(i))
		s.hashes[i] = sha1.Sum(s.hashes[i][:8])
		end += max(2, int(math.Round(float64(peers)/weight/float64(i+1))))
		s.ends[i] = end
	}
	return s
}

// peers is how many there are in all.
func (s *swarms) peers() int { return s.ends[len(s.ends)-1] }

// member is a peer of a swarm.
type member struct {
	index       int // among all peers
	swarm       int
	first, last int // indices of the swarm's peers
}

// member returns the i-th of all peers.
func (s *swarms) member(i int) member {
	m := member{index: i, swarm: sort.SearchInts(s.ends, i+1)}
	if m.swarm > 0 {
		m.first = s.ends[m.swarm-1]
	}
	m.last = s.ends[m.swarm] - 1
	return m
}

// random returns any peer.
func (s *swarms) random() member { return s.member(rand.IntN(s.peers())) }

// seeder reports whether the peer has everything: one in four has.
func (m member) seeder() bool { return m.index%4 == 3 }

func (m member) address() [4]byte {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], 127<<24+firstAddress+uint32(m.index))
	return a
}

func (m member) addrPort() netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4(m.address()), m.port())
}

func (m member) port() uint16 { return firstPort + uint16(m.index%1000) }

// id is the peer's peer_id.
func (m member) id() (id [20]byte) {
	copy(id[:], "-LD0001-")
	binary.BigEndian.PutUint64(id[8:], uint64(m.index))
	return id
}

// mate returns which peer an entry of a compact list is, if it is one of m's swarm.
// HTTP clients, which have the first addresses, are in all swarms.
func (m member) mate(compact []byte) (member, bool) {
	o := m
	o.index = int(binary.BigEndian.Uint32(compact)) - 127<<24 - firstAddress
	if 0 <= o.index && o.index < httpClients {
		return o, true
	}
	return o, o.index >= m.first && o.index <= m.last && binary.BigEndian.Uint16(compact[4:]) == o.port()
}
