package seeder

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"dropseed/publisher/catalog"
	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/peerwire"
	"dropseed/publisher/torrentfile"
)

func spread(o *Options) { o.Offload = nil } // the default

// trade downloads as a client does that asks for what it is shown, and tells
// what it has. It stops when it has n pieces, and returns them by their index.
func (l *leecher) trade(t *testing.T, r catalog.Release, n int) map[uint32][]byte {
	t.Helper()
	if l.hello.Reserved.Fast() {
		l.send(t, peerwire.AppendBare(nil, peerwire.HaveNone))
	}
	l.send(t, peerwire.AppendBare(nil, peerwire.Interested))
	pieces, left := make(map[uint32][]byte), make(map[uint32]int)
	for done := 0; done < n; {
		m, err := l.next()
		if err != nil {
			t.Fatalf("with %d of %d pieces: %v", done, n, err)
		}
		switch m.id {
		case peerwire.Have:
			i := binary.BigEndian.Uint32(m.body)
			if pieces[i] != nil {
				continue
			}
			size := min(r.PieceLength, r.Size-int64(i)*r.PieceLength)
			pieces[i], left[i] = make([]byte, size), int(size)
			var b []byte
			for off := int64(0); off < size; off += 16 << 10 {
				b = peerwire.AppendBlock(b, peerwire.Request, peerwire.Block{Index: i, Begin: uint32(off), Length: uint32(min(16<<10, size-off))})
			}
			l.send(t, b)
		case peerwire.Piece:
			i := binary.BigEndian.Uint32(m.body)
			left[i] -= copy(pieces[i][binary.BigEndian.Uint32(m.body[4:]):], m.body[8:])
			if left[i] == 0 {
				done++
				l.send(t, peerwire.AppendIndex(nil, peerwire.Have, i))
			}
		case peerwire.HaveAll, peerwire.Bitfield, peerwire.Reject:
			t.Fatalf("message %d", m.id)
		}
	}
	return pieces
}

// waitAlone waits until no peer of a release is connected.
func waitAlone(t *testing.T, o *origin, r catalog.Release) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); connected(o.seeder, r.InfoHash) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("its peers are still connected")
		}
	}
}

func TestSpreadALonePeerGetsAll(t *testing.T) {
	o := newOrigin(t, t.TempDir(), spread)
	content := random(10<<20+77, 1)
	o.write(t, "a", content)
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 64 << 10})
	for name, reserved := range map[string]peerwire.Reserved{"fast": everything, "not fast": {}} {
		l := mustConnect(t, o.addr, r.InfoHash, reserved)
		pieces := l.trade(t, r, r.Pieces())
		var got []byte
		for i := range r.Pieces() {
			got = append(got, pieces[uint32(i)]...)
		}
		if !bytes.Equal(got, content) {
			t.Errorf("%s: the content differs", name)
		}
		l.Close()
		waitAlone(t, o, r)
	}
}

func TestSpreadTwoPeersAreOfferedDifferentPieces(t *testing.T) {
	o := newOrigin(t, t.TempDir(), spread)
	o.write(t, "a", random(16<<20, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10}) // 1,024 pieces: there are enough for both
	a, b := mustConnect(t, o.addr, r.InfoHash, everything), mustConnect(t, o.addr, r.InfoHash, everything)
	got := make(chan map[uint32][]byte)
	for _, l := range []*leecher{a, b} {
		go func() { got <- l.trade(t, r, 100) }()
	}
	first, second := <-got, <-got
	for i := range first {
		if second[i] != nil {
			t.Errorf("piece %d was offered to both", i)
		}
	}
}

func TestSpreadWhatWasNotOfferedIsRejected(t *testing.T) {
	o := newOrigin(t, t.TempDir(), spread)
	o.write(t, "a", random(4<<20, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10})
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.send(t, peerwire.AppendBare(nil, peerwire.HaveNone))
	shown := make(map[uint32]bool)
	for len(shown) < 64 { // the first window
		shown[binary.BigEndian.Uint32(l.until(t, peerwire.Have).body)] = true
	}
	hidden := uint32(0)
	for shown[hidden] {
		hidden++
	}
	l.send(t, peerwire.AppendBlock(nil, peerwire.Request, peerwire.Block{Index: hidden, Length: 16 << 10}))
	if m, err := l.next(); err != nil || m.id != peerwire.Reject {
		t.Errorf("message %d, %v; want REJECT", m.id, err)
	}
}

func TestSpreadASinglePieceIsOfferedWhole(t *testing.T) {
	o := newOrigin(t, t.TempDir(), spread)
	o.write(t, "a", random(100, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	mustConnect(t, o.addr, r.InfoHash, everything).until(t, peerwire.HaveAll)
}

// TestLendingAndOffersAreOneAccount lends what a webseed sends, and sees what
// peers have.
func TestLendingAndOffersAreOneAccount(t *testing.T) {
	o := newOrigin(t, t.TempDir(), spread)
	o.write(t, "a", random(4<<20, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10})
	ih, half := r.InfoHash, r.Size/2
	lend := func(off, n int64, want bool) (end func(int64)) {
		t.Helper()
		to := netip.MustParseAddr("127.0.0.8")
		if !want {
			to = netip.MustParseAddr("127.0.0.9") // another than who was lent before
		}
		end, ok := o.seeder.Lend(ih, off, n, to)
		if ok != want {
			t.Fatalf("bytes %d+%d: lent %v", off, n, ok)
		}
		return end
	}
	lend(half, r.PieceLength-1, false) // a piece in part
	lend(half-1, r.PieceLength, false) // two in part
	end := lend(half, 3*r.PieceLength, true)
	end(r.PieceLength + 1) // it hung up: the others are not out
	lend(half, r.PieceLength, false)
	end = lend(half+r.PieceLength, 2*r.PieceLength, true)
	end(0)
	lend(r.Size-r.PieceLength, r.PieceLength, true)(0)
	lend(0, half, true)
	lend(0, r.PieceLength, false)
	time.Sleep(1100 * time.Millisecond) // a swarm with loans stays though it has no peers
	l := mustConnect(t, o.addr, ih, everything)
	for i := range l.trade(t, r, r.Pieces()/2-1) {
		if int64(i)*r.PieceLength <= half {
			t.Errorf("piece %d, which was lent, was offered", i)
		}
	}
	at := netip.MustParseAddr("127.0.0.1")
	deadline := time.Now().Add(5 * time.Second)
	for {
		got := o.seeder.At(ih, at, r.Size-1)
		if got.Connected == 1 && got.Holding == 1 && got.Lacking == r.Pieces()/2+1 && time.Since(got.Gained) < 5*time.Second && !got.Quiet {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("about the last piece: %+v", got)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := o.seeder.At(ih, at, 0); got.Connected != 1 || got.Holding != 0 {
		t.Errorf("about the first piece: %+v", got)
	}
	if got := o.seeder.At(ih, netip.MustParseAddr("127.0.0.2"), 0); got != (Peers{}) {
		t.Errorf("at another address: %+v", got)
	}
}

// TestDialReachesPeersThatDoNotCome covers peers that take plain connections
// and peers that take encrypted ones only.
func TestDialReachesPeersThatDoNotCome(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	o.write(t, "a", random(100_000, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	for _, encrypted := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		o.seeder.Dial(r.InfoHash, ln.Addr().(*net.TCPAddr).AddrPort())
		for attempt := 0; ; attempt++ {
			ln.(*net.TCPListener).SetDeadline(time.Now().Add(10 * time.Second))
			conn, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if encrypted && attempt == 0 {
				conn.Close()
				continue
			}
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			c, hello, err := peerwire.Accept(conn, o.seeder.find)
			if err != nil || hello.InfoHash != r.InfoHash || c.Encrypted() != encrypted {
				t.Fatalf("encrypted %v: %+v, %v", encrypted, hello, err)
			}
			hello.PeerID = peerwire.PeerID{'d'}
			if _, err := c.Write(hello.Append(nil)); err != nil {
				t.Fatal(err)
			}
			if m, err := c.Next(); err != nil || m.ID != peerwire.Extended {
				t.Errorf("%+v, %v", m, err)
			}
			conn.Close()
			waitAlone(t, o, r)
			break
		}
	}
}

func TestDialLeavesConnectedPeersAlone(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	o.write(t, "a", random(100_000, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.until(t, peerwire.Unchoke)
	o.seeder.Dial(r.InfoHash, ln.Addr().(*net.TCPAddr).AddrPort())
	ln.(*net.TCPListener).SetDeadline(time.Now().Add(2 * dialAfter))
	if conn, err := ln.Accept(); err == nil {
		conn.Close()
		t.Error("a connected peer was dialled")
	} else if err == io.EOF {
		t.Error(err)
	}
}

func connected(s *Seeder, ih infohash.T) int {
	n, _ := s.Connected(ih)
	return n
}

// TestWhatPeersGainIsCounted has a peer say that it got half of a release.
func TestWhatPeersGainIsCounted(t *testing.T) {
	o := newOrigin(t, t.TempDir(), spread)
	o.write(t, "a", random(1<<20+5, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 64 << 10}) // 17 pieces, the last of 5 bytes
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	for _, i := range []uint32{0, 1, 1, 16} {
		l.send(t, peerwire.AppendIndex(nil, peerwire.Have, i))
	}
	const want = 2*64<<10 + 5
	for deadline := time.Now().Add(5 * time.Second); o.seeder.Totals(r.InfoHash).Gained != want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes gained, want %d", o.seeder.Totals(r.InfoHash).Gained, want)
		}
	}
	if n, have := o.seeder.Connected(r.InfoHash); n != 1 || math.Abs(have-3.0/17) > 1e-9 {
		t.Errorf("%d peers have %v on average", n, have)
	}
	l.Close()
	for deadline := time.Now().Add(5 * time.Second); connected(o.seeder, r.InfoHash) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is still connected")
		}
	}
	if got := o.seeder.Totals(r.InfoHash).Gained; got != want {
		t.Errorf("%d bytes gained once it has left", got)
	}
}

// TestWhatPeersWereSentIsGained has a peer take all of a release and leave without a
// word of what it got: what it was sent it got, and no more.
func TestWhatPeersWereSentIsGained(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	o.write(t, "a", random(1<<20+5, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 64 << 10})
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.download(t, r, 50)
	for _, i := range []uint32{0, 1} {
		l.send(t, peerwire.AppendIndex(nil, peerwire.Have, i))
	}
	l.Close()
	for deadline := time.Now().Add(5 * time.Second); o.seeder.Totals(r.InfoHash).Gained != r.Size; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes gained, want %d", o.seeder.Totals(r.InfoHash).Gained, r.Size)
		}
	}
}
