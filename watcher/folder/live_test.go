package folder

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"dropseed/watcher"
)

const (
	settle  = 300 * time.Millisecond
	quickly = settle + 300*time.Millisecond // by when something settled is reported, on a busy machine
)

// TestMain lets more tests run at once than there are processors: most sleep.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// live is a Watcher that runs on a folder; rescans come too late to help.
type live struct {
	*testing.T
	disk
	f   *Folder
	w   *watcher.Watcher
	log *logBuffer

	mu     sync.Mutex // guards the field below
	events []watcher.Event
}

func watch(t *testing.T, prepare func(*live)) *live {
	t.Helper()
	f, d, log := newFolder(t)
	l := &live{T: t, disk: d, f: f, log: log}
	if prepare != nil {
		prepare(l)
	}
	l.run(time.Hour)
	return l
}

func (l *live) run(rescan time.Duration) {
	l.w = watcher.New(l.f, watcher.Options{Settle: settle, Rescan: rescan, Log: slog.New(slog.NewTextHandler(l.log, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.w.Run(ctx, func(e watcher.Event) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.events = append(l.events, e)
		})
	}()
	l.Cleanup(func() { cancel(); <-ended })
	<-l.w.Ready()
	time.Sleep(150 * time.Millisecond) // the watches stand
}

func (l *live) write(path, data string) {
	l.Helper()
	must(l.T, l.Write(path, []byte(data)))
}

// want waits until as many events came as are given, as "name paths…" or
// "name gone", and then for longer than another would take.
func (l *live) want(want ...string) []watcher.Event {
	l.Helper()
	take := func() []watcher.Event {
		l.mu.Lock()
		defer l.mu.Unlock()
		return slices.Clone(l.events)
	}
	for late := time.Now().Add(5 * time.Second); len(take()) < len(want) && time.Now().Before(late); {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(quickly)
	events := take()
	got := []string{}
	for _, e := range events {
		s := e.Tree.Name
		for _, f := range e.Tree.Files {
			s += fmt.Sprintf(" %s:%d", f.Path, f.Size)
		}
		if e.Gone {
			s += " gone"
		}
		got = append(got, s)
	}
	slices.Sort(got)
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		l.Fatalf("events: %q\nwant %q\npending: %+v\nlog: %s", got, want, l.w.Pending(), l.log)
	}
	l.mu.Lock()
	l.events = nil
	l.mu.Unlock()
	return events
}

func TestLiveSlowCopy(t *testing.T) {
	t.Parallel()
	l := watch(t, nil)
	out, err := os.Create(l.at("big.iso"))
	must(t, err)
	for range 10 {
		time.Sleep(settle / 2)
		_, err := out.Write(make([]byte, 1000))
		must(t, err)
	}
	must(t, out.Close())
	l.mu.Lock()
	early := len(l.events)
	l.mu.Unlock()
	if early > 0 {
		t.Fatal("reported while it was copied")
	}
	start := time.Now()
	for late := start.Add(5 * time.Second); early == 0 && time.Now().Before(late); {
		time.Sleep(5 * time.Millisecond)
		l.mu.Lock()
		early = len(l.events)
		l.mu.Unlock()
	}
	if took := time.Since(start); took > quickly {
		t.Errorf("reported %v after the last write", took)
	}
	l.want("big.iso big.iso:10000")
}

// rsync writes a hidden temporary name beside the file, and renames it.
func TestLiveTemporaryNameThenRename(t *testing.T) {
	t.Parallel()
	l := watch(t, nil)
	for _, path := range []string{"f.iso", "d/f.iso"} {
		tmp := filepath.ToSlash(filepath.Join(filepath.Dir(path), ".f.iso.Xq2P0z"))
		l.write(tmp, "123")
		time.Sleep(2 * settle)
		must(t, l.Rename(tmp, path))
	}
	l.want("d d/f.iso:3", "f.iso f.iso:3")
	l.write(".f.iso.Xq2P0z", "12345")
	must(t, l.Rename(".f.iso.Xq2P0z", "f.iso"))
	l.want("f.iso f.iso:5")
}

func TestLiveDirectoryMovedIntoPlace(t *testing.T) {
	t.Parallel()
	l := watch(t, nil)
	other := disk(t.TempDir())
	must(t, other.Write("d/a/b/f", []byte("1")))
	must(t, other.Write("d/g", []byte("22")))
	must(t, os.Rename(other.at("d"), l.at("d")))
	l.want("d d/a/b/f:1 d/g:2")
	l.write("d/a/b/f", "333") // deep inside what came as one
	l.want("d d/a/b/f:3 d/g:2")
	must(t, l.Rename("d", "e"))
	l.want("d gone", "e e/a/b/f:3 e/g:2")
	l.write("e/a/b/f", "55555") // its directory was watched under another name
	l.want("e e/a/b/f:5 e/g:2")
	must(t, os.Rename(l.at("e"), other.at("e")))
	l.want("e gone")
	must(t, other.Write("e/g", []byte("no longer ours")))
	l.want()
}

func TestLiveRecursiveCopy(t *testing.T) {
	t.Parallel()
	l := watch(t, nil)
	want := "d"
	for i := range 8 {
		path := "d" + strings.Repeat("/x", i) + "/f"
		want = "d " + path + ":4" + strings.TrimPrefix(want, "d")
		l.write(path, "data")
		time.Sleep(settle / 3)
	}
	files := strings.Fields(want)[1:]
	slices.Sort(files)
	slices.SortFunc(files, watcher.ComparePaths)
	l.want("d " + strings.Join(files, " "))
}

func TestLiveManySmallFilesAtOnce(t *testing.T) {
	t.Parallel()
	l := watch(t, nil)
	for i := range 2000 {
		l.write(fmt.Sprintf("d/%d/%04d", i%7, i), "x")
	}
	for late := time.Now().Add(10 * time.Second); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		n := len(l.events)
		l.mu.Unlock()
		if n > 0 {
			break
		}
	}
	time.Sleep(quickly)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) != 1 || len(l.events[0].Tree.Files) != 2000 {
		t.Fatalf("%d events", len(l.events))
	}
}

func TestLiveReplacedAndRemoved(t *testing.T) {
	t.Parallel()
	l := watch(t, func(l *live) { l.write("d/f", "1"); l.write("g", "1") })
	l.want("d d/f:1", "g g:1")
	must(t, l.Remove("d"))
	l.write("d/f", "22")
	l.want("d d/f:2")
	must(t, l.Remove("d"))
	must(t, l.Remove("g"))
	l.want("d gone", "g gone")
}

func TestReadingGivesNoHint(t *testing.T) {
	t.Parallel()
	f, d, _ := newFolder(t)
	must(t, d.Write("d/f", []byte("1")))
	must(t, d.Write(".hidden/f", []byte("1")))
	if name, err := f.Wait(t.Context()); name != "" || err != nil {
		t.Fatalf("the first hint is %q, %v", name, err)
	}
	_, err := os.ReadFile(d.at("d/f"))
	must(t, err)
	list(t, f, "")
	must(t, d.Write(".hidden/f", []byte("22"))) // nor does what is left out
	must(t, d.Write("d/x.tmp", []byte("22")))
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	if name, err := f.Wait(ctx); err == nil {
		t.Errorf("a hint at %q", name)
	}
}

// The folder goes away as a whole and comes back: nothing is gone, and changes
// are noticed again.
func TestLiveFolderAwayAndBack(t *testing.T) {
	t.Parallel()
	f, d, log := newFolder(t)
	l := &live{T: t, disk: d, f: f, log: log}
	l.write("d/f", "1")
	l.run(time.Second)
	l.want("d d/f:1")
	must(t, os.Rename(string(d), string(d)+".away"))
	time.Sleep(1500 * time.Millisecond)
	l.want()
	if n := log.count("is not there; mount it"); n != 1 {
		t.Errorf("logged %d times: %s", n, log)
	}
	must(t, os.Rename(string(d)+".away", string(d)))
	time.Sleep(1500 * time.Millisecond)
	l.write("d/f", "22")
	l.want("d d/f:2")
}

func TestLimitOfWatchesCostsDelayOnly(t *testing.T) {
	t.Parallel()
	f, d, log := newFolder(t)
	l := &live{T: t, disk: d, f: f, log: log}
	l.write("a/b/f", "1")
	l.write("c/f", "1")
	n := 0
	f.addWatch = func(w *fsnotify.Watcher, path string) error {
		if n++; n > 1 {
			return os.NewSyscallError("inotify_add_watch", syscall.ENOSPC)
		}
		return w.Add(path)
	}
	l.run(time.Second)
	l.want("a a/b/f:1", "c c/f:1")
	l.write("a/b/f", "22") // seen by a rescan
	l.write("new", "1")    // seen at once: the folder itself is watched
	l.want("a a/b/f:2", "new new:1")
	for i := range 5 {
		l.write(fmt.Sprintf("more%d/f", i), "1")
	}
	time.Sleep(settle)
	if n := log.count("max_user_watches"); n != 1 {
		t.Errorf("logged %d times: %s", n, log)
	}
}

func TestNoWatchAtAllCostsDelayOnly(t *testing.T) {
	t.Parallel()
	f, d, log := newFolder(t)
	l := &live{T: t, disk: d, f: f, log: log}
	f.addWatch = func(*fsnotify.Watcher, string) error { return syscall.ENOSPC }
	l.write("f", "1")
	l.run(time.Second)
	l.want("f f:1")
	l.write("f", "22")
	must(t, l.Remove("none"))
	l.want("f f:2")
	if n := log.count("max_user_watches"); n != 1 {
		t.Errorf("logged %d times: %s", n, log)
	}
}

// More events than the kernel holds come while nobody takes them.
func TestOverflowHintsAtEverything(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the size of the queue is known on Linux only")
	}
	f, d, _ := newFolder(t)
	var limit int
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	must(t, err)
	fmt.Sscan(string(b), &limit)
	if limit > 50_000 {
		t.Skipf("the kernel holds %d events", limit)
	}
	must(t, d.Write("d/0", nil))
	must(t, d.Write("d/1", nil))
	if name, err := f.Wait(t.Context()); name != "" || err != nil {
		t.Fatalf("the first hint is %q, %v", name, err)
	}
	for i := range limit + 10_000 { // the kernel merges equal events, and some are read ahead
		must(t, os.Chmod(d.at("d/"+string('0'+rune(i%2))), 0o600))
	}
	must(t, d.Write("e/f", nil)) // its directory's creation is lost
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		name, err := f.Wait(ctx)
		must(t, err)
		if name == "" {
			break
		}
	}
	must(t, d.Write("e/f", []byte("2")))
	for name := ""; name != "e"; {
		name, err = f.Wait(ctx)
		must(t, err)
	}
}
