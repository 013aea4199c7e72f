package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/dht"
)

// listenDHT opens the sockets of the DHT node: where peers are listened for, over
// UDP, one for each family. Port 0 is the port that peers got. Releases can be had
// without the DHT, so that it is not to be had is only warned of.
func (s *server) listenDHT(ctx context.Context) {
	if !s.config.DHT.Enabled || s.peerListener == nil {
		return
	}
	if err := s.openDHT(ctx); err != nil {
		s.log.Warn("there is no DHT node: set peers.listen to another address, or dht.enabled to false", "err", err)
	}
}

func (s *server) openDHT(ctx context.Context) error {
	host, _, err := net.SplitHostPort(s.config.Peers.Listen)
	if err != nil {
		return err
	}
	port := strconv.Itoa(s.peerListener.Addr().(*net.TCPAddr).Port)
	var lc net.ListenConfig
	for _, network := range []string{"udp4", "udp6"} {
		conn, err := lc.ListenPacket(ctx, network, net.JoinHostPort(host, port))
		if otherFamily(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("listen for the DHT: %w", err)
		}
		s.closers = append(s.closers, conn.Close)
		s.dhtConns = append(s.dhtConns, conn.(*net.UDPConn))
	}
	return nil
}

// otherFamily reports whether an address is of the other family, or the machine has
// no such family.
func otherFamily(err error) bool {
	var address *net.AddrError
	return errors.As(err, &address) || errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
}

// composeDHT makes the node of all releases that are not private.
func (s *server) composeDHT() error {
	if len(s.dhtConns) == 0 {
		return nil
	}
	c := s.config.DHT
	node, err := dht.New(dht.Options{
		Conns: s.dhtConns, PublicIPs: s.config.Peers.PublicAddresses, Port: s.peerPort(),
		Bootstrap: c.Bootstrap, Rate: c.Rate,
		NodesFile: filepath.Join(s.config.State, "dht-nodes"),
		Releases: func() []infohash.T {
			var all []infohash.T
			for _, r := range s.catalog.Live() {
				if !r.Private {
					all = append(all, r.InfoHash)
				}
			}
			return all
		},
		Changed: s.catalog.Changed,
		Active: func(ih infohash.T) bool {
			connected, _ := s.seeder.Connected(ih)
			return connected > 0 || s.tracker.Swarm(ih).Leechers > 0
		},
		Seeds: s.seeds,
		Log:   s.log,
	})
	s.dht = node
	return err
}

// peerPort is the port at which our seeder is reached.
func (s *server) peerPort() uint16 {
	if p := s.config.Peers.PublicPort; p != 0 {
		return uint16(p)
	}
	return uint16(s.peerListener.Addr().(*net.TCPAddr).Port)
}

// metNode has the DHT ask a node that a peer has told of.
func (s *server) metNode(at netip.AddrPort) {
	if s.dht != nil {
		s.dht.Add(at)
	}
}
