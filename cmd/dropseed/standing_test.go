package main_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/anacrolix/torrent/bencode"
)

// checkServed returns why a release is not there for everybody: listed,
// offered as .torrent, matching its content, tracked, seeded and on the
// webseed. content is the tree on disk.
func (s *server) checkServed(r release, content string) error {
	status, torrent, err := s.tryGet(s.url("/torrents/" + r.InfoHash + ".torrent"))
	if err != nil || status != http.StatusOK {
		return fmt.Errorf(".torrent of %q: status %d, %v", r.Name, status, err)
	}
	if err := verify(torrent, r.InfoHash, content); err != nil {
		return fmt.Errorf("content of %q: %w", r.Name, err)
	}
	if failure, peers, err := s.announce(r.InfoHash); err != nil || failure != "" || !strings.Contains(peers, compact(s.peers)) {
		return fmt.Errorf("announce of %q: failure %q, peers %q, %v", r.Name, failure, peers, err)
	}
	if err := s.handshake(r.InfoHash); err != nil {
		return fmt.Errorf("handshake for %q: %w", r.Name, err)
	}
	// Who has just been a peer may be turned away from the webseed, but not for long.
	return eventually(patience, func() error {
		if status, err := s.webseed(r); err != nil || status != http.StatusOK {
			return fmt.Errorf("webseed of %q: status %d, %v", r.Name, status, err)
		}
		return nil
	})
}

// checkRefused returns where a retired release is still there for somebody.
func (s *server) checkRefused(r release) error {
	if status, _, err := s.tryGet(s.url("/torrents/" + r.InfoHash + ".torrent")); err != nil || status != http.StatusGone {
		return fmt.Errorf(".torrent of retired %q: status %d, want 410 (%v)", r.Name, status, err)
	}
	if failure, _, err := s.announce(r.InfoHash); err != nil || failure == "" {
		return fmt.Errorf("announce of retired %q: no failure reason (%v)", r.Name, err)
	}
	if err := s.handshake(r.InfoHash); !errors.Is(err, errRefused) {
		return fmt.Errorf("handshake for retired %q: %v, want it refused", r.Name, err)
	}
	if status, err := s.webseed(r); err == nil && status < 400 {
		return fmt.Errorf("webseed of retired %q: status %d, want it refused", r.Name, status)
	}
	all, err := s.releases()
	if err != nil {
		return err
	}
	if now, ok := all[r.Name]; ok && now.InfoHash == r.InfoHash {
		return fmt.Errorf("retired %q is still listed", r.Name)
	}
	return nil
}

// announce announces a leecher over HTTP and returns the failure reason and
// the compact IPv4 peers.
func (s *server) announce(infoHash string) (failure, peers string, err error) {
	ih, err := hex.DecodeString(infoHash)
	if err != nil {
		return "", "", err
	}
	query := url.Values{"info_hash": {string(ih)}, "peer_id": {"-XX0000-123456789012"}, "port": {"9"}, "left": {"1"}, "event": {"stopped"}}
	if _, _, err := s.tryGet(s.url("/announce?" + escapeQuery(query))); err != nil {
		return "", "", err
	}
	query.Set("event", "started")
	status, body, err := s.tryGet(s.url("/announce?" + escapeQuery(query)))
	if err != nil {
		return "", "", err
	}
	var reply struct {
		Failure string `bencode:"failure reason"`
		Peers   string `bencode:"peers"`
	}
	if err := bencode.Unmarshal(body, &reply); err != nil || status != http.StatusOK {
		return "", "", fmt.Errorf("status %d, %v: %q", status, err, body)
	}
	return reply.Failure, reply.Peers, nil
}

// escapeQuery writes a space as %20: in an announce, + stands for itself.
func escapeQuery(query url.Values) string { return strings.ReplaceAll(query.Encode(), "+", "%20") }

// compact is an IPv4 address and port as trackers write them.
func compact(address string) string {
	a, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return "not an IPv4 address: " + address
	}
	return string(append(a.IP.To4(), byte(a.Port>>8), byte(a.Port)))
}

var errRefused = errors.New("refused: the connection was closed without a handshake")

// handshake asks the seeder for a release (BEP 3).
func (s *server) handshake(infoHash string) error {
	ih, err := hex.DecodeString(infoHash)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", s.peers, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conn, "\x13BitTorrent protocol%s%s%s", make([]byte, 8), ih, "-XX0000-123456789012"); err != nil {
		return err
	}
	reply := make([]byte, 68)
	if n, err := io.ReadFull(conn, reply); err != nil {
		if n == 0 && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("%w (%v)", errRefused, err)
		}
		return err
	}
	if !bytes.Equal(reply[28:48], ih) {
		return fmt.Errorf("it answers for %x", reply[28:48])
	}
	return nil
}

// webseed asks the webseed for the first file of a release.
func (s *server) webseed(r release) (status int, err error) {
	address := r.WebseedURL
	if len(r.Files) == 0 {
		return 0, errors.New("the release has no files")
	}
	if strings.HasSuffix(address, "/") {
		path := strings.TrimPrefix(filepath.ToSlash(r.Files[0].Path), r.Name+"/")
		address += escape(r.Name + "/" + path)
	}
	status, body, err := s.tryGet(address)
	if err == nil && status == http.StatusOK && int64(len(body)) != r.Files[0].Size {
		err = fmt.Errorf("%d bytes, want %d", len(body), r.Files[0].Size)
	}
	return status, err
}
