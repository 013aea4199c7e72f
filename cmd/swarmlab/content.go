//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// content is what is distributed: a file or a directory of files in a folder.
type content struct {
	folder string
	name   string
	size   byteSize
	files  []string // paths below the folder, with slashes; one of a single file is name
	sums   map[string][sha256.Size]byte
}

// newContent writes content without any pattern to an empty folder, the same
// every time. Files of a directory differ in size by up to a factor of 3.
func newContent(folder string, size byteSize, files int) (content, error) {
	c := content{folder: folder, name: "content.bin", size: size, sums: map[string][sha256.Size]byte{}}
	noise := rand.NewChaCha8([32]byte{'s', 'w', 'a', 'r', 'm', 'l', 'a', 'b'})
	if files == 0 {
		return c, c.write(noise, c.name, int64(size))
	}
	c.name = "content"
	numbers := rand.New(rand.NewPCG(1, 2))
	rest := int64(size)
	for i := range files {
		n := rest
		if left := int64(files - i); left > 1 {
			average := rest / left
			n = average/2 + numbers.Int64N(average+1)
		}
		rest -= n
		if err := c.write(noise, fmt.Sprintf("content/part-%02d/file-%05d.bin", i/100, i), n); err != nil {
			return c, err
		}
	}
	return c, nil
}

// isFile reports whether the content is a file rather than a directory.
func (c content) isFile() bool { return c.files[0] == c.name }

func (c *content) write(from io.Reader, path string, size int64) error {
	full := filepath.Join(c.folder, filepath.FromSlash(path))
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	f, err := os.Create(full)
	if err != nil {
		return err
	}
	defer f.Close()
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, hash), from, size); err != nil {
		return fmt.Errorf("write %s: %w", full, err)
	}
	c.files = append(c.files, path)
	c.sums[path] = [sha256.Size]byte(hash.Sum(nil))
	return f.Close()
}

// verify returns an error unless folder holds the content, byte for byte.
func (c content) verify(folder string) error {
	hash := sha256.New()
	buffer := make([]byte, 1<<20)
	for _, path := range c.files {
		hash.Reset()
		f, err := os.Open(filepath.Join(folder, filepath.FromSlash(path)))
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{hash}, struct{ io.Reader }{f}, buffer)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		if want := c.sums[path]; !bytes.Equal(hash.Sum(nil), want[:]) {
			return fmt.Errorf("%s has SHA-256 %s, the source %s", f.Name(), hex.EncodeToString(hash.Sum(nil)), hex.EncodeToString(want[:]))
		}
	}
	return nil
}
