package torrentfile

import (
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"dropseed/watcher"
)

// BenchmarkBuild hashes a file in the page cache. Compare its MB/s with the
// number of cores times those of BenchmarkSHA1.
func BenchmarkBuild(b *testing.B) {
	const size = 512 << 20
	dir := b.TempDir()
	content := randomBytes(1, 1<<20)
	f, err := os.Create(filepath.Join(dir, "big"))
	if err != nil {
		b.Fatal(err)
	}
	for range size / len(content) {
		if _, err := f.Write(content); err != nil {
			b.Fatal(err)
		}
	}
	f.Close()
	tree := watcher.Tree{Name: "big", Files: []watcher.File{{Path: "big", Size: size}}}
	for _, pieceLength := range []int64{16 << 10, 256 << 10, 16 << 20} {
		for _, workers := range []int{1, 0} {
			b.Run(fmt.Sprintf("piece=%dKiB/workers=%d", pieceLength>>10, workers), func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					mustBuild(b, tree, folder(dir), Options{PieceLength: pieceLength, Workers: workers})
				}
			})
			b.Run(fmt.Sprintf("piece=%dKiB/workers=%d/sha256", pieceLength>>10, workers), func(b *testing.B) {
				b.SetBytes(size)
				for b.Loop() {
					mustBuild(b, tree, folder(dir), Options{PieceLength: pieceLength, Workers: workers, SHA256: true})
				}
			})
		}
	}
}

func BenchmarkSHA1(b *testing.B) {
	buf := make([]byte, 16<<10)
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		sha1.Sum(buf)
	}
}

// BenchmarkBuildManyFiles makes the torrent of 50,000 small files.
func BenchmarkBuildManyFiles(b *testing.B) {
	dir := b.TempDir()
	tree := watcher.Tree{Name: "many"}
	for i := range 50_000 {
		path := fmt.Sprintf("many/%03d/%03d.bin", i/250, i%250)
		if i%250 == 0 {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, path), make([]byte, 1000), 0o644); err != nil {
			b.Fatal(err)
		}
		tree.Files = append(tree.Files, watcher.File{Path: path, Size: 1000})
	}
	b.ResetTimer()
	for b.Loop() {
		mustBuild(b, tree, folder(dir), Options{})
	}
}
