package seeder

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/mse"
	pp "github.com/anacrolix/torrent/peer_protocol"
	"github.com/anacrolix/torrent/types/infohash"
	"golang.org/x/time/rate"

	"dropseed/publisher/peerwire"
	"dropseed/publisher/torrentfile"
)

func TestASingleFileArrivesWhole(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	content := random(3<<20+12345, 1)
	o.write(t, "a.iso", content)
	r := o.publish(t, "a.iso", torrentfile.Options{PieceLength: 64 << 10})
	for name, reserved := range map[string]peerwire.Reserved{"fast and extended": everything, "neither": {}} {
		l := mustConnect(t, o.addr, r.InfoHash, reserved)
		if got := l.download(t, r, 50); !bytes.Equal(got, content) {
			t.Errorf("%s: the content differs", name)
		}
	}
	if got := o.seeder.Totals(r.InfoHash).Sent; got != 2*r.Size {
		t.Errorf("Sent = %d, want %d", got, 2*r.Size)
	}
}

// TestManyFilesArriveWhole covers blocks that span files, empty files, files
// that are mapped and files that are read.
func TestManyFilesArriveWhole(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	var content []byte
	for i, n := range []int{1, 0, 16384, 16383, 5, mapLeast + 7, 100_000, 0, mapLeast, 3, 1 << 20} {
		b := random(n, uint64(i))
		o.write(t, "tree/"+string(rune('a'+i))+"/f", b)
		content = append(content, b...)
	}
	r := o.publish(t, "tree", torrentfile.Options{PieceLength: 32 << 10})
	if got := mustConnect(t, o.addr, r.InfoHash, everything).download(t, r, 100); !bytes.Equal(got, content) {
		t.Error("the content differs")
	}
}

func TestPartsOfALargeFileAreMappedApart(t *testing.T) {
	dir := t.TempDir()
	o := newOrigin(t, dir, nil)
	const size = 2*partSize + 1000
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		t.Fatal(err)
	}
	mark := random(64<<10, 9)
	f.Truncate(size)
	f.WriteAt(mark, partSize-30_000) // across the border
	f.Close()
	r := o.publish(t, "big", torrentfile.Options{PieceLength: 1 << 20})
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	at := int64(partSize - 30_000)
	var got []byte
	for n := 0; n < len(mark); n += 16 << 10 {
		off := at + int64(n)
		first := min(16<<10, r.PieceLength-off%r.PieceLength)
		for _, part := range [][2]int64{{off, first}, {off + first, 16<<10 - first}} {
			if part[1] == 0 {
				continue
			}
			l.send(t, peerwire.AppendBlock(nil, peerwire.Request, peerwire.Block{Index: uint32(part[0] / r.PieceLength), Begin: uint32(part[0] % r.PieceLength), Length: uint32(part[1])}))
			got = append(got, l.until(t, peerwire.Piece).body[8:]...)
		}
	}
	if !bytes.Equal(got, mark) {
		t.Error("the content differs")
	}
	if got := mustConnect(t, o.addr, r.InfoHash, everything).download(t, r, 500); !bytes.Equal(got[at:at+int64(len(mark))], mark) {
		t.Error("the whole download differs")
	}
}

func TestAnEncryptedConnectionCarriesContent(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	content := random(500_000, 2)
	o.write(t, "a", content)
	r := o.publish(t, "a", torrentfile.Options{})
	conn, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := peerwire.Hello{Reserved: everything, InfoHash: r.InfoHash, PeerID: peerwire.PeerID{'e'}}
	rw, _, err := mse.InitiateHandshakeContext(t.Context(), conn, r.InfoHash[:], hello.Append(nil), mse.CryptoMethodRC4)
	if err != nil {
		t.Fatal(err)
	}
	l := newLeecher(conn, rw)
	if _, err := io.ReadFull(l.r, make([]byte, 68)); err != nil {
		t.Fatal(err)
	}
	if got := l.download(t, r, 30); !bytes.Equal(got, content) {
		t.Error("the content differs")
	}
}

func TestGreeting(t *testing.T) {
	o := newOrigin(t, t.TempDir(), func(o *Options) {
		o.Peers = func(infohash.T, netip.AddrPort, int) []netip.AddrPort { return nil }
		o.MayTell = func(_, _ netip.Addr) bool { return true }
	})
	o.write(t, "a", random(100_000, 1))
	o.write(t, "p", random(100_000, 2))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10})
	private := o.publish(t, "p", torrentfile.Options{Private: true})

	l := mustConnect(t, o.addr, r.InfoHash, everything)
	ext, err := l.next()
	if err != nil || ext.id != peerwire.Extended || ext.body[0] != 0 {
		t.Fatalf("first message %+v, %v", ext, err)
	}
	var e struct {
		pp.ExtendedHandshakeMessage
		UploadOnly int `bencode:"upload_only"`
	}
	if err := bencode.Unmarshal(ext.body[1:], &e.ExtendedHandshakeMessage); err != nil {
		t.Fatal(err)
	}
	if e.V != "dropseed test" || e.Reqq != DefaultLimits.Requests || e.MetadataSize == 0 || e.M["ut_metadata"] == 0 || e.M["ut_pex"] == 0 ||
		net.IP(e.YourIp).String() != "127.0.0.1" || !bytes.Contains(ext.body, []byte("11:upload_onlyi1e")) {
		t.Errorf("extension handshake %q", ext.body)
	}
	if m, _ := l.next(); m.id != peerwire.HaveAll {
		t.Errorf("second message %+v, want HAVE ALL", m)
	}
	if m, _ := l.next(); m.id != peerwire.Unchoke {
		t.Errorf("third message %+v, want UNCHOKE", m)
	}
	l.send(t, peerwire.AppendBlock(nil, peerwire.Request, peerwire.Block{Length: 1}))
	if l.until(t, peerwire.Piece); l.fast != 7 { // of the seven pieces, all
		t.Errorf("%d ALLOWED FAST", l.fast)
	}

	plain := mustConnect(t, o.addr, r.InfoHash, peerwire.Reserved{})
	if m, _ := plain.next(); m.id != peerwire.Bitfield || !bytes.Equal(m.body, []byte{0b11111110}) {
		t.Errorf("to a peer without the fast extension: %+v", m)
	}
	if m := mustConnect(t, o.addr, private.InfoHash, everything).until(t, peerwire.Extended); bytes.Contains(m.body, []byte("ut_pex")) {
		t.Error("a private torrent offers peer exchange")
	}
}

func TestMetadataIsTheInfoDictionary(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	o.write(t, "a", random(20<<20, 3))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10}) // 1,280 pieces: two metadata pieces
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.send(t, peerwire.AppendExtended(nil, 0, peerwire.Extensions{Metadata: 9}.Encode()))
	var info []byte
	for piece := range 3 {
		l.send(t, peerwire.AppendExtended(nil, peerwire.ExtMetadata, bencode.MustMarshal(map[string]int{"msg_type": 0, "piece": piece})))
		m := l.until(t, peerwire.Extended)
		for m.body[0] == 0 {
			m = l.until(t, peerwire.Extended)
		}
		end := bytes.Index(m.body, []byte("ee")) + 2
		switch {
		case piece == 2:
			if !bytes.Contains(m.body, []byte("8:msg_typei2e")) {
				t.Errorf("a piece that does not exist: %q", m.body)
			}
		default:
			info = append(info, m.body[end:]...)
		}
	}
	if infohash.HashBytes(info) != r.InfoHash {
		t.Error("the metadata's hash is not the info-hash")
	}
}

func TestUnknownAndRetiredReleasesAreRefused(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	o.write(t, "a", random(1<<20, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	if _, err := connect(t, o.addr, infohash.T{1}, everything); err == nil {
		t.Error("an unknown info-hash was answered")
	}
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.until(t, peerwire.Unchoke)
	if err := o.catalog.Retire(r.InfoHash); err != nil {
		t.Fatal(err)
	}
	if _, err := l.next(); err == nil {
		t.Error("the connection outlives its release")
	}
	if _, err := connect(t, o.addr, r.InfoHash, everything); err == nil {
		t.Error("a retired release was answered")
	}
	waitAlone(t, o, r)
}

func TestChangedContentIsNotSent(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(path string)
		kept   bool // an open file still is what was hashed
	}{
		{"overwritten in place", func(path string) {
			f, _ := os.OpenFile(path, os.O_WRONLY, 0)
			f.WriteAt([]byte("changed"), 500_000)
			f.Close()
		}, false},
		{"cut", func(path string) { os.Truncate(path, 1000) }, false},
		{"removed", func(path string) { os.Remove(path) }, true},
		{"replaced", func(path string) {
			os.WriteFile(path+".new", random(1<<20, 99), 0o644)
			os.Rename(path+".new", path)
		}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			told := make(chan string, 10)
			o := newOrigin(t, t.TempDir(), func(o *Options) {
				o.Changed = func(source, name string) { told <- source + "/" + name }
			})
			content := random(1<<20, 1)
			o.write(t, "a", content)
			r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10})
			before := mustConnect(t, o.addr, r.InfoHash, everything)
			before.download(t, r, 10)
			tc.change(filepath.Join(o.dir, "a"))
			if tc.kept {
				o.seeder.store.forget(r.InfoHash) // as after a minute without requests
			}

			for _, l := range []*leecher{before, mustConnect(t, o.addr, r.InfoHash, everything)} {
				l.Write(peerwire.AppendBlock(nil, peerwire.Request, peerwire.Block{Index: 30, Begin: 0, Length: 16 << 10}))
				for {
					m, err := l.next()
					if err != nil {
						break
					}
					if m.id == peerwire.Piece {
						t.Fatal("content was sent that is not the release's")
					}
				}
			}
			select {
			case got := <-told:
				if got != "test/a" {
					t.Errorf("told of %q", got)
				}
			case <-time.After(5 * time.Second):
				t.Error("nobody was told")
			}
		})
	}
}

func TestBadPeersAreLetGo(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	o.write(t, "a", random(100_000, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10}) // 7 pieces
	request := func(index, begin, length uint32) []byte {
		return peerwire.AppendBlock(nil, peerwire.Request, peerwire.Block{Index: index, Begin: begin, Length: length})
	}
	for name, b := range map[string][]byte{
		"request of no piece":         request(7, 0, 1),
		"request past the piece":      request(0, 16<<10-1, 2),
		"request past the end":        request(6, 0, 16<<10),
		"request of nothing":          request(0, 0, 0),
		"huge request":                request(0, 0, 1<<31),
		"request that overflows":      request(0, 1<<32-1, 1<<32-1),
		"have of no piece":            peerwire.AppendIndex(nil, peerwire.Have, 7),
		"short bitfield":              {0, 0, 0, 1, 5},
		"bitfield with spare bits":    {0, 0, 0, 2, 5, 1},
		"seed":                        peerwire.AppendBare(nil, peerwire.HaveAll),
		"full bitfield":               peerwire.AppendBitfield(nil, 7),
		"malformed extension":         peerwire.AppendExtended(nil, 0, []byte("d1:")),
		"oversized":                   {0xff, 0, 0, 0, 5},
		"metadata that is no bencode": peerwire.AppendExtended(nil, peerwire.ExtMetadata, []byte("x")),
	} {
		l := mustConnect(t, o.addr, r.InfoHash, everything)
		l.until(t, peerwire.Unchoke)
		l.send(t, b)
		if m, err := l.next(); err == nil {
			t.Errorf("%s: still connected, got %+v", name, m)
		}
	}
}

func TestCancelAndOverflowAreRejected(t *testing.T) {
	o := newOrigin(t, t.TempDir(), func(o *Options) {
		o.Limits.Requests = 20
		limit(o, 64<<10)
	})
	o.write(t, "a", random(4<<20, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.until(t, peerwire.Unchoke)
	all := blocks(r)[:40]
	var b []byte
	for _, block := range all {
		b = peerwire.AppendBlock(b, peerwire.Request, block)
	}
	b = peerwire.AppendBlock(b, peerwire.Cancel, all[19])
	l.send(t, b)
	answers := make(map[peerwire.Block]peerwire.ID)
	for len(answers) < len(all) {
		m, err := l.next()
		if err != nil {
			t.Fatalf("after %d answers: %v", len(answers), err)
		}
		if m.id != peerwire.Piece && m.id != peerwire.Reject {
			continue
		}
		block := peerwire.Block{Index: binary.BigEndian.Uint32(m.body), Begin: binary.BigEndian.Uint32(m.body[4:]), Length: uint32(len(m.body) - 8)}
		if m.id == peerwire.Reject {
			block.Length = binary.BigEndian.Uint32(m.body[8:])
		}
		if _, twice := answers[block]; twice {
			t.Fatalf("%+v is answered twice", block)
		}
		answers[block] = m.id
	}
	for i, block := range all {
		want := peerwire.Piece
		if i >= 19 {
			want = peerwire.Reject
		}
		if answers[block] != want {
			t.Errorf("block %d: message %d, want %d", i, answers[block], want)
		}
	}
}

func TestUploadRateIsHeld(t *testing.T) {
	const perSecond = 2 << 20
	o := newOrigin(t, t.TempDir(), func(o *Options) { limit(o, perSecond) })
	o.write(t, "a", random(2<<20, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	start := time.Now()
	var wg sync.WaitGroup
	for range 3 {
		l := mustConnect(t, o.addr, r.InfoHash, everything)
		wg.Go(func() { l.download(t, r, 64) })
	}
	wg.Wait()
	if took := time.Since(start); took < 2700*time.Millisecond {
		t.Errorf("6 MiB at 2 MiB/s took %v", took)
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	o := newOrigin(t, t.TempDir(), func(o *Options) { o.Limits.PerAddress, o.Limits.PerRelease = 3, 2 })
	o.write(t, "a", random(100, 1))
	o.write(t, "b", random(100, 2))
	a, b := o.publish(t, "a", torrentfile.Options{}), o.publish(t, "b", torrentfile.Options{})
	first := mustConnect(t, o.addr, a.InfoHash, everything)
	mustConnect(t, o.addr, a.InfoHash, everything)
	if _, err := connect(t, o.addr, a.InfoHash, everything); err == nil {
		t.Error("a third peer of the release was let in")
	}
	third := mustConnect(t, o.addr, b.InfoHash, everything)
	if _, err := connect(t, o.addr, b.InfoHash, everything); err == nil {
		t.Error("a fourth connection of the address was let in")
	}
	first.Close()
	third.Close()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := connect(t, o.addr, a.InfoHash, everything); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a place that became free is not given again")
		}
	}
}

func TestHandshakeThatDoesNotComeIsGivenUp(t *testing.T) {
	o := newOrigin(t, t.TempDir(), func(o *Options) { o.Limits.Handshake = 200 * time.Millisecond })
	conn, err := net.Dial("tcp", o.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("err = %v, want EOF", err)
	}
}

func TestIdlePeersAreLetGo(t *testing.T) {
	o := newOrigin(t, t.TempDir(), func(o *Options) { o.Limits.Idle = 300 * time.Millisecond })
	o.write(t, "a", random(100, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.until(t, peerwire.Unchoke)
	if m, err := l.next(); err == nil {
		t.Errorf("got %+v", m)
	}
}

// TestPeersLearnOfEachOther covers peers that the tracker knows and peers that
// are connected and said where they listen.
func TestPeersLearnOfEachOther(t *testing.T) {
	known := netip.MustParseAddrPort("127.0.0.9:999")
	o := newOrigin(t, t.TempDir(), func(o *Options) {
		o.Peers = func(infohash.T, netip.AddrPort, int) []netip.AddrPort { return []netip.AddrPort{known} }
		o.MayTell = func(_, about netip.Addr) bool { return about.IsLoopback() }
	})
	o.write(t, "a", random(100, 1))
	r := o.publish(t, "a", torrentfile.Options{})
	other := mustConnect(t, o.addr, r.InfoHash, everything)
	other.send(t, peerwire.AppendExtended(nil, 0, peerwire.Extensions{PEX: 9, Port: 4444}.Encode()))
	other.until(t, peerwire.Extended) // ours
	other.until(t, peerwire.Extended) // its exchange, so it is known

	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.send(t, peerwire.AppendExtended(nil, 0, peerwire.Extensions{PEX: 5}.Encode()))
	for {
		m := l.until(t, peerwire.Extended)
		if m.body[0] != 5 {
			continue
		}
		pex, err := pp.LoadPexMsg(m.body[1:])
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]bool)
		for _, a := range pex.Added {
			got[a.String()] = true
		}
		if len(got) != 2 || !got["127.0.0.9:999"] || !got["127.0.0.1:4444"] {
			t.Errorf("told of %v", got)
		}
		return
	}
}

// TestShutdownSendsWhatWasAskedFor stops the seeder while blocks wait.
func TestShutdownSendsWhatWasAskedFor(t *testing.T) {
	o := newOrigin(t, t.TempDir(), func(o *Options) { limit(o, 1<<20) })
	content := random(1<<20, 1)
	o.write(t, "a", content)
	r := o.publish(t, "a", torrentfile.Options{})
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.until(t, peerwire.Unchoke)
	var b []byte
	all := blocks(r)
	for _, block := range all {
		b = peerwire.AppendBlock(b, peerwire.Request, block)
	}
	l.send(t, b)
	l.until(t, peerwire.Piece)
	stopped := make(chan struct{})
	go func() { o.stop(); close(stopped) }()
	choked := false
	for n := 1; ; {
		m, err := l.next()
		if err == io.EOF {
			if n != len(all) || !choked {
				t.Errorf("%d of %d blocks, choked = %v", n, len(all), choked)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch m.id {
		case peerwire.Piece:
			n++
		case peerwire.Choke:
			choked = true
		}
	}
	<-stopped
	if n := len(o.seeder.store.parts); n != 0 {
		t.Errorf("%d parts of files are still open", n)
	}
}

func TestManyPeersAtOnce(t *testing.T) {
	o := newOrigin(t, t.TempDir(), nil)
	var trees [4][]byte
	for i := range trees {
		trees[i] = random(1<<20, uint64(i))
		o.write(t, string(rune('a'+i)), trees[i])
	}
	var wg sync.WaitGroup
	for i := range 24 {
		r := o.publish(t, string(rune('a'+i%4)), torrentfile.Options{})
		wg.Go(func() {
			l := mustConnect(t, o.addr, r.InfoHash, everything)
			if got := l.download(t, r, 20+i); !bytes.Equal(got, trees[i%4]) {
				t.Error("the content differs")
			}
			l.Close()
		})
	}
	wg.Wait()
}

func TestStoreIsBoundedAndForgets(t *testing.T) {
	dir := t.TempDir()
	o := newOrigin(t, dir, nil)
	for i := range partsMost + 50 {
		o.write(t, "tree/"+string(rune('a'+i%26))+string(rune('a'+i/26)), random(10, uint64(i)))
	}
	r := o.publish(t, "tree", torrentfile.Options{})
	c, err := o.catalog.Content(r.InfoHash)
	if err != nil {
		t.Fatal(err)
	}
	st := o.seeder.store
	held, err := st.pin(context.Background(), c, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Files {
		p, err := st.pin(context.Background(), c, i, 0)
		if err != nil {
			t.Fatal(err)
		}
		st.unpin(p)
	}
	if n := len(st.parts); n > partsMost {
		t.Errorf("%d parts are open", n)
	}
	st.forget(r.InfoHash)
	if len(st.parts) != 0 || held.obj.Check() != nil {
		t.Error("forgetting closed what is in use, or kept the rest")
	}
	st.unpin(held)
	if held.obj.Check() == nil {
		t.Error("the last reference did not close it")
	}
}

// limit has all uploads together share so many bytes per second.
func limit(o *Options, perSecond int) {
	o.Chunk = 32 << 10
	l := rate.NewLimiter(rate.Limit(perSecond), 128<<10)
	o.Take = func(ctx context.Context, _ infohash.T, _ netip.Addr, n int) error { return l.WaitN(ctx, n) }
}
