package torrentfile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"dropseed/watcher"
)

// NameError says that a path cannot be in a torrent. It will not heal by itself.
type NameError struct {
	Path string
	Err  error
}

func (e *NameError) Error() string { return fmt.Sprintf("the name %q: %v", e.Path, e.Err) }
func (e *NameError) Unwrap() error { return e.Err }

// CheckName returns an error unless name can be one component of a path in a
// torrent: UTF-8 without '/' and NUL, and neither empty nor "." nor "..".
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty")
	case name == "." || name == "..":
		return errors.New("it means another directory")
	case strings.ContainsRune(name, '/'):
		return errors.New("it holds a slash")
	case strings.ContainsRune(name, 0):
		return errors.New("it holds a NUL byte")
	case !utf8.ValidString(name):
		return errors.New("it is not UTF-8")
	}
	return nil
}

// checkTree returns ErrEmpty, a *NameError or another error unless a torrent can
// hold tree, whose files must be sorted.
func checkTree(tree watcher.Tree) error {
	if err := CheckName(tree.Name); err != nil {
		return &NameError{tree.Name, err}
	}
	var size int64
	for i, f := range tree.Files {
		if below, ok := strings.CutPrefix(f.Path, tree.Name+"/"); ok {
			for name := range strings.SplitSeq(below, "/") {
				if err := CheckName(name); err != nil {
					return &NameError{f.Path, err}
				}
			}
		} else if !tree.IsFile() {
			return &NameError{f.Path, fmt.Errorf("it is not below %q", tree.Name)}
		}
		if f.Size < 0 || f.Size > MaxSize-size {
			return fmt.Errorf("%q has %d bytes, and a torrent holds 0 to %d in all", f.Path, f.Size, int64(MaxSize))
		}
		size += f.Size
		if i > 0 {
			if err := checkNeighbours(tree.Files[i-1].Path, f.Path); err != nil {
				return &NameError{f.Path, err}
			}
		}
	}
	if size == 0 {
		return ErrEmpty
	}
	return nil
}

// checkNeighbours sees to it that b sorts after a, and is neither the same file
// nor below it. Since what is below a path directly follows it in order,
// looking at neighbours is enough.
func checkNeighbours(a, b string) error {
	if watcher.ComparePaths(a, b) > 0 {
		return fmt.Errorf("it is listed after %q", a)
	}
	if rest, ok := strings.CutPrefix(b, a); ok {
		if rest == "" {
			return errors.New("it is listed twice")
		}
		if rest[0] == '/' {
			return fmt.Errorf("%q is a file", a)
		}
	}
	return nil
}

// Warnings returns a sentence for each kind of trouble that the names in tree
// make for some of those who download it, and nil if there is none.
func Warnings(tree watcher.Tree) []string {
	kinds := []struct {
		has  func(name string) bool
		what string
	}{
		{windowsRefuses, "cannot be created on Windows"},
		{func(s string) bool { return strings.HasSuffix(s, ".") || strings.HasSuffix(s, " ") },
			"ends with a dot or a space, which Windows drops"},
		{func(s string) bool { return len(s) > 240 }, "is longer than 240 bytes, near the limit of many file systems"},
		{func(s string) bool { return strings.ContainsAny(s, "#?%") },
			"holds '#', '?' or '%', which some clients do not escape when they ask a webseed for it"},
		{func(s string) bool { return !norm.NFC.IsNormalString(s) },
			"is not in Unicode's composed form (NFC), so that it may not be found by what is typed"},
	}
	found := make([]finding, len(kinds)+1)
	clashes := &found[len(kinds)]
	folded := make(map[string]string)
	fold := cases.Fold()
	for path := range prefixes(tree.Files) {
		name := path[strings.LastIndexByte(path, '/')+1:]
		for i, k := range kinds {
			if k.has(name) {
				found[i].add(path)
			}
		}
		key := fold.String(norm.NFC.String(path))
		if other, ok := folded[key]; ok && other != path {
			clashes.add(path)
		}
		folded[key] = path
	}
	var out []string
	for i, k := range kinds {
		out = found[i].appendTo(out, k.what)
	}
	return clashes.appendTo(out, "differs from another only in upper and lower case, so that one replaces the other on Windows and macOS")
}

// prefixes yields every path of the tree, directories included, once.
func prefixes(files []watcher.File) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		prev := ""
		for _, f := range files {
			for i := 0; i <= len(f.Path); i++ {
				if i < len(f.Path) && f.Path[i] != '/' {
					continue
				}
				path := f.Path[:i]
				if rest, ok := strings.CutPrefix(prev, path); ok && strings.HasPrefix(rest, "/") {
					continue
				}
				if !yield(path) {
					return
				}
			}
			prev = f.Path
		}
	}
}

type finding struct {
	count int
	first string
}

func (f *finding) add(path string) {
	if f.count++; f.count == 1 {
		f.first = path
	}
}

func (f *finding) appendTo(out []string, what string) []string {
	switch f.count {
	case 0:
		return out
	case 1:
		return append(out, fmt.Sprintf("the name %q %s", f.first, what))
	}
	return append(out, fmt.Sprintf("the name %q, like %d more, %s", f.first, f.count-1, what))
}

// windowsDevices are reserved with any extension too.
var windowsDevices = []string{
	"CON", "PRN", "AUX", "NUL",
	"COM1", "COM2", "COM3", "COM4", "COM5", "COM6", "COM7", "COM8", "COM9", "COM¹", "COM²", "COM³",
	"LPT1", "LPT2", "LPT3", "LPT4", "LPT5", "LPT6", "LPT7", "LPT8", "LPT9", "LPT¹", "LPT²", "LPT³",
}

func windowsRefuses(name string) bool {
	stem, _, _ := strings.Cut(name, ".")
	if slices.Contains(windowsDevices, strings.ToUpper(strings.TrimRight(stem, " "))) {
		return true
	}
	return strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || strings.ContainsRune(`<>:"|?*\`, r) })
}
