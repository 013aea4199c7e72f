package torrentfile

import (
	"bytes"
	"testing"

	"github.com/anacrolix/torrent/types/infohash"
)

func TestWithNetworkT01KeysAreSortedAndInfoUntouched(t *testing.T) {
	const info = "d6:lengthi1e4:name1:a12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaa5:x-newi1ee"
	const stored = "d7:comment1:c4:info" + info + "12:piece layersdee"
	for _, c := range []struct {
		name    string
		network Network
		want    string
	}{
		{"nothing", Network{}, stored},
		{"empty tiers", Network{Trackers: [][]string{{}}}, stored},
		{
			"one tracker",
			Network{Trackers: [][]string{{"http://t/a"}}},
			"d8:announce10:http://t/a7:comment1:c4:info" + info + "12:piece layersdee",
		},
		{
			"all",
			Network{
				Trackers: [][]string{{"http://t/a", "udp://t"}, {"udp://u"}},
				Webseeds: []string{"http://w/"},
				Nodes:    []Node{{"::1", 6881}},
			},
			"d8:announce10:http://t/a13:announce-listll10:http://t/a7:udp://tel7:udp://uee7:comment1:c4:info" + info +
				"5:nodesll3:::1i6881eee12:piece layersde8:url-listl9:http://w/ee",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := WithNetwork([]byte(stored), c.network)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if n, err := Added(c.network); err != nil || n != len(got)-len(stored) {
				t.Errorf("Added = %d, %v, want %d", n, err, len(got)-len(stored))
			}
			if ih := mustParse(t, got).InfoHash; ih != infohash.HashBytes([]byte(info)) {
				t.Errorf("the info-hash became %v", ih)
			}
			back, err := WithNetwork(got, Network{})
			if err != nil || !bytes.Equal(back, []byte(stored)) {
				t.Errorf("taking all away again gives %q, %v", back, err)
			}
		})
	}
}

func TestWithNetworkRefusesWhatIsNoTorrent(t *testing.T) {
	for _, s := range []string{"", "de", "le", "d4:infode", "d4:infodeex", "d1:bi1e1:ai1ee", "d4:info" + string(bytes.Repeat([]byte("l"), 1<<20))} {
		if got, err := WithNetwork([]byte(s), Network{}); err == nil {
			t.Errorf("%.20q was accepted as %.20q", s, got)
		}
	}
}

func TestMagnetT17(t *testing.T) {
	ih := infohash.FromHexString("ABCDEF0123456789abcdef0123456789abcdef01")
	for _, c := range []struct {
		magnet Magnet
		want   string
	}{
		{Magnet{InfoHash: ih}, "magnet:?xt=urn:btih:abcdef0123456789abcdef0123456789abcdef01"},
		{
			Magnet{
				InfoHash: ih, Name: "a b&c=d+e%ü/~.iso",
				Trackers: []string{"http://t:80/announce?k=1&x=2", "udp://t:6969"},
				Webseeds: []string{"http://w/a%20b"},
				Torrents: []string{"http://w/t.torrent"},
				Peers:    []string{"192.0.2.1:6881", "[2001:db8::1]:6881", "h st:1"},
			},
			"magnet:?xt=urn:btih:abcdef0123456789abcdef0123456789abcdef01" +
				"&dn=a%20b%26c%3Dd%2Be%25%C3%BC%2F~.iso" +
				"&tr=http%3A%2F%2Ft%3A80%2Fannounce%3Fk%3D1%26x%3D2&tr=udp%3A%2F%2Ft%3A6969" +
				"&ws=http%3A%2F%2Fw%2Fa%2520b&xs=http%3A%2F%2Fw%2Ft.torrent" +
				"&x.pe=192.0.2.1:6881&x.pe=[2001:db8::1]:6881&x.pe=h%20st:1",
		},
	} {
		if got := c.magnet.String(); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
