package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var deployed = filepath.Join("..", "..", "deploy")

// promtool returns the path of Prometheus's tool.
func promtool(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("promtool"); err == nil {
		return path
	}
	path, err := filepath.Abs(tool(t, "promtool"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAlertsAreValidAndFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(deployed, "prometheus")
	for _, args := range [][]string{{"check", "config", "prometheus.yaml"}, {"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.Command(promtool(t), args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v\n%s", cmd, err, out)
		}
	}
}

// samples are the lines of /metrics: values by the name with its labels, as it
// stands there.
type samples map[string]float64

func (s *server) samples() (samples, []byte) {
	s.t.Helper()
	status, body := s.get(s.url("/metrics"))
	if status != http.StatusOK {
		s.t.Fatalf("GET /metrics: status %d", status)
	}
	all := make(samples)
	for line := range strings.Lines(string(body)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if err != nil {
			s.t.Fatalf("%q: %v", line, err)
		}
		all[line[:i]] = v
	}
	return all, body
}

// names are the names of the metrics, without labels.
func (s samples) names() map[string]bool {
	names := make(map[string]bool)
	for sample := range maps.Keys(s) {
		name, _, _ := strings.Cut(sample, "{")
		names[name] = true
	}
	return names
}

// used returns the names of metrics in the expressions of alerts and dashboard.
func used(t *testing.T) map[string][]string {
	t.Helper()
	alerts, err := os.ReadFile(filepath.Join(deployed, "prometheus", "alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dashboard, err := os.ReadFile(filepath.Join(deployed, "grafana", "dropseed.json"))
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string][]string)
	note := func(where, expr string) {
		for _, name := range regexp.MustCompile(`\b(?:dropseed|process|go)_[a-z0-9_]+\b`).FindAllString(expr, -1) {
			names[name] = append(names[name], where)
		}
	}
	for _, rule := range strings.Split(string(alerts), "- alert: ")[1:] {
		name, rest, _ := strings.Cut(rule, "\n")
		expr, _, _ := strings.Cut(rest, "labels:")
		note(name, expr)
	}
	for _, expr := range expressions(t, dashboard) {
		note("the dashboard", expr)
	}
	return names
}

// expressions returns those of a dashboard's panels and variables.
func expressions(t *testing.T, dashboard []byte) []string {
	t.Helper()
	var d struct {
		SchemaVersion int `json:"schemaVersion"`
		Templating    struct {
			List []struct{ Name, Definition string }
		}
		Panels []struct {
			ID         int
			Title      string
			Type       string
			Datasource struct{ UID string }
			GridPos    struct{ X, Y, W, H int }
			Targets    []struct {
				Expr       string
				Datasource struct{ UID string }
			}
		}
	}
	if err := json.Unmarshal(dashboard, &d); err != nil {
		t.Fatalf("the dashboard: %v", err)
	}
	if d.SchemaVersion < 36 {
		t.Errorf("the dashboard's schema %d is older than data sources by uid", d.SchemaVersion)
	}
	var all []string
	for _, v := range d.Templating.List {
		all = append(all, v.Definition)
	}
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("the panel %q lies on %q, or beyond the edge", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("the panel %q asks for nothing, or not the data source that was chosen", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, target.Expr)
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("the panel %q does not ask the data source that was chosen", p.Title)
			}
		}
	}
	return all
}

// watching starts a server with a source of each kind, of which the bucket's
// server does not answer, and everything else that has metrics.
func watching(t *testing.T, folder string) *server {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "dropseed.yaml")
	text := fmt.Sprintf(`
state: %q
watch: {settle: 300ms, rescan: 1s}
cache: {disk: 64MiB, folder: %q}
debug: {listen: 127.0.0.1:0}
notify: {command: ["true"]}
sources:
- path: %q
- type: bucket
  bucket: {name: gone, endpoint: "http://%s", access_key: k, secret_key: secretsecret}
`, filepath.Join(dir, "state"), filepath.Join(dir, "cache"), folder, freeAddress(t))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return serve(t, "", "--config", config)
}

func TestMetricsAreWhatAlertsAndDashboardAskFor(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	drop(t, filepath.Join(folder, "a.iso"), 5<<20)
	s := watching(t, folder)
	rel := s.published("a.iso")[0]
	source := filepath.Base(folder)

	s.get(s.url("/files/a.iso"))
	s.get(s.url("/files/missing"))
	if _, err := exec.LookPath("aria2c"); err == nil {
		aria2(t, s.torrents([]release{rel}, "url-list")...)
	}
	s.eventually("the metrics agree with what happened and with the API", func() error {
		got, _ := s.samples()
		all, err := s.releases()
		if err != nil {
			return err
		}
		sent := all["a.iso"].Sent
		want := samples{
			`dropseed_catalog_releases{state="live"}`:                                 1,
			`dropseed_catalog_bytes`:                                                  float64(rel.Size),
			`dropseed_hashed_trees_total{source="` + source + `"}`:                    1,
			`dropseed_hashed_bytes_total{source="` + source + `"}`:                    float64(rel.Size),
			`dropseed_sent_bytes_total{kind="peers"}`:                                 float64(sent.Peers),
			`dropseed_sent_bytes_total{kind="webseed"}`:                               float64(sent.Webseed),
			`dropseed_sent_bytes_total{kind="direct"}`:                                float64(rel.Size),
			`dropseed_copies`:                                                         float64(sent.Peers+sent.Webseed+sent.Direct) / float64(rel.Size),
			`dropseed_release_copies_max`:                                             float64(sent.Peers+sent.Webseed) / float64(rel.Size),
			`dropseed_content_requests_total{kind="direct",result="served"}`:          1,
			`dropseed_content_requests_total{kind="direct",result="not_found"}`:       1,
			`dropseed_pending_trees{state="failed"}`:                                  0,
			`dropseed_source_listings_total{source="gone"}`:                           0,
			`dropseed_source_last_listing_timestamp_seconds{source="gone"}`:           0,
			`dropseed_publish_failures_total{reason="error",source="` + source + `"}`: 0,
		}
		for name, v := range want {
			if got[name] != v {
				return fmt.Errorf("%s is %v, want %v", name, got[name], v)
			}
		}
		for _, name := range []string{
			`dropseed_source_listing_failures_total{source="gone"}`, `dropseed_s3_failures_total{source="gone"}`,
			`dropseed_source_listings_total{source="` + source + `"}`, `dropseed_hashing_seconds_total{source="` + source + `"}`,
		} {
			if got[name] <= 0 {
				return fmt.Errorf("%s is %v", name, got[name])
			}
		}
		if sent.Peers > 0 && (got[`dropseed_tracker_announces_total{event="started",family="4",protocol="http"}`] < 1 ||
			got[`dropseed_peer_connections_total{direction="incoming"}`]+got[`dropseed_peer_connections_total{direction="outgoing"}`] < 1) {
			return errors.New("a peer came that was not counted")
		}
		return nil
	})

	exposed, body := s.samples()
	asked, there := used(t), exposed.names()
	for name, where := range asked {
		if !there[name] {
			t.Errorf("%s asks for %s, which is not exposed", where[0], name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(there)) {
		if strings.HasPrefix(name, "dropseed_") && asked[name] == nil {
			t.Errorf("neither alerts nor dashboard know %s", name)
		}
	}
	check := exec.Command(promtool(t), "check", "metrics")
	check.Stdin = bytes.NewReader(body)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %v\n%s", check, err, out)
	}
}

func TestProfilesAreServedOnRequestOnly(t *testing.T) {
	t.Parallel()
	s := watching(t, t.TempDir())
	var debug string
	s.eventually("the log says where profiles are", func() error {
		lines := s.logged("msg", "profiles are served")
		if len(lines) == 0 {
			return errors.New("it does not")
		}
		debug = lines[0]["url"].(string)
		return nil
	})
	for _, path := range []string{"", "heap", "goroutine?debug=1", "cmdline", "symbol", "profile?seconds=1"} {
		if status, body := s.get(debug + path); status != http.StatusOK || len(body) == 0 {
			t.Errorf("GET %s%s: status %d, %d bytes", debug, path, status, len(body))
		}
	}
	if status, _ := s.get(strings.TrimSuffix(debug, "/debug/pprof/") + "/metrics"); status != http.StatusNotFound {
		t.Errorf("the listener of profiles answers something else: status %d", status)
	}
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars"} {
		if status, _ := s.get(s.url(path)); status != http.StatusNotFound {
			t.Errorf("the public listener answers %s: status %d", path, status)
		}
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
