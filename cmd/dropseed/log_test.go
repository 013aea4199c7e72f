package main_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// logKeys are all that stand before values in the log, so that one thing has one
// name in all packages. release and source are names, info_hash is in hex, path is
// of a file, peer an address, err an error.
var logKeys = []string{
	"release", "source", "info_hash", "path", "peer", "err", // of most lines
	"size", "files", "done", "rate", "took", "ends", "why", // publishing
	"missing", "sent", "free", "own", "helping", "refused", // swarms
	"version", "state", "http", "peers", "udp", "url", "domain", "until", "what", // the server
	"rescan", "filesystem", "watched", // watching
	"event", "id", "to", "output", "lines", "most", "dropped", // telling others
	"node", // the DHT
}

func TestLogMessagesAreConstantAndKeysKnown(t *testing.T) {
	t.Parallel()
	files := token.NewFileSet()
	for _, top := range []string{"cmd/dropseed", "publisher", "watcher", "webseed"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if call, ok := n.(*ast.CallExpr); ok {
					checkLogCall(t, files, call)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// checkLogCall checks a call like o.Log.Warn("message", "key", value).
func checkLogCall(t *testing.T, files *token.FileSet, call *ast.CallExpr) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Debug", "Info", "Warn", "Error"}, method.Sel.Name) || len(call.Args) == 0 {
		return
	}
	var on string // the last part of what the method is called on
	switch x := method.X.(type) {
	case *ast.Ident:
		on = x.Name
	case *ast.SelectorExpr:
		on = x.Sel.Name
	}
	if !strings.EqualFold(on, "log") {
		return
	}
	at := files.Position(call.Pos())
	constant := true
	ast.Inspect(call.Args[0], func(n ast.Node) bool { // literals, perhaps several with + between
		switch n.(type) {
		case nil, *ast.BasicLit, *ast.BinaryExpr:
		default:
			constant = false
		}
		return constant
	})
	if !constant {
		t.Errorf("%s: the message is not constant", at)
	}
	for i := 1; i < len(call.Args); i += 2 {
		literal, ok := call.Args[i].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s: a key is not constant", at)
			return
		}
		if key, err := strconv.Unquote(literal.Value); err != nil || !slices.Contains(logKeys, key) {
			t.Errorf("%s: %s is not in logKeys: use another, or add it there", at, literal.Value)
		}
	}
	if len(call.Args)%2 == 0 {
		t.Errorf("%s: a key has no value", at)
	}
}

func TestLogIsOneObjectALineWithoutSecrets(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "a\n\"b\x1b[2J.iso"), 1000)
	s := watching(t, folder)
	s.published("a\n\"b\x1b[2J.iso")
	s.eventually("the bucket's failure is logged", func() error {
		if len(s.logged("level", "WARN")) == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, line := range strings.Split(s.logText(), "\n") {
		var got struct {
			Time       time.Time
			Level, Msg string
			Took       string
		}
		if err := json.Unmarshal([]byte(line), &got); err != nil || got.Time.IsZero() || got.Level == "" || got.Msg == "" {
			t.Errorf("%q: %v", line, err)
		}
		if strings.Contains(line, "secretsecret") {
			t.Errorf("a secret is logged: %s", line)
		}
		if _, err := time.ParseDuration(got.Took); got.Msg == "published" && err != nil {
			t.Errorf("how long it took is %q", got.Took)
		}
	}
}
