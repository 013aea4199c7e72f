package main_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "dropseed"

// mayImport is the layout: which of our packages each may import. Data flows
// down the list, imports point up. nil is none.
var mayImport = map[string][]string{
	"watcher":                 nil,
	"watcher/folder":          {"watcher"},
	"watcher/bucket":          {"watcher"},
	"watcher/cached":          {"watcher"},
	"watcher/watchertest":     {"watcher"},
	"publisher/torrentfile":   {"watcher"},
	"publisher/catalog":       {"watcher"},
	"publisher":               {"publisher/torrentfile", "publisher/catalog", "watcher"},
	"publisher/budget":        nil,
	"publisher/tracker":       {"publisher/tracker/batch"},
	"publisher/tracker/batch": nil,
	"publisher/dht":           nil,
	"publisher/peerwire":      nil,
	"publisher/seeder":        {"publisher/seeder/offer", "publisher/peerwire", "publisher/catalog", "watcher"},
	"publisher/seeder/offer":  nil,
	"publisher/feed":          {"publisher/catalog"},
	"publisher/notify":        {"publisher/catalog"},
	"publisher/history":       nil,
	"webseed":                 {"publisher/catalog", "watcher"},
	"webseed/site":            {"publisher/catalog", "publisher/feed", "publisher/history", "watcher", "webseed/access", "webseed/site/openapi"},
	"webseed/site/openapi":    nil,
	"webseed/site/contract":   nil,
	"webseed/access":          {"webseed/reload"},
	"webseed/reload":          nil,
	"configs":                 nil,
	"cmd/dropseed":            {"*"},
	"cmd/dropseed/status":     {"cmd/dropseed/mute"},
	"cmd/dropseed/mute":       nil,
	"cmd/swarmlab":            {"cmd/swarmlab/sim", "publisher/torrentfile", "watcher", "watcher/folder"},
	"cmd/swarmlab/sim":        {"publisher/seeder/offer"},
	"cmd/trackerload":         {"publisher/tracker", "publisher/tracker/batch"},
}

// confined are the libraries with one place, as prefixes of import paths: they
// may be imported by these packages and what is below them.
var confined = map[string][]string{
	"github.com/anacrolix/torrent":        {"publisher", "webseed", "cmd"},
	"github.com/anacrolix/dht":            {"publisher/dht"},
	"github.com/anacrolix/log":            {"publisher/dht"},
	"github.com/fsnotify/fsnotify":        {"watcher/folder"},
	"github.com/minio/minio-go":           {"watcher/bucket"},
	"github.com/spf13/viper":              {"configs"},
	"go.yaml.in/yaml":                     {"configs", "webseed/site/openapi"},
	"github.com/getkin/kin-openapi":       {"webseed/site/contract"},
	"github.com/spf13/pflag":              {"configs", "cmd"},
	"github.com/spf13/cobra":              {"cmd"},
	"github.com/cheggaaa/pb":              {"cmd"},
	"github.com/charmbracelet":            {"cmd/dropseed"},
	"golang.org/x/net":                    {"publisher/tracker"},
	"github.com/klauspost/compress":       {"webseed/site"},
	"github.com/coder/websocket":          {"publisher/tracker"},
	"golang.org/x/crypto/acme":            {"cmd"},
	"golang.org/x/crypto/bcrypt":          {"webseed/access"},
	"github.com/caddyserver/certmagic":    {"cmd"},
	"github.com/microcosm-cc/bluemonday":  {"webseed/site"},
	"github.com/yuin/goldmark":            {"webseed/site"},
	"rsc.io/qr":                           {"webseed/site"},
	"golang.org/x/time":                   {""},
	"golang.org/x/sync":                   {""},
	"golang.org/x/sys":                    {""},
	"golang.org/x/text":                   {""},
	"golang.org/x/term":                   {"cmd"},
	"github.com/dustin/go-humanize":       {""},
	"github.com/prometheus/client_golang": {""},
	"github.com/cenkalti/backoff":         {""},

	"github.com/standard-webhooks/standard-webhooks": {"publisher/notify"},
}

// Of anacrolix/torrent, cmd may know the type of an info-hash, and nobody may
// import the client.
const (
	torrentClient = "github.com/anacrolix/torrent"
	infohashType  = "github.com/anacrolix/torrent/types/infohash"
)

type listedPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestImportsFollowTheLayout(t *testing.T) {
	for _, p := range listPackages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s is not in the table: say what it may import", name)
			continue
		}
		for _, imported := range p.Imports {
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				if !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
					t.Errorf("%s must not import %s", name, ours)
				}
				if ours == "configs" && !strings.HasPrefix(name, "cmd/") {
					t.Errorf("%s must not import configs: give it Options", name)
				}
			} else if err := checkLibrary(name, imported); err != nil {
				t.Error(err)
			}
		}
		if slices.Contains(slices.Concat(p.Imports, p.TestImports, p.XTestImports), torrentClient) {
			t.Errorf("%s must not import the client of anacrolix/torrent, not even in tests", name)
		}
	}
}

// checkLibrary says why the package called name must not import the library.
func checkLibrary(name, imported string) error {
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return nil // the standard library
	}
	for prefix, places := range confined {
		if imported != prefix && !strings.HasPrefix(imported, prefix+"/") {
			continue
		}
		if !slices.ContainsFunc(places, func(place string) bool {
			return place == "" || name == place || strings.HasPrefix(name, place+"/")
		}) {
			return fmt.Errorf("%s must not import %s: it belongs in %v", name, imported, places)
		}
		if prefix == torrentClient && strings.HasPrefix(name, "cmd/") && imported != infohashType {
			return fmt.Errorf("%s must not import %s: of that module, only %s", name, imported, infohashType)
		}
		return nil
	}
	return fmt.Errorf("%s imports %s, which is not in the table: say where that library belongs", name, imported)
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	var packages []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
