package peerwire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anacrolix/torrent/bencode"
	"github.com/anacrolix/torrent/mse"
	pp "github.com/anacrolix/torrent/peer_protocol"
	"github.com/anacrolix/torrent/types/infohash"
)

var hello = Hello{Reserved: OurReserved(), InfoHash: infohash.T{1, 2, 3}, PeerID: PeerID{'-', 'X', 'X'}}

func onlyHello(key [20]byte) (infohash.T, bool) { return hello.InfoHash, key == Key(hello.InfoHash) }

// pair returns the two ends of a real connection.
func pair(t *testing.T) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{server, client} {
		c.SetDeadline(time.Now().Add(10 * time.Second))
		t.Cleanup(func() { c.Close() })
	}
	return server, client
}

func TestHandshakePlain(t *testing.T) {
	server, client := pair(t)
	answer := hello
	answer.PeerID = PeerID{'s'}
	done := make(chan error, 1)
	go func() {
		_, h, err := Open(client, hello)
		if err == nil && h != answer {
			err = fmt.Errorf("hello = %+v", h)
		}
		done <- err
	}()
	c, h, err := Accept(server, onlyHello)
	if err != nil || h != hello || c.Encrypted() {
		t.Fatalf("%+v, %v", h, err)
	}
	if !h.Reserved.Fast() || !h.Reserved.Extended() || h.Reserved.DHT() {
		t.Errorf("reserved bits: %x", h.Reserved)
	}
	c.Write(answer.Append(nil))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestHandshakeEncrypted runs anacrolix's initiator against our answer, with
// each method and with the first payload inside the handshake or after it.
func TestHandshakeEncrypted(t *testing.T) {
	for _, tc := range []struct {
		name      string
		provide   mse.CryptoMethod
		inside    bool
		encrypted bool
	}{
		{"RC4, payload inside", mse.CryptoMethodRC4, true, true},
		{"RC4, payload after", mse.CryptoMethodRC4, false, true},
		{"plain, payload inside", mse.CryptoMethodPlaintext, true, false},
		{"plain, payload after", mse.CryptoMethodPlaintext, false, false},
		{"either", mse.AllSupportedCrypto, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server, client := pair(t)
			request := AppendBlock(nil, Request, Block{1, 2, 3})
			done := make(chan error, 1)
			go func() {
				var first []byte
				if tc.inside {
					first = hello.Append(nil)
				}
				rw, _, err := mse.InitiateHandshakeContext(context.Background(), client, hello.InfoHash[:], first, tc.provide)
				if err == nil && !tc.inside {
					_, err = rw.Write(hello.Append(nil))
				}
				if err == nil {
					_, err = rw.Write(request)
				}
				var answer [5]byte
				if err == nil {
					_, err = io.ReadFull(rw, answer[:])
				}
				if err == nil && !bytes.Equal(answer[:], AppendBare(nil, Unchoke)) {
					err = fmt.Errorf("answer = %x", answer)
				}
				done <- err
			}()
			c, h, err := Accept(server, onlyHello)
			if err != nil || h != hello {
				t.Fatalf("%+v, %v", h, err)
			}
			if c.Encrypted() != tc.encrypted {
				t.Errorf("Encrypted = %v", c.Encrypted())
			}
			if m, err := c.Next(); err != nil || m.ID != Request || m.Block != (Block{1, 2, 3}) {
				t.Errorf("%+v, %v", m, err)
			}
			if _, err := c.Write(AppendBare(nil, Unchoke)); err != nil {
				t.Error(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestHandshakeOpenedEncrypted runs our initiator against anacrolix's answer
// and against our own.
func TestHandshakeOpenedEncrypted(t *testing.T) {
	answers := map[string]func(server net.Conn) error{
		"anacrolix": func(server net.Conn) error {
			rw, method, err := mse.ReceiveHandshake(context.Background(), server, func(try func([]byte) bool) { try(hello.InfoHash[:]) }, mse.DefaultCryptoSelector)
			if err != nil || method != mse.CryptoMethodRC4 {
				return fmt.Errorf("method %v: %w", method, err)
			}
			var b [handshakeLen]byte
			if _, err := io.ReadFull(rw, b[:]); err != nil || !bytes.Equal(b[:], hello.Append(nil)) {
				return fmt.Errorf("handshake %q: %w", b, err)
			}
			_, err = rw.Write(append(hello.Append(nil), AppendBare(nil, Unchoke)...))
			return err
		},
		"ours": func(server net.Conn) error {
			c, h, err := Accept(server, onlyHello)
			if err != nil || h != hello {
				return fmt.Errorf("%+v: %w", h, err)
			}
			_, err = c.Write(append(hello.Append(nil), AppendBare(nil, Unchoke)...))
			return err
		},
	}
	for name, answer := range answers {
		server, client := pair(t)
		done := make(chan error, 1)
		go func() { done <- answer(server) }()
		c, h, err := OpenEncrypted(client, hello)
		if err != nil || h != hello || !c.Encrypted() {
			t.Fatalf("%s: %+v, %v", name, h, err)
		}
		if m, err := c.Next(); err != nil || m.ID != Unchoke {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHandshakeForAnUnknownTorrentFindsNoKey(t *testing.T) {
	server, client := pair(t)
	go mse.InitiateHandshakeContext(context.Background(), client, make([]byte, 20), nil, mse.AllSupportedCrypto)
	if _, _, err := Accept(server, onlyHello); !errors.Is(err, ErrNoKey) {
		t.Errorf("err = %v, want ErrNoKey", err)
	}
	client.Close()
}

func TestHandshakeGarbageIsRefused(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"HTTP":           []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 2000)),
		"zeros":          make([]byte, 2000),
		"ones":           bytes.Repeat([]byte{0xff}, 2000),
		"nearly":         []byte("\x13BitTorrent protocoX" + strings.Repeat("y", 2000)),
		"cut":            []byte(Protocol + "1234"),
		"cut key":        bytes.Repeat([]byte{7}, 50),
		"endless pad":    bytes.Repeat([]byte{7}, 5000),
		"nothing at all": nil,
	} {
		t.Run(name, func(t *testing.T) {
			server, client := pair(t)
			go func() {
				client.Write(garbage)
				client.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, client)
			}()
			if _, _, err := Accept(server, onlyHello); err == nil {
				t.Error("accepted")
			}
		})
	}
}

// TestMessagesAreReadAsOthersWriteThem reads what anacrolix's encoder wrote,
// in one piece and byte by byte.
func TestMessagesAreReadAsOthersWriteThem(t *testing.T) {
	msgs := []pp.Message{
		{Keepalive: true},
		{Type: pp.Choke}, {Type: pp.Unchoke}, {Type: pp.Interested}, {Type: pp.NotInterested},
		{Type: pp.Have, Index: 7},
		{Type: pp.Request, Index: 1, Begin: 16384, Length: 16383},
		{Type: pp.Cancel, Index: 1, Begin: 16384, Length: 16383},
		{Type: pp.Reject, Index: 1, Begin: 16384, Length: 16383},
		{Type: pp.Port, Port: 6881},
		{Type: pp.HaveAll}, {Type: pp.HaveNone}, {Type: pp.Suggest, Index: 9}, {Type: pp.AllowedFast, Index: 3},
		{Type: pp.Extended, ExtendedID: 3, ExtendedPayload: []byte("payload")},
	}
	want := []Message{
		{ID: KeepAlive},
		{ID: Choke}, {ID: Unchoke}, {ID: Interested}, {ID: NotInterested},
		{ID: Have, Block: Block{Index: 7}},
		{ID: Request, Block: Block{1, 16384, 16383}}, {ID: Cancel, Block: Block{1, 16384, 16383}}, {ID: Reject, Block: Block{1, 16384, 16383}},
		{ID: Port, Port: 6881},
		{ID: HaveAll}, {ID: HaveNone}, {ID: Suggest, Block: Block{Index: 9}}, {ID: AllowedFast, Block: Block{Index: 3}},
		{ID: Extended, Ext: 3, Payload: []byte("payload")},
	}
	var wire []byte
	for _, m := range msgs {
		wire = append(wire, m.MustMarshalBinary()...)
	}
	wire = append(wire, 0, 0, 0, 2, 99, 1) // of a type that nobody knows
	wire = append(wire, AppendBare(nil, HaveNone)...)
	want = append(want, Message{ID: HaveNone})

	for _, step := range []int{1, 5, len(wire)} {
		server, client := pair(t)
		go func() {
			for b := wire; len(b) > 0; b = b[min(step, len(b)):] {
				client.Write(b[:min(step, len(b))])
			}
			client.Close()
		}()
		c := newConn(server)
		for i, w := range want {
			m, err := c.Next()
			if err != nil || fmt.Sprint(m) != fmt.Sprint(w) {
				t.Fatalf("step %d, message %d: %+v, %v; want %+v", step, i, m, err, w)
			}
		}
		if _, err := c.Next(); err != io.EOF {
			t.Errorf("at the end: %v, want EOF", err)
		}
	}
}

func TestMoreTellsOfWholeMessagesOnly(t *testing.T) {
	server, client := pair(t)
	two := AppendBlock(AppendBlock(nil, Request, Block{1, 0, 5}), Request, Block{2, 0, 5})
	client.Write(two[:len(two)-1])
	c := newConn(server)
	if _, err := c.Next(); err != nil || c.More() {
		t.Fatalf("More = %v with a cut message, %v", c.More(), err)
	}
	client.Write(two[len(two)-1:])
	if m, err := c.Next(); err != nil || m.Block.Index != 2 || c.More() {
		t.Errorf("%+v, More = %v, %v", m, c.More(), err)
	}
}

func TestMalformedMessagesAreErrors(t *testing.T) {
	for name, wire := range map[string][]byte{
		"too long":          {0xff, 0xff, 0xff, 0xff, 5},
		"bitfield too long": {0, 2, 0, 0, 5},
		"short request":     {0, 0, 0, 2, 6, 1},
		"long have":         {0, 0, 0, 6, 4, 1, 2, 3, 4, 5},
		"empty extended":    {0, 0, 0, 1, 20},
		"piece":             {0, 0, 0, 10, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1},
		"cut":               {0, 0, 0, 13, 6},
	} {
		server, client := pair(t)
		client.Write(wire)
		client.Close()
		c := newConn(server)
		if m, err := c.Next(); err == nil {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestBigBitfieldsFitWhenAllowed(t *testing.T) {
	const pieces = 1_000_003
	server, client := pair(t)
	b := AppendBitfield(nil, pieces)
	go client.Write(b)
	c := newConn(server)
	c.AllowPieces(pieces)
	m, err := c.Next()
	if err != nil || len(m.Payload) != (pieces+7)/8 || m.Payload[len(m.Payload)-1] != 0b11100000 {
		t.Fatalf("%d bytes, %v", len(m.Payload), err)
	}
	if len(c.buf) != bufferSize {
		t.Errorf("the buffer still has %d bytes", len(c.buf))
	}
	go client.Write(AppendBare(nil, Interested))
	if m, err := c.Next(); err != nil || m.ID != Interested {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestExtensionHandshakeRoundTrip(t *testing.T) {
	e := Extensions{Metadata: ExtMetadata, PEX: ExtPEX, Client: "dropseed", Requests: 500, MetadataSize: 12345, YourIP: netip.MustParseAddr("10.1.2.3"), Port: 6881, UploadOnly: true}
	b := e.Encode()
	var theirs pp.ExtendedHandshakeMessage
	if err := bencode.Unmarshal(b, &theirs); err != nil || theirs.M["ut_metadata"] != 1 || theirs.MetadataSize != 12345 || !net.IP(theirs.YourIp).Equal(net.IPv4(10, 1, 2, 3)) {
		t.Errorf("others read %+v, %v", theirs, err)
	}
	if got, err := ParseExtensions(b); err != nil || got != e {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseExtensions([]byte("d1:md11:ut_metadatai999e6:ut_pexi-1ee4:reqqi-5e1:pi70000ee")); err != nil || got != (Extensions{}) {
		t.Errorf("out of range: %+v, %v", got, err)
	}
}

func TestMetadataMessages(t *testing.T) {
	info := bytes.Repeat([]byte("0123456789abcdef"), 1500) // 24,000 bytes
	ask := func(piece string) int {
		n, ok, err := ParseMetadataRequest([]byte("d8:msg_typei0e5:piecei" + piece + "ee"))
		if !ok || err != nil {
			t.Fatalf("%v, %v", ok, err)
		}
		return n
	}
	for piece, want := range map[string]string{
		"0":  "d8:msg_typei1e5:piecei0e10:total_sizei24000ee" + string(info[:MetadataPiece]),
		"1":  "d8:msg_typei1e5:piecei1e10:total_sizei24000ee" + string(info[MetadataPiece:]),
		"2":  "d8:msg_typei2e5:piecei2ee",
		"-1": "d8:msg_typei2e5:piecei1048576ee",
	} {
		b := AppendMetadata(nil, 9, info, ask(piece))
		if string(b[6:]) != want || b[4] != byte(Extended) || b[5] != 9 {
			t.Errorf("piece %s: %.80q", piece, b)
		}
	}
	if _, ok, err := ParseMetadataRequest([]byte("d8:msg_typei1e5:piecei0ee")); ok || err != nil {
		t.Errorf("a data message: %v, %v", ok, err)
	}
}

func TestPEXIsReadByOthers(t *testing.T) {
	added := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80"), netip.MustParseAddrPort("[2001:db8::1]:81"), netip.MustParseAddrPort("[::ffff:10.0.0.2]:82")}
	b := AppendPEX(nil, 7, added, []netip.AddrPort{netip.MustParseAddrPort("10.0.0.3:83")})
	m, err := pp.LoadPexMsg(b[6:])
	if err != nil || len(m.Added) != 2 || len(m.Added6) != 1 || len(m.Dropped) != 1 || len(m.AddedFlags) != 2 || m.Added[1].String() != "10.0.0.2:82" {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestAllowedFastSetIsBEP6s checks the example of BEP 6.
func TestAllowedFastSetIsBEP6s(t *testing.T) {
	ih := infohash.T(bytes.Repeat([]byte{0xaa}, 20))
	got := AllowedFastSet(netip.MustParseAddr("80.4.4.200"), ih, 1313)
	if want := []uint32{1059, 431, 808, 1217, 287, 376, 1188, 353, 508, 1246}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := AllowedFastSet(netip.MustParseAddr("80.4.4.200"), ih, 3); len(got) != 3 {
		t.Errorf("of three pieces: %v", got)
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 2, 0, 0, 0, 0})
	f.Add(AppendExtended(nil, 0, Extensions{Metadata: 1}.Encode()))
	f.Add(AppendExtended(nil, 1, []byte("d8:msg_typei0e5:piecei0ee")))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := newConn(readOnly{bytes.NewReader(b)})
		for {
			m, err := c.Next()
			if err != nil {
				return
			}
			if m.ID == Extended {
				ParseExtensions(m.Payload)
				ParseMetadataRequest(m.Payload)
			}
		}
	})
}

func FuzzAccept(f *testing.F) {
	f.Add(hello.Append(nil))
	f.Add(make([]byte, 700))
	f.Fuzz(func(t *testing.T, b []byte) {
		Accept(readOnly{bytes.NewReader(b)}, func([20]byte) (infohash.T, bool) { return hello.InfoHash, true })
	})
}

// readOnly is a connection that has said all it will, and hears nothing.
type readOnly struct{ r io.Reader }

func (c readOnly) Read(b []byte) (int, error)       { return c.r.Read(b) }
func (c readOnly) Write(b []byte) (int, error)      { return len(b), nil }
func (c readOnly) Close() error                     { return nil }
func (c readOnly) LocalAddr() net.Addr              { return nil }
func (c readOnly) RemoteAddr() net.Addr             { return nil }
func (c readOnly) SetDeadline(time.Time) error      { return nil }
func (c readOnly) SetReadDeadline(time.Time) error  { return nil }
func (c readOnly) SetWriteDeadline(time.Time) error { return nil }
