package webseed

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// benchSize is the size of the file that the benchmark serves, in bytes.
const benchSize = 256 << 20

// serveEnv makes the test binary the server of BenchmarkServe.
const serveEnv = "WEBSEED_BENCH_SERVE"

func TestMain(m *testing.M) {
	if addr := os.Getenv(serveEnv); addr != "" {
		serveForBenchmark(addr)
		return
	}
	os.Exit(m.Run())
}

// serveForBenchmark serves a release until its standard input ends.
func serveForBenchmark(addr string) {
	testing.Benchmark(func(b *testing.B) {
		if b.N > 1 {
			return
		}
		f := newFixture(b)
		f.publish(b, map[string]string{"file": strings.Repeat("0123456789abcdef", benchSize/16)})
		runtime.GC()
		go func() { fmt.Fprintln(os.Stderr, http.ListenAndServe(addr, f)) }()
		io.Copy(io.Discard, os.Stdin)
	})
}

// BenchmarkServe measures the processor time that serving takes, beside
// nginx's (sendfile on) for the same requests: cpu-s/GB, nginx-cpu-s/GB and
// their ratio. Each is a process of its own, and the client throws away what it
// gets, so that its own time does not count.
func BenchmarkServe(b *testing.B) {
	nginx := needTool(b, "nginx")
	ours, target := startOurs(b)
	theirs := startNginx(b, nginx)
	for _, bm := range []struct {
		name  string
		bytes int // of a range; 0: the whole file
	}{
		{"whole", 0}, {"16MiB", 16 << 20}, {"1MiB", 1 << 20}, {"256KiB", 256 << 10},
	} {
		b.Run(bm.name, func(b *testing.B) {
			requests := 1
			if bm.bytes == 0 {
				bm.bytes = benchSize
			} else {
				requests = min(benchSize/bm.bytes, 128)
			}
			b.SetBytes(2 * int64(requests) * int64(bm.bytes))
			var used [2]time.Duration
			for range b.N {
				used[0] += ours.serve(b, target, bm.bytes, requests)
				used[1] += theirs.serve(b, "/file", bm.bytes, requests)
			}
			gb := float64(b.N) * float64(requests) * float64(bm.bytes) / 1e9
			b.ReportMetric(used[0].Seconds()/gb, "cpu-s/GB")
			b.ReportMetric(used[1].Seconds()/gb, "nginx-cpu-s/GB")
			b.ReportMetric(used[0].Seconds()/used[1].Seconds(), "ratio")
		})
	}
}

// served is a server under measurement.
type served struct {
	addr string
	pid  int
}

func startOurs(b *testing.B) (served, string) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	s := startServer(b, cmd, func(addr string) { cmd.Env = append(os.Environ(), serveEnv+"="+addr) })
	return s, "/files/file"
}

func startNginx(b *testing.B, path string) served {
	b.Helper()
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("0123456789abcdef", benchSize/16)), 0o644); err != nil {
		b.Fatal(err)
	}
	conf := filepath.Join(dir, "conf")
	cmd := exec.Command(path, "-p", dir, "-c", conf, "-e", "stderr")
	return startServer(b, cmd, func(addr string) {
		text := "daemon off; master_process off; pid pid; error_log stderr error; events {}\n" +
			"http { access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type application/octet-stream;\n" +
			"client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;\n" +
			"server { listen " + addr + "; root " + dir + "; } }\n"
		if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
			b.Fatal(err)
		}
	})
}

// startServer runs a command that listens on the address it was prepared for.
func startServer(b *testing.B, cmd *exec.Cmd, prepare func(addr string)) served {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	prepare(addr)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	for range 200 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return served{addr: addr, pid: cmd.Process.Pid}
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatalf("%s does not listen", cmd)
	return served{}
}

// serve gets the file's first ranges, one after the other on one connection,
// and returns the processor time that it took the server.
func (s served) serve(b *testing.B, target string, size, requests int) time.Duration {
	b.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 4<<10)
	before := s.cpu(b)
	for off := 0; off < requests*size; off += size {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n", target)
		if size < benchSize {
			fmt.Fprintf(conn, "Range: bytes=%d-%d\r\n", off, off+size-1)
		}
		fmt.Fprint(conn, "\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			b.Fatal(err)
		}
		if resp.ContentLength != int64(size) {
			b.Fatalf("Content-Length %d, want %d", resp.ContentLength, size)
		}
		held, _ := r.Discard(min(r.Buffered(), size))
		discard(b, conn.(*net.TCPConn), size-held)
	}
	return s.cpu(b) - before
}

// discard takes n bytes from a connection without copying them.
func discard(b *testing.B, conn *net.TCPConn, n int) {
	b.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 1<<20)
	for n > 0 {
		var got int
		var rerr error
		err := raw.Read(func(fd uintptr) bool {
			got, _, rerr = syscall.Recvfrom(int(fd), buf[:min(n, len(buf))], syscall.MSG_TRUNC)
			return rerr != syscall.EAGAIN
		})
		if err != nil || rerr != nil || got == 0 {
			b.Fatalf("read: %d, %v, %v", got, err, rerr)
		}
		n -= got
	}
}

// cpu returns the processor time that the server has used, to the nanosecond.
func (s served) cpu(b *testing.B) time.Duration {
	b.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.pid))
	if err != nil || len(threads) == 0 {
		b.Fatalf("no processor time of %d: %v", s.pid, err)
	}
	var sum time.Duration
	for _, t := range threads {
		text, err := os.ReadFile(t)
		if err != nil {
			continue // the thread ended
		}
		var ns int64
		fmt.Sscan(string(text), &ns)
		sum += time.Duration(ns)
	}
	return sum
}
