package seeder

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/peerwire"
	"dropseed/publisher/torrentfile"
)

// viewed waits until a view is as it should be. Views are made once a second.
func viewed(t *testing.T, o *origin, ih infohash.T, what string, ok func(View) bool) View {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		v := o.seeder.View(ih)
		if ok(v) {
			return v
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited for %s: %+v", what, v)
		}
	}
}

func TestViewShowsWhoHasWhat(t *testing.T) {
	t.Parallel()
	for _, mode := range []Mode{Spread, Plain} {
		o := newOrigin(t, t.TempDir(), func(o *Options) {
			o.Offload = func(string) Offload { return Offload{Mode: mode, Help: 1} }
		})
		const pieces = 512
		o.write(t, "a", random(pieces*16<<10, 1))
		r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10})
		if v := o.seeder.View(r.InfoHash); v.Pieces != pieces || v.Parts != 256 || len(v.Availability) != 256 || len(v.Peers) != 0 {
			t.Errorf("without peers: %+v", v)
		}

		half := make([]byte, pieces/8)
		for i := range len(half) / 2 {
			half[i] = 0xff
		}
		l := mustConnect(t, o.addr, r.InfoHash, everything)
		l.send(t, peerwire.AppendExtended(nil, peerwire.ExtHandshake, peerwire.Extensions{Client: "qBittorrent/4.5.2\x00\n"}.Encode()))
		b := []byte{0, 0, 0, byte(1 + len(half)), byte(peerwire.Bitfield)}
		l.send(t, append(b, half...))
		none := mustConnect(t, o.addr, r.InfoHash, peerwire.Reserved{})

		v := viewed(t, o, r.InfoHash, "both", func(v View) bool {
			return len(v.Peers) == 2 && v.Peers[0].Progress+v.Peers[1].Progress == 0.5
		})
		i := slices.IndexFunc(v.Peers, func(p PeerView) bool { return p.Progress > 0 })
		p, q := v.Peers[i], v.Peers[1-i]
		if p.Client != "qBittorrent 4.5.2" || p.Addr.String() != l.LocalAddr().String() || p.Rate != 0 {
			t.Errorf("%+v", p)
		}
		if want := append(bytes.Repeat([]byte{255}, 128), make([]byte, 128)...); !bytes.Equal(p.Parts, want) {
			t.Errorf("parts %v", p.Parts)
		}
		if v.Availability[0] != 1 || v.Availability[255] != 0 || v.Truncated {
			t.Errorf("availability %v", v.Availability)
		}
		if q.Client != "" || p.ID == q.ID || len(p.ID) != 16 || strings.Contains(p.ID, "127") && strings.Contains(p.ID, "0001") {
			t.Errorf("ids %q, %q", p.ID, q.ID)
		}

		// What is sent shows as a rate, under the same id.
		if mode == Plain {
			for range 20 {
				l.send(t, peerwire.AppendBlock(nil, peerwire.Request, peerwire.Block{Index: 300, Length: 16 << 10}))
				l.until(t, peerwire.Piece)
			}
			viewed(t, o, r.InfoHash, "a rate", func(v View) bool {
				return slices.ContainsFunc(v.Peers, func(now PeerView) bool { return now.ID == p.ID && now.Rate > 1000 })
			})
		}
		l.Close()
		none.Close()
		viewed(t, o, r.InfoHash, "nobody", func(v View) bool { return len(v.Peers) == 0 })
		o.seeder.mu.Lock()
		for _, v := range o.seeder.views {
			v.asked = time.Now().Add(-2 * viewKept)
		}
		o.seeder.mu.Unlock()
		o.seeder.dropViews()
		if n := len(o.seeder.views); n != 0 {
			t.Errorf("%d views are kept", n)
		}
	}
}

func TestViewIsBounded(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, t.TempDir(), func(o *Options) { o.Limits.PerAddress = 2 * viewPeers })
	o.write(t, "a", random(3*16<<10, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10})
	for range viewPeers + 5 {
		mustConnect(t, o.addr, r.InfoHash, everything)
	}
	v := viewed(t, o, r.InfoHash, "as many as are shown", func(v View) bool { return v.Truncated })
	if len(v.Peers) != viewPeers || v.Parts != 3 {
		t.Errorf("%d peers, %d parts", len(v.Peers), v.Parts)
	}
	time.Sleep(viewFresh)
	again := o.seeder.View(r.InfoHash)
	if !slices.EqualFunc(v.Peers, again.Peers, func(p, q PeerView) bool { return p.ID == q.ID }) {
		t.Error("the next view shows others")
	}
}

func TestClientNames(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ said, id, want string }{
		{"qBittorrent/4.5.2", "-qB4520-xxxxxxxxxxxx", "qBittorrent 4.5.2"},
		{"Transmission 4.0.2", "-TR4020-xxxxxxxxxxxx", "Transmission 4.0.2"},
		{"Free / Open 1", "", "Free / Open 1"},
		{"\x1b[31mevil\x07\u202e", "-qB4520-xxxxxxxxxxxx", "[31mevil"},
		{"\xff\xfe", "-lt0D60-xxxxxxxxxxxx", "rTorrent 0.13.6"},
		{strings.Repeat("ü", 40), "", strings.Repeat("ü", 32)},
		{"", "-qB4520-xxxxxxxxxxxx", "qBittorrent 4.5.2"},
		{"", "-TR3000-xxxxxxxxxxxx", "Transmission 3.0"},
		{"", "-LTZ200-xxxxxxxxxxxx", "libtorrent 35.2"},
		{"", "-ZZ12\x00\x01-xxxxxxxxxxx", "ZZ"},
		{"", "A2-1-36-0-xxxxxxxxxx", "aria2 1.36.0"},
		{"", "M7-10-5--xxxxxxxxxxx", "BitTorrent 7.10.5"},
		{"", "Mxxxxxxxxxxxxxxxxxxx", ""},
		{"", "\x00\x01\x02", ""},
		{"", "-\x00\x1b1234-xxxxxxxxxxx", "1.2.3.4"},
	} {
		var id peerwire.PeerID
		copy(id[:], row.id)
		if got := clientName(row.said, id); got != row.want {
			t.Errorf("%q, %q: %q, want %q", row.said, row.id, got, row.want)
		}
	}
}

func TestActiveTellsOfEverybodyOnce(t *testing.T) {
	t.Parallel()
	o := newOrigin(t, t.TempDir(), nil)
	o.write(t, "a", random(3*16<<10, 1))
	r := o.publish(t, "a", torrentfile.Options{PieceLength: 16 << 10})
	active := func() map[infohash.T]int {
		m := make(map[infohash.T]int)
		o.seeder.Active(func(ih infohash.T, connected int) { m[ih] = connected })
		return m
	}
	if got := active(); len(got) != 0 {
		t.Errorf("without peers: %v", got)
	}
	l := mustConnect(t, o.addr, r.InfoHash, everything)
	l.download(t, r, 3)
	if got := active(); len(got) != 1 || got[r.InfoHash] != 1 {
		t.Errorf("with a peer: %v", got)
	}
	l.Close()
	for connected := 1; connected > 0; connected, _ = func() (int, float64) { return o.seeder.Connected(r.InfoHash) }() {
		time.Sleep(5 * time.Millisecond)
	}
	for {
		o.seeder.mu.Lock()
		n := len(o.seeder.swarms)
		o.seeder.mu.Unlock()
		if n == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := active(); len(got) != 1 || got[r.InfoHash] != 0 {
		t.Errorf("after it has left: %v", got)
	}
	if got := active(); len(got) != 0 {
		t.Errorf("told again: %v", got)
	}
}
