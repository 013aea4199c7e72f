package notify

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestFirstStartTellsOfNothingOld(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	publish(t, c, "a", "1")
	publish(t, c, "b", "1")
	retire(t, c, "b")
	if left := open(t, c, dir, nil, nil).queued(); len(left) != 0 {
		t.Errorf("the first start tells of %q", texts(left))
	}
	// Nor does it when it was killed right then.
	if left := open(t, c, dir, nil, nil).queued(); len(left) != 0 {
		t.Errorf("the second start tells of %q", texts(left))
	}
	publish(t, c, "c", "1")
	retire(t, c, "a")
	want := []string{"retired a", "published c"}
	if left := texts(open(t, c, dir, nil, nil).queued()); !slices.Equal(left, want) {
		t.Errorf("it tells of %q, want %q", left, want)
	}

	existing := func(o *Options) { o.Existing = true }
	dir = t.TempDir()
	if left := texts(open(t, c, dir, nil, existing).queued()); !slices.Equal(left, []string{"published c"}) {
		t.Errorf("with existing, the first start tells of %q", left)
	}
	if left := texts(open(t, c, dir, nil, existing).queued()); !slices.Equal(left, []string{"published c"}) {
		t.Errorf("with existing, the second start tells of %q", left)
	}
}

// What happened while nobody was told is told at the next start, with the ids
// that it would have had.
func TestMissedEventsAreToldAtTheNextStart(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	publish(t, c, "stays", "1")
	publish(t, c, "goes", "1")
	publish(t, c, "changes", "1")
	publish(t, c, "blinks", "1")
	open(t, c, dir, nil, nil)

	retire(t, c, "goes")
	publish(t, c, "changes", "2")
	retire(t, c, "blinks")
	publish(t, c, "blinks", "1")
	publish(t, c, "new", "1")
	publish(t, c, "short", "1") // came and went between two looks
	retire(t, c, "short")
	publish(t, c, "stays", "1") // its files' versions were written down anew

	want := []string{
		"retired goes", "retired changes", "published changes", "retired blinks", "published blinks", "published new", "published short", "retired short",
	}
	n := open(t, c, dir, nil, nil)
	left := n.queued()
	if !slices.Equal(texts(left), want) {
		t.Fatalf("it tells of\n%q, want\n%q", texts(left), want)
	}
	if left[1].ReplacedBy != left[2].InfoHash || left[2].Previous != left[1].InfoHash || left[2].InfoHash != hashOf("changes", "2").HexString() {
		t.Errorf("replaced: %+v, %+v", left[1], left[2])
	}
	if left[3].CreatedAt.Equal(left[4].CreatedAt) || left[0].Previous != "" || left[4].Previous != "" {
		t.Errorf("back again: %+v, %+v", left[3], left[4])
	}
	ids := map[string]bool{}
	for _, e := range left {
		ids[e.ID] = true
	}
	if len(ids) != len(want) {
		t.Errorf("%d ids for %d events", len(ids), len(want))
	}
	again := open(t, c, dir, nil, nil).queued()
	for i, e := range again {
		if e.ID != left[i].ID {
			t.Errorf("%v had the id %s, and now %s", e, left[i].ID, e.ID)
		}
	}
}

// A server that tells nobody for a while does not tell of all of it later.
func TestWhatIsOldIsNotTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, dir := openCatalog(t, t.TempDir()), t.TempDir()
		publish(t, c, "goes", "1")
		open(t, c, dir, nil, nil)
		publish(t, c, "old", "1")
		retire(t, c, "goes")
		time.Sleep(tellFor + time.Hour)
		publish(t, c, "new", "1")
		for range 2 {
			if left := texts(open(t, c, dir, nil, nil).queued()); !slices.Equal(left, []string{"published new"}) {
				t.Errorf("it tells of %q", left)
			}
		}
		retire(t, c, "old")
		if left := texts(open(t, c, dir, nil, nil).queued()); !slices.Equal(left, []string{"published new", "retired old"}) {
			t.Errorf("it tells of %q", left)
		}
	})
}

func TestForgottenReleaseIsRetired(t *testing.T) {
	t.Parallel()
	state, dir := t.TempDir(), t.TempDir()
	c := openCatalog(t, state)
	r := publish(t, c, "a", "1")
	open(t, c, dir, nil, nil)
	c.Close()
	if err := os.Remove(filepath.Join(state, "releases", r.InfoHash.HexString()+".json")); err != nil {
		t.Fatal(err)
	}
	left := open(t, openCatalog(t, state), dir, nil, nil).queued()
	if !slices.Equal(texts(left), []string{"retired a"}) || left[0].InfoHash != r.InfoHash.HexString() || left[0].Size != 3 {
		t.Errorf("it tells of %q", texts(left))
	}
}

func TestOnlyChosenEventsAreTold(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	only := func(o *Options) { o.Events = []Type{Published} }
	open(t, c, dir, nil, only)
	publish(t, c, "a", "1")
	retire(t, c, "a")
	publish(t, c, "a", "2")
	if left := texts(open(t, c, dir, nil, only).queued()); !slices.Equal(left, []string{"published a", "published a"}) {
		t.Errorf("it tells of %q", left)
	}
}

func TestNewURLIsNotToldOfTheQueue(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	open(t, c, dir, nil, nil)
	publish(t, c, "a", "1")
	open(t, c, dir, nil, nil)
	if left := open(t, c, dir, nil, func(o *Options) { o.URLs = urls("https://other.example") }).queued(); len(left) != 0 {
		t.Errorf("another URL is told of %q", texts(left))
	}
	if left := open(t, c, dir, nil, nil).queued(); len(left) != 0 {
		t.Errorf("it went, and came back to %q", texts(left))
	}
}

// The journal may end anywhere when the process or the machine does: all that
// happened is in the queue at the next start or was told, with the same ids, and
// nothing else.
func TestJournalMayEndAnywhere(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	publish(t, c, "old", "1")
	open(t, c, dir, nil, nil)
	base, err := os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	publish(t, c, "a", "1")
	publish(t, c, "a", "2")
	retire(t, c, "old")
	publish(t, c, "b", "1")
	n := open(t, c, dir, nil, nil)
	want, live := map[string]string{}, []string{}
	for _, e := range n.queued() {
		want[e.ID] = e.String()
		if r, ok := c.Latest(e.Name); ok && r.InfoHash.HexString() == e.InfoHash {
			live = append(live, e.ID)
		}
	}
	if len(want) != 5 {
		t.Fatalf("it tells of %v", want)
	}
	first := n.queued()[0].ID
	n.settle(done{To: n.targets[0].key, IDs: []string{first}})
	full, err := os.ReadFile(filepath.Join(dir, "journal.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for end := len(base); end <= len(full); end++ {
		if full[end-1] != '\n' && (end == len(full) || full[end] != '\n') && full[end-2] != '\n' && end%101 != 0 {
			continue // it is enough to cut around the ends of lines, and somewhere within
		}
		for _, tail := range []string{"", "\x00\x00\x00"} {
			cut := t.TempDir()
			path := filepath.Join(cut, "journal.jsonl")
			if err := os.WriteFile(path, append(bytes.Clone(full[:end]), tail...), 0o644); err != nil {
				t.Fatal(err)
			}
			have := map[string]string{}
			for _, e := range open(t, c, cut, nil, nil).queued() {
				have[e.ID] = e.String()
			}
			wanted := maps.Clone(want)
			if end == len(full) {
				delete(wanted, first)
			}
			if !maps.Equal(have, wanted) {
				t.Fatalf("cut at %d of %d: %v, want %v", end, len(full), have, wanted)
			}
			// It goes on from there.
			if again := open(t, c, cut, nil, nil).queued(); len(again) != len(wanted) {
				t.Fatalf("cut at %d: at the start after next, %q", end, texts(again))
			}
		}
	}
	// A line that is damaged costs no more than itself.
	lines := strings.SplitAfter(string(full), "\n")
	for i := range lines {
		damaged := slices.Clone(lines)
		damaged[i] = "{\"live\":{\"info_ha\n"
		cut := t.TempDir()
		if err := os.WriteFile(filepath.Join(cut, "journal.jsonl"), []byte(strings.Join(damaged, "")), 0o644); err != nil {
			t.Fatal(err)
		}
		have := map[string]string{}
		for _, e := range open(t, c, cut, nil, nil).queued() {
			have[e.ID] = e.String()
		}
		for _, id := range live {
			if have[id] == "" {
				t.Errorf("without line %d, it is lost that %s", i, want[id])
			}
		}
	}
}

// A crash may leave any length of zeros where the last lines should be.
func TestJournalsLongTailIsCutOff(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	open(t, c, dir, nil, nil)
	publish(t, c, "a", "1")
	n := open(t, c, dir, nil, nil)
	f, err := os.OpenFile(n.journal.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, lineMost+5)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	n = open(t, c, dir, nil, nil)
	n.settle(done{To: n.targets[0].key, IDs: []string{n.queued()[0].ID}})
	if left := open(t, c, dir, nil, nil).queued(); len(left) != 0 {
		t.Errorf("%q is told again", texts(left))
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journal.jsonl"), []byte("{\"format\":2}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Open(Options{Catalog: openCatalog(t, t.TempDir()), Folder: dir, URLs: urls("https://a.example"), Secret: testSecret})
	if err == nil || !strings.Contains(err.Error(), "format is 2") {
		t.Errorf("got %v", err)
	}
}

// A journal in use for long stays small, and says the same after every start.
func TestJournalStaysSmall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, dir := openCatalog(t, t.TempDir()), t.TempDir()
		to := &receiver{t: t}
		rng := rand.New(rand.NewPCG(1, 2))
		to.answer = func(got) (int, http.Header) {
			if len(to.got(""))%3 == 0 {
				return 500, nil
			}
			return 200, nil
		}
		n := open(t, c, dir, to, nil)
		n.slack = 30
		stop := run(t, n)
		most := 0
		for i := range 150 {
			if r, ok := c.Latest(fmt.Sprint(i % 7)); ok && rng.IntN(4) == 0 {
				if err := c.Retire(r.InfoHash); err != nil {
					t.Fatal(err)
				}
			} else {
				publish(t, c, fmt.Sprint(i%7), fmt.Sprint(i))
			}
			time.Sleep(100 * time.Millisecond)
			if i%10 != 0 {
				continue
			}
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			data, err := os.ReadFile(n.journal.path)
			if err != nil {
				t.Fatal(err)
			}
			most = max(most, bytes.Count(data, []byte("\n")))
		}
		time.Sleep(24 * time.Hour)
		stop()
		if most > 60 {
			t.Errorf("the journal had %d lines", most)
		}
		if left := open(t, c, dir, to, nil).queued(); len(left) > 0 {
			t.Errorf("after a restart, %q is told", texts(left))
		}
		ids := map[string]string{}
		for _, g := range to.got("") {
			if old := ids[g.msg.ID]; old != "" && old != g.body {
				t.Errorf("%s is the id of %s and of %s", g.msg.ID, old, g.body)
			}
			ids[g.msg.ID] = g.body
		}
		all, _, _ := c.Since(0)
		for _, r := range all {
			for _, typ := range []Type{Published, Retired} {
				f := factsOf(r)
				if told := ids[newEvent(typ, time.Time{}, f).ID] != ""; told == (typ == Retired && r.Live()) {
					t.Errorf("that %s was %s: told is %v", r.Name, typ, told)
				}
			}
		}
	})
}

// Changes that outrun the Notifier are found all the same.
func TestManyChangesAtOnce(t *testing.T) {
	t.Parallel()
	c := openCatalog(t, t.TempDir())
	publish(t, c, "old", "1")
	publish(t, c, "goes", "1")
	n := open(t, c, t.TempDir(), nil, nil)
	publish(t, c, "new", "1")
	retire(t, c, "goes")
	n.point = 0 // as if it was too long ago
	for range 2 {
		if err := n.look(); err != nil {
			t.Fatal(err)
		}
	}
	if left := texts(n.queued()); !slices.Equal(left, []string{"retired goes", "published new"}) {
		t.Errorf("it tells of %q", left)
	}
}

func TestManyDeliveriesAreNotedAtOnce(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	n := open(t, c, dir, nil, nil)
	publish(t, c, "a", "1")
	if err := n.look(); err != nil {
		t.Fatal(err)
	}
	ids := make([]string, queueMost)
	for i := range ids {
		ids[i] = eventID(fmt.Sprint(i))
	}
	ids[queueMost/2] = n.queued()[0].ID
	n.slack = 10_000
	n.settle(done{To: n.targets[0].key, IDs: ids})
	if left := open(t, c, dir, nil, nil).queued(); len(left) != 0 {
		t.Errorf("after a restart, %q is told", texts(left))
	}
}

// Nothing is told, and nothing forgotten, while the journal cannot be written.
func TestFullDiskLosesNothing(t *testing.T) {
	t.Parallel()
	c, dir := openCatalog(t, t.TempDir()), t.TempDir()
	n := open(t, c, dir, nil, nil)
	path := n.journal.path
	n.journal.path = filepath.Join(dir, "missing", "journal.jsonl")
	publish(t, c, "a", "1")
	if err := n.look(); err == nil {
		t.Error("it is written down nowhere")
	}
	if left := n.queued(); len(left) != 0 {
		t.Errorf("it tells of %q", texts(left))
	}
	publish(t, c, "b", "1")
	n.journal.path = path
	if err := n.look(); err != nil {
		t.Fatal(err)
	}
	if left := texts(n.queued()); !slices.Equal(left, []string{"published a", "published b"}) {
		t.Errorf("it tells of %q", left)
	}
}

// Nor is it tried, and complained of, all the time.
func TestFullDiskIsComplainedOfSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		n := open(t, openCatalog(t, t.TempDir()), t.TempDir(), nil, func(o *Options) {
			o.Trees = func() []Tree { return []Tree{{Source: "src", Name: "a", Reason: "disk"}} }
			o.Log = slog.New(slog.NewTextHandler(&log, nil))
		})
		path := n.journal.path
		for _, what := range []string{"it cannot be appended to", "it cannot be made small"} {
			log.Reset()
			if n.journal.path = filepath.Join(filepath.Dir(path), "missing", "journal.jsonl"); what == "it cannot be made small" {
				n.told[treeKey{"src", "a"}] = told{digest("disk"), time.Now()}
				n.journal.lines, n.slack = 1000, 0
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			n.results = make(chan done)
			if err := n.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			if lines := strings.Count(log.String(), "\n"); lines < 1 || lines > 6 {
				t.Errorf("%s: it is complained of %d times in five minutes", what, lines)
			}
		}
	})
}
