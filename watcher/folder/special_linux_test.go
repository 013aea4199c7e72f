package folder

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dropseed/watcher"
)

func TestSpecialFilesAreProblems(t *testing.T) {
	f, d, _ := newFolder(t)
	must(t, d.Write("ok", nil))
	for _, name := range []string{"pipe", "socket", "link"} {
		must(t, d.Write(name+"/f", nil))
	}
	must(t, unix.Mkfifo(d.at("pipe/p"), 0o666))
	must(t, d.Link("../pipe/p", "link/p"))
	t.Chdir(d.at("socket")) // a socket's path is short
	s, err := net.Listen("unix", "s")
	must(t, err)
	defer s.Close()
	want := map[string]string{"pipe/p": "named pipe", "socket/s": "socket", "link/p": "named pipe"}
	if unix.Mknod(d.at("ok.dev"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) == nil {
		want["ok.dev"] = "device"
	}
	wantList(t, f, "", []string{"ok", "pipe/f", "socket/f", "link/f"}, want)
	wantList(t, f, "pipe", []string{"pipe/f"}, map[string]string{"pipe/p": "named pipe"})
}

func TestSpecialFileInAFilesPlaceDoesNotHangOpen(t *testing.T) {
	f, d, _ := newFolder(t)
	t.Chdir(string(d))
	for _, put := range map[string]func() error{
		"pipe":   func() error { return unix.Mkfifo("f", 0o666) },
		"socket": func() error { _, err := net.ListenUnix("unix", &net.UnixAddr{Name: "f", Net: "unix"}); return err },
	} {
		must(t, d.Write("f", []byte("x")))
		files, _ := list(t, f, "f")
		must(t, os.Remove("f"))
		must(t, put())
		done := make(chan error, 1)
		go func() {
			_, err := f.Open(t.Context(), files["f"])
			done <- err
		}()
		select {
		case err := <-done:
			if !errors.Is(err, watcher.ErrChanged) {
				t.Errorf("Open: %v", err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("Open hangs")
		}
		must(t, os.Remove("f"))
	}
}

func TestNamesThatAreNotUTF8AreProblems(t *testing.T) {
	f, d, _ := newFolder(t)
	if err := d.Write("d/caf\xe9", nil); err != nil {
		t.Skipf("the file system takes no such names: %v", err)
	}
	must(t, d.Write("d/ok", nil))
	must(t, d.Write("\xff/f", nil))
	must(t, d.Write(`back\slash`, nil))
	utf8 := "not valid UTF-8"
	wantList(t, f, "", []string{"d/ok", `back\slash`}, map[string]string{"d/caf\xe9": utf8, "\xff": utf8})
	wantList(t, f, "\xff", nil, map[string]string{"\xff": utf8})
}

func TestUnreadableIsAProblem(t *testing.T) {
	f, d, _ := newFolder(t)
	must(t, os.Chmod(filepath.Dir(string(d)), 0o755)) // the test's own directory is private
	must(t, d.Write("file/f", nil))
	must(t, d.Write("file/ok", nil))
	must(t, d.Write("dir/sub/f", nil))
	must(t, d.Write("search/sub/f", nil))
	must(t, d.Write("target", nil))
	must(t, d.Link("target", "link"))
	must(t, os.Chmod(d.at("file/f"), 0))
	must(t, os.Chmod(d.at("target"), 0))
	must(t, os.Chmod(d.at("dir/sub"), 0o300))
	must(t, os.Chmod(d.at("search/sub"), 0o400))
	t.Cleanup(func() {
		os.Chmod(d.at("dir/sub"), 0o700)
		os.Chmod(d.at("search/sub"), 0o700)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		if os.Getuid() == 0 && !becomeNobody(t) {
			return
		}
		denied := "permission denied"
		wantList(t, f, "", []string{"file/ok"}, map[string]string{
			"file/f": denied, "dir/sub": denied, "search/sub": denied, "target": denied, "link": denied,
		})
	}()
	<-done
}

// becomeNobody has the calling goroutine, which must end soon, access files as
// an ordinary user.
func becomeNobody(t *testing.T) bool {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	if err := setFSUID(65534); err != nil {
		t.Logf("nothing tested: %v", err)
		return false
	}
	return true
}

// A mount on the folder is another directory; when it is gone, all is as before.
func TestMountedOverIsAnotherFolder(t *testing.T) {
	f, d, _ := newFolder(t)
	must(t, d.Write("f", nil))
	if err := mountTmpfs(string(d)); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	for _, name := range []string{"", "f"} {
		for _, err := range f.List(t.Context(), name) {
			if err == nil {
				t.Errorf("List(%q) lists something", name)
			}
		}
	}
	must(t, syscall.Unmount(string(d), 0))
	wantList(t, f, "", []string{"f"}, nil)
}

// A file system that was unmounted and mounted again may be another device.
func TestMountedAgainIsTheSameFolder(t *testing.T) {
	d := disk(t.TempDir())
	if err := mountTmpfs(string(d)); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	defer syscall.Unmount(string(d), 0)
	must(t, d.Write("f", nil))
	f, err := New(string(d), Options{})
	must(t, err)
	defer f.Close()
	wantList(t, f, "", []string{"f"}, nil)
	must(t, syscall.Unmount(string(d), 0)) // nothing of the Folder keeps it busy
	must(t, mountTmpfs(string(d)))
	for _, err := range f.List(t.Context(), "") {
		if err == nil {
			t.Error("an empty file system is listed")
		}
	}
	must(t, d.Write("f", nil))
	wantList(t, f, "", []string{"f"}, nil)
}

func setFSUID(uid int) error { return syscall.Setfsuid(uid) }

func mountTmpfs(path string) error { return syscall.Mount("tmpfs", path, "tmpfs", 0, "") }
