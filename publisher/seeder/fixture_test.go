package seeder

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/peerwire"
	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
	"dropseed/watcher/folder"
)

var slogDiscard = slog.New(slog.DiscardHandler)

// origin is a running seeder over a real folder and catalog.
type origin struct {
	dir     string
	folder  *folder.Folder
	catalog *catalog.Catalog
	seeder  *Seeder
	addr    string
	stop    func() // ends the seeder gracefully and waits for it
}

// newOrigin starts a seeder over a folder; change may adapt its options.
func newOrigin(t testing.TB, dir string, change func(*Options)) *origin {
	t.Helper()
	src, err := folder.New(dir, folder.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	cat, err := catalog.Open(t.TempDir(), slogDiscard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cat.Close() })
	o := Options{
		Catalog: cat,
		Open: func(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error) {
			return src.Open(ctx, c.Files[i])
		},
		Offload: func(string) Offload { return Offload{Mode: Plain} },
		Client:  "dropseed test",
		Log:     slogDiscard,
	}
	if change != nil {
		change(&o)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	org := &origin{dir: dir, folder: src, catalog: cat, seeder: New(o), addr: ln.Addr().String()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- org.seeder.Serve(ctx, ln) }()
	org.stop = func() {
		cancel()
		select {
		case err := <-done:
			done <- err
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Serve does not end")
		}
	}
	t.Cleanup(org.stop)
	return org
}

// write makes a file of the folder.
func (o *origin) write(t testing.TB, path string, b []byte) {
	t.Helper()
	full := filepath.Join(o.dir, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// publish puts the tree of a name into the catalog.
func (o *origin) publish(t testing.TB, name string, opts torrentfile.Options) catalog.Release {
	t.Helper()
	tree := watcher.Tree{Source: "test", Name: name}
	for f, err := range o.folder.List(t.Context(), name) {
		if err != nil {
			t.Fatal(err)
		}
		tree.Files = append(tree.Files, f)
	}
	slices.SortFunc(tree.Files, func(a, b watcher.File) int { return watcher.ComparePaths(a.Path, b.Path) })
	tor, err := torrentfile.Build(t.Context(), tree, o.folder, opts)
	if err != nil {
		t.Fatal(err)
	}
	r, err := o.catalog.Put(catalog.New{InfoHash: tor.InfoHash, PieceLength: tor.PieceLength, Private: opts.Private, Tree: tree, Torrent: tor.Bytes})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// random returns n bytes that depend on seed.
func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	r.Read(b)
	return b
}

// leecher is the other end of a connection.
type leecher struct {
	net.Conn
	w     io.Writer
	r     *bufio.Reader
	hello peerwire.Hello
	fast  int // ALLOWED FAST messages that came
}

var everything = peerwire.OurReserved()

// connect opens a connection and shakes hands.
func connect(t testing.TB, addr string, ih infohash.T, reserved peerwire.Reserved) (*leecher, error) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write((peerwire.Hello{Reserved: reserved, InfoHash: ih, PeerID: peerwire.PeerID{'t'}}).Append(nil)); err != nil {
		return nil, err
	}
	l := newLeecher(conn, conn)
	var b [68]byte
	if _, err := io.ReadFull(l.r, b[:]); err != nil {
		return nil, err
	}
	copy(l.hello.Reserved[:], b[20:])
	copy(l.hello.InfoHash[:], b[28:])
	copy(l.hello.PeerID[:], b[48:])
	if l.hello.InfoHash != ih {
		return nil, fmt.Errorf("the handshake is for %v", l.hello.InfoHash)
	}
	return l, nil
}

// newLeecher reads and writes through rw, which may encrypt.
func newLeecher(conn net.Conn, rw io.ReadWriter) *leecher {
	return &leecher{Conn: conn, w: rw, r: bufio.NewReaderSize(rw, 256<<10)}
}

func mustConnect(t testing.TB, addr string, ih infohash.T, reserved peerwire.Reserved) *leecher {
	t.Helper()
	l, err := connect(t, addr, ih, reserved)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// message is one as received.
type message struct {
	id   peerwire.ID
	body []byte
}

// next returns the next message that is not a keep-alive or an ALLOWED FAST.
func (l *leecher) next() (message, error) {
	for {
		var n [4]byte
		if _, err := io.ReadFull(l.r, n[:]); err != nil {
			return message{}, err
		}
		size := binary.BigEndian.Uint32(n[:])
		if size == 0 {
			continue
		}
		if size > 1<<20 {
			return message{}, errors.New("a message that is too long")
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(l.r, b); err != nil {
			return message{}, err
		}
		if m := (message{peerwire.ID(b[0]), b[1:]}); m.id != peerwire.AllowedFast {
			return m, nil
		}
		l.fast++
	}
}

// until reads messages up to the first of a type.
func (l *leecher) until(t testing.TB, id peerwire.ID) message {
	t.Helper()
	for {
		m, err := l.next()
		if err != nil {
			t.Fatalf("waiting for message %d: %v", id, err)
		}
		if m.id == id {
			return m
		}
	}
}

func (l *leecher) send(t testing.TB, b []byte) {
	t.Helper()
	if _, err := l.w.Write(b); err != nil {
		t.Fatal(err)
	}
}

// blocks lists a release's blocks in order.
func blocks(r catalog.Release) (all []peerwire.Block) {
	for i := range r.Pieces() {
		size := min(r.PieceLength, r.Size-int64(i)*r.PieceLength)
		for off := int64(0); off < size; off += 16 << 10 {
			all = append(all, peerwire.Block{Index: uint32(i), Begin: uint32(off), Length: uint32(min(16<<10, size-off))})
		}
	}
	return all
}

// download gets a whole release with so many requests under way.
func (l *leecher) download(t testing.TB, r catalog.Release, depth int) []byte {
	t.Helper()
	want, got := blocks(r), make([]byte, r.Size)
	asked := 0
	for done := 0; done < len(want); {
		var b []byte
		for ; asked < len(want) && asked-done < depth; asked++ {
			b = peerwire.AppendBlock(b, peerwire.Request, want[asked])
		}
		if len(b) > 0 {
			l.send(t, b)
		}
		m := l.until(t, peerwire.Piece)
		off := int64(binary.BigEndian.Uint32(m.body))*r.PieceLength + int64(binary.BigEndian.Uint32(m.body[4:]))
		copy(got[off:], m.body[8:])
		done++
	}
	return got
}
