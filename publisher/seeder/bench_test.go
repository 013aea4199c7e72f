package seeder

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anacrolix/torrent/types/infohash"

	"dropseed/publisher/catalog"
	"dropseed/publisher/peerwire"
	"dropseed/publisher/torrentfile"
	"dropseed/watcher"
	"dropseed/watcher/folder"
)

// childDir names the folder that a child process of the benchmark seeds, and
// childPlain, if it is set, has it offer everything to everybody.
const (
	childDir   = "DROPSEED_BENCH_FOLDER"
	childPlain = "DROPSEED_BENCH_PLAIN"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := benchChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// benchChild seeds the file "content" of a folder until its input ends.
func benchChild(dir string) error {
	src, err := folder.New(dir, folder.Options{})
	if err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(dir, "content.torrent"))
	if err != nil {
		return err
	}
	info, err := infoOf(b)
	if err != nil {
		return err
	}
	tree := watcher.Tree{Source: "bench", Name: "content"}
	for f, err := range src.List(context.Background(), "content") {
		if err != nil {
			return err
		}
		tree.Files = append(tree.Files, f)
	}
	state, err := os.MkdirTemp(dir, ".state")
	if err != nil {
		return err
	}
	cat, err := catalog.Open(state, slogDiscard)
	if err != nil {
		return err
	}
	if _, err := cat.Put(catalog.New{InfoHash: infohash.HashBytes(info), PieceLength: benchPiece, Tree: tree, Torrent: b}); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	ctx, cancel := context.WithCancel(context.Background())
	go func() { io.Copy(io.Discard, os.Stdin); cancel() }()
	o := Options{
		Catalog: cat,
		Open: func(ctx context.Context, c *catalog.Content, i int) (watcher.Object, error) {
			return src.Open(ctx, c.Files[i])
		},
		Limits: Limits{PerAddress: 4 * benchCrowd},
		Log:    slogDiscard,
	}
	if os.Getenv(childPlain) != "" {
		o.Offload = func(string) Offload { return Offload{Mode: Plain} }
	}
	s := New(o)
	return s.Serve(ctx, ln)
}

const (
	benchSize  = 1 << 30 // bytes of content
	benchPiece = 1 << 20
	benchReads = 3 // times the content is sent per round
	benchDepth = 256
	benchCrowd = 200 // peers
	benchIdle  = 500 // peers
)

// rival is a server of the benchmark's content in a process of its own.
type rival struct {
	name  string
	start func(b *testing.B, dir string) (pid int, addr string)
	fetch func(b *testing.B, addr string, r catalog.Release)
}

// BenchmarkSeed sends the same content from a seeder, from libtorrent and from
// nginx, each a process of its own, in turns, to a client that throws it away.
// It prints the processor seconds that each took per gigabyte (10⁹ bytes) sent
// (medians of the rounds), and the ratios. The first dropseed offers everything
// to everybody, as the rivals do; -spread is the default: what it shows piece by piece.
func BenchmarkSeed(b *testing.B) {
	compare(b, []rival{
		{"dropseed", startPlain, fetchPeer},
		{"dropseed-8-peers", startPlain, func(b *testing.B, addr string, r catalog.Release) { fetchTogether(b, addr, r, 8) }},
		{"dropseed-spread", startSpread, func(b *testing.B, addr string, r catalog.Release) { fetchOffered(b, addr, r, 1) }},
		{"libtorrent", startLibtorrent, fetchPeer},
		{"nginx", startNginx, fetchHTTP},
	})
}

// BenchmarkSeedCrowd is BenchmarkSeed with 200 peers connected, of which one
// fetches the content (-connected), or each a part of it (-200). libtorrent has
// one only: it lets go of many that come from one address.
func BenchmarkSeedCrowd(b *testing.B) {
	compare(b, []rival{
		{"dropseed-connected", startPlain, fetchBesideIdle},
		{"dropseed-200", startPlain, func(b *testing.B, addr string, r catalog.Release) { fetchTogether(b, addr, r, benchCrowd) }},
		{"dropseed-spread-200", startSpread, func(b *testing.B, addr string, r catalog.Release) { fetchOffered(b, addr, r, benchCrowd) }},
		{"libtorrent", startLibtorrent, fetchPeer},
		{"nginx", startNginx, fetchHTTP},
		{"nginx-200", startNginx, func(b *testing.B, addr string, r catalog.Release) { fetchRanges(b, addr, r, benchCrowd) }},
	})
}

// compare has rivals send the content in turns, and prints what that took.
func compare(b *testing.B, rivals []rival) {
	dir := b.TempDir()
	r := benchContent(b, dir)
	pids, addrs := make([]int, len(rivals)), make([]string, len(rivals))
	for i, v := range rivals {
		pids[i], addrs[i] = v.start(b, dir)
		v.fetch(b, addrs[i], r) // the first time is not counted
	}
	costs := make([][]float64, len(rivals))
	for b.Loop() {
		for i, v := range rivals {
			before := processorTime(b, pids[i])
			for range benchReads {
				v.fetch(b, addrs[i], r)
			}
			costs[i] = append(costs[i], (processorTime(b, pids[i])-before).Seconds()/(benchReads*benchSize/1e9))
		}
	}
	median := make(map[string]float64)
	for i, v := range rivals {
		slices.Sort(costs[i])
		median[v.name] = costs[i][len(costs[i])/2]
		b.ReportMetric(median[v.name], v.name+"-s/GB")
	}
	b.ReportMetric(0, "ns/op")
	for ours, cost := range median {
		if !strings.HasPrefix(ours, "dropseed") {
			continue
		}
		for theirs, rival := range median {
			if !strings.HasPrefix(theirs, "dropseed") {
				b.ReportMetric(cost/rival, ours+"/"+theirs)
			}
		}
	}
}

// BenchmarkIdlePeers prints the resident memory per peer that is connected,
// interested and asks for nothing, beside libtorrent's.
func BenchmarkIdlePeers(b *testing.B) {
	dir := b.TempDir()
	r := benchContent(b, dir)
	for b.Loop() {
		for _, v := range []rival{{name: "dropseed", start: startSpread}, {name: "libtorrent", start: startLibtorrent}} {
			pid, addr := v.start(b, dir)
			idle := func(n int) (close func()) {
				end := connectIdle(b, addr, r, n)
				time.Sleep(2 * time.Second)
				return end
			}
			first := idle(10) // what the swarm itself takes
			before := residentMemory(b, pid)
			rest := idle(benchIdle)
			b.ReportMetric(float64(residentMemory(b, pid)-before)/benchIdle/1000, v.name+"-KB/peer")
			first()
			rest()
		}
	}
	b.ReportMetric(0, "ns/op")
}

// connectIdle connects n peers that are interested and ask for nothing.
func connectIdle(b *testing.B, addr string, r catalog.Release, n int) (end func()) {
	var all []*leecher
	for range n {
		l, err := connect(b, addr, r.InfoHash, everything)
		if err != nil {
			b.Fatal(err)
		}
		l.send(b, peerwire.AppendBare(peerwire.AppendBare(nil, peerwire.HaveNone), peerwire.Interested))
		l.until(b, peerwire.Unchoke)
		all = append(all, l)
	}
	return func() {
		for _, l := range all {
			l.Close()
		}
	}
}

// benchContent writes the content and its .torrent.
func benchContent(b *testing.B, dir string) catalog.Release {
	if err := os.WriteFile(filepath.Join(dir, "content"), random(benchSize, 1), 0o644); err != nil {
		b.Fatal(err)
	}
	src, err := folder.New(dir, folder.Options{})
	if err != nil {
		b.Fatal(err)
	}
	tree := watcher.Tree{Source: "bench", Name: "content"}
	for f, err := range src.List(b.Context(), "content") {
		if err != nil {
			b.Fatal(err)
		}
		tree.Files = append(tree.Files, f)
	}
	tor, err := torrentfile.Build(b.Context(), tree, src, torrentfile.Options{PieceLength: benchPiece})
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "content.torrent"), tor.Bytes, 0o644); err != nil {
		b.Fatal(err)
	}
	return catalog.Release{Name: "content", InfoHash: tor.InfoHash, Size: benchSize, PieceLength: benchPiece}
}

// startChild runs a command that ends with its input, or is killed, and
// returns the first line that it prints.
func startChild(b *testing.B, cmd *exec.Cmd) (pid int, line string) {
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		missing(b, err)
	}
	b.Cleanup(func() {
		in.Close()
		kill := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer kill.Stop()
		cmd.Wait()
	})
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatalf("%s printed nothing: %v", cmd.Path, err)
	}
	return cmd.Process.Pid, strings.TrimSpace(line)
}

func missing(b *testing.B, err error) {
	if os.Getenv("DROPSEED_REQUIRE_ALL") == "1" {
		b.Fatal(err)
	}
	b.Skip(err)
}

func startSpread(b *testing.B, dir string) (int, string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	return startChild(b, cmd)
}

func startPlain(b *testing.B, dir string) (int, string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir, childPlain+"=1")
	return startChild(b, cmd)
}

const libtorrentSeed = `
import libtorrent as lt, sys, time
s = lt.session({'listen_interfaces': '127.0.0.1:0', 'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False,
  'enable_natpmp': False, 'alert_mask': 0, 'send_buffer_watermark': 3 << 20, 'send_buffer_watermark_factor': 150,
  'allow_multiple_connections_per_ip': True, 'connections_limit': 2000, 'listen_queue_size': 500, 'unchoke_slots_limit': -1, 'max_out_request_queue': 2000, 'max_allowed_in_request_queue': 2000})
p = lt.add_torrent_params()
p.ti = lt.torrent_info(sys.argv[1] + '/content.torrent')
p.save_path = sys.argv[1]
p.flags = lt.torrent_flags.seed_mode
h = s.add_torrent(p)
while not h.status().is_seeding: time.sleep(.05)
print('127.0.0.1:%d' % s.listen_port(), flush=True)
sys.stdin.read()
`

func startLibtorrent(b *testing.B, dir string) (int, string) {
	return startChild(b, exec.Command("/usr/bin/python3", "-c", libtorrentSeed, dir))
}

func startNginx(b *testing.B, dir string) (int, string) {
	path, err := exec.LookPath("nginx")
	if err != nil {
		missing(b, err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	conf := filepath.Join(dir, "nginx.conf")
	err = os.WriteFile(conf, fmt.Appendf(nil, `daemon off; master_process off; user root; pid %[1]s/nginx.pid; error_log stderr crit;
events {} http { access_log off; sendfile on; tcp_nopush on; client_body_temp_path %[1]s/tmp; proxy_temp_path %[1]s/tmp; fastcgi_temp_path %[1]s/tmp;
uwsgi_temp_path %[1]s/tmp; scgi_temp_path %[1]s/tmp; server { listen %[2]s; root %[1]s; } }`, dir, addr), 0o644)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return cmd.Process.Pid, addr
		}
		if time.Now().After(deadline) {
			b.Fatal("nginx does not answer")
		}
	}
}

// fetchPeer reads the whole content as a peer and throws it away.
func fetchPeer(b *testing.B, addr string, r catalog.Release) {
	fetchTogether(b, addr, r, 1)
}

// fetchBesideIdle reads the content as one of many peers that are connected.
func fetchBesideIdle(b *testing.B, addr string, r catalog.Release) {
	defer connectIdle(b, addr, r, benchCrowd-1)()
	fetchPeer(b, addr, r)
}

// fetchTogether reads the content with n peers, each a part of it.
func fetchTogether(b *testing.B, addr string, r catalog.Release, n int) {
	all, done := blocks(r), make(chan error, n)
	var peers []*leecher
	for range n {
		l, err := connect(b, addr, r.InfoHash, everything)
		if err != nil {
			b.Fatal(err)
		}
		peers = append(peers, l)
	}
	for i, l := range peers {
		go func() { done <- fetchPart(l, all[i*len(all)/n:(i+1)*len(all)/n]) }()
	}
	for range n {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func fetchPart(l *leecher, want []peerwire.Block) error {
	defer l.Close()
	l.SetDeadline(time.Now().Add(2 * time.Minute))
	out := peerwire.AppendBare(peerwire.AppendBare(nil, peerwire.HaveNone), peerwire.Interested)
	if _, err := l.Write(out); err != nil {
		return err
	}
	for {
		m, err := l.next()
		if err != nil {
			return err
		}
		if m.id == peerwire.Unchoke {
			break
		}
	}
	asked := 0
	for done := 0; done < len(want); {
		if asked-done < benchDepth/2 && asked < len(want) {
			out = out[:0]
			for ; asked < len(want) && asked-done < benchDepth; asked++ {
				out = peerwire.AppendBlock(out, peerwire.Request, want[asked])
			}
			if _, err := l.Write(out); err != nil {
				return err
			}
		}
		head, err := l.r.Peek(5)
		if err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(head))
		if size > 0 && peerwire.ID(head[4]) == peerwire.Piece {
			done++
		} else if size > 0 && peerwire.ID(head[4]) == peerwire.Reject {
			return errors.New("a request was rejected")
		}
		if _, err := l.r.Discard(4 + size); err != nil {
			return err
		}
	}
	return nil
}

// fetchOffered reads the content with n peers, each of which asks for what it is
// shown and tells what it has.
func fetchOffered(b *testing.B, addr string, r catalog.Release, n int) {
	var left atomic.Int64
	left.Store(int64(r.Pieces()))
	all := make([]*leecher, n)
	for i := range all {
		l, err := connect(b, addr, r.InfoHash, everything)
		if err != nil {
			b.Fatal(err)
		}
		l.SetDeadline(time.Now().Add(2 * time.Minute))
		all[i] = l
	}
	done := make(chan error, n)
	for _, l := range all {
		go func() { done <- fetchShown(l, r, &left) }()
	}
	for left.Load() > 0 {
		select {
		case err := <-done:
			if left.Load() > 0 {
				b.Fatal(err)
			}
			done <- err
		case <-time.After(time.Millisecond):
		}
	}
	for _, l := range all {
		l.Close()
	}
	for range n {
		<-done
	}
}

// fetchShown is one peer of fetchOffered. It ends with an error, in the end
// since its connection is closed.
func fetchShown(l *leecher, r catalog.Release, left *atomic.Int64) error {
	out := peerwire.AppendBare(peerwire.AppendBare(nil, peerwire.HaveNone), peerwire.Interested)
	missing := make(map[uint32]int64) // bytes of a piece
	var wanted []peerwire.Block
	for asked := 0; ; {
		if l.r.Buffered() == 0 {
			n := min(len(wanted), benchDepth-asked)
			for _, block := range wanted[:n] {
				out = peerwire.AppendBlock(out, peerwire.Request, block)
			}
			wanted, asked = wanted[n:], asked+n
			if _, err := l.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
		head, err := l.r.Peek(5)
		if err != nil {
			return err
		}
		size := int(binary.BigEndian.Uint32(head))
		id := peerwire.ID(head[4])
		if size > 0 && (id == peerwire.Piece || id == peerwire.Have) {
			if head, err = l.r.Peek(9); err != nil {
				return err
			}
			i := binary.BigEndian.Uint32(head[5:])
			if id == peerwire.Have {
				length := min(r.PieceLength, r.Size-int64(i)*r.PieceLength)
				missing[i] = length
				for off := int64(0); off < length; off += 16 << 10 {
					wanted = append(wanted, peerwire.Block{Index: i, Begin: uint32(off), Length: uint32(min(16<<10, length-off))})
				}
			} else {
				asked--
				if missing[i] -= int64(size - 9); missing[i] == 0 {
					out = peerwire.AppendIndex(out, peerwire.Have, i)
					left.Add(-1)
				}
			}
		}
		if _, err := l.r.Discard(4 + size); err != nil {
			return err
		}
	}
}

// fetchRanges reads the content over HTTP with n clients, each a part of it.
func fetchRanges(b *testing.B, addr string, r catalog.Release, n int64) {
	done := make(chan error, n)
	for i := range n {
		from, to := i*r.Size/n, (i+1)*r.Size/n
		go func() {
			req, err := http.NewRequest(http.MethodGet, "http://"+addr+"/content", nil)
			if err != nil {
				done <- err
				return
			}
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				done <- err
				return
			}
			defer resp.Body.Close()
			if got, cerr := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 64<<10)); got != to-from {
				err = fmt.Errorf("%d bytes of %d: %w", got, to-from, cerr)
			}
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func fetchHTTP(b *testing.B, addr string, r catalog.Release) {
	resp, err := http.Get("http://" + addr + "/content")
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, resp.Body, make([]byte, 256<<10)); n != r.Size || err != nil {
		b.Fatalf("%d bytes, %v", n, err)
	}
}

// residentMemory returns the bytes that a process has in memory of its own.
func residentMemory(b *testing.B, pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skip(err)
	}
	var kb int64
	_, rest, _ := strings.Cut(string(status), "RssAnon:")
	if _, err := fmt.Sscanf(rest, "%d kB", &kb); err != nil {
		b.Fatal(err)
	}
	return kb * 1024
}

// processorTime returns what a process has used, user and system.
func processorTime(b *testing.B, pid int) time.Duration {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	var ticks int
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
