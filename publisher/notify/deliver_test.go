package notify

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReleaseIsToldWithItsFactsSigned(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, to := openCatalog(t, t.TempDir()), &receiver{t: t}
		n := open(t, c, t.TempDir(), to, nil)
		defer run(t, n)()
		r := publish(t, c, "a.iso", "1")
		synctest.Wait()
		time.Sleep(time.Second)
		r2 := publish(t, c, "a.iso", "2")
		synctest.Wait()
		retire(t, c, "a.iso")
		synctest.Wait()

		to.want("", "published a.iso", "retired a.iso", "published a.iso", "retired a.iso")
		all := to.got("")
		first, replaced, second := all[0].msg, all[1].msg, all[2].msg
		d := first.Data
		if d.Source != "src" || d.InfoHash != r.InfoHash.HexString() || d.Size != 3 || d.Files != 1 || !d.CreatedAt.Equal(r.CreatedAt) ||
			d.PageURL != "https://dl.example/a.iso" || d.TorrentURL != "https://dl.example/"+d.InfoHash || !strings.HasSuffix(d.Magnet, "&dn=x") ||
			d.Previous != "" || !first.Timestamp.Equal(r.CreatedAt) {
			t.Errorf("got %s", all[0].body)
		}
		if !strings.Contains(all[0].body, "&dn=x") {
			t.Errorf("the magnet link cannot be read in %s", all[0].body)
		}
		if replaced.Data.InfoHash != d.InfoHash || replaced.Data.ReplacedBy != r2.InfoHash.HexString() {
			t.Errorf("got %s", all[1].body)
		}
		if second.Data.InfoHash != r2.InfoHash.HexString() || second.Data.Previous != d.InfoHash {
			t.Errorf("got %s", all[2].body)
		}
		if all[3].msg.Data.ReplacedBy != "" {
			t.Errorf("got %s", all[3].body)
		}
		ids := map[string]bool{}
		for _, g := range all {
			ids[g.msg.ID] = true
		}
		if len(ids) != 4 {
			t.Errorf("ids are not of one event each: %v", ids)
		}
	})
}

// Whoever does not take an event is tried again, at growing intervals, with the
// same body, and gets all in order.
func TestFailuresAreRetriedInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, to := openCatalog(t, t.TempDir()), &receiver{t: t}
		answers := []int{500, 404, 301, 0} // 0: none in time
		to.answer = func(got) (int, http.Header) {
			if len(answers) == 0 {
				return 200, nil
			}
			a := answers[0]
			answers = answers[1:]
			return a, http.Header{"Location": {"https://elsewhere.example/"}}
		}
		n := open(t, c, t.TempDir(), to, nil)
		defer run(t, n)()
		publish(t, c, "a", "1")
		publish(t, c, "b", "1")
		time.Sleep(5 * time.Minute)
		to.want("a.example", "published a", "published a", "published a", "published a", "published a", "published b")
		to.want("elsewhere.example")
		all := to.got("")
		for i, g := range all[1:5] {
			if g.body != all[0].body {
				t.Errorf("told %s, and then %s", all[0].body, g.body)
			}
			gap := g.at.Sub(all[i].at)
			if i == 3 {
				gap -= 30 * time.Second // for the answer
			}
			if nominal := time.Second << i; gap < nominal/2 || gap > nominal*3/2+time.Millisecond {
				t.Errorf("attempt %d came after %v, want about %v", i+2, gap, nominal)
			}
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, to := openCatalog(t, t.TempDir()), &receiver{t: t}
		to.answer = func(got) (int, http.Header) {
			switch len(to.got("")) {
			case 1:
				return 429, http.Header{"Retry-After": {"600"}}
			case 2:
				return 503, http.Header{"Retry-After": {time.Now().Add(20 * time.Minute).UTC().Format(http.TimeFormat)}}
			}
			return 202, nil
		}
		n := open(t, c, t.TempDir(), to, nil)
		defer run(t, n)()
		publish(t, c, "a", "1")
		time.Sleep(time.Hour)
		publish(t, c, "b", "1")
		time.Sleep(time.Second)
		to.want("", "published a", "published a", "published a", "published b")
		all := to.got("")
		if gap := all[1].at.Sub(all[0].at); gap != 10*time.Minute {
			t.Errorf("came again after %v, asked for 10m", gap)
		}
		if gap := all[2].at.Sub(all[1].at); gap < 20*time.Minute-time.Second || gap > 20*time.Minute {
			t.Errorf("came again after %v, asked for 20m", gap)
		}
	})
}

func TestGoneIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		c, to := openCatalog(t, t.TempDir()), &receiver{t: t}
		to.answer = func(g got) (int, http.Header) {
			if g.host == "gone.example" {
				return 410, nil
			}
			return 200, nil
		}
		change := func(o *Options) { o.URLs = urls("https://gone.example", "https://b.example") }
		n := open(t, c, dir, to, change)
		stop := run(t, n)
		for i := range 3 {
			publish(t, c, fmt.Sprint(i), "1")
			time.Sleep(time.Hour)
		}
		to.want("gone.example", "published 0")
		to.want("b.example", "published 0", "published 1", "published 2")
		stop()
		if left := open(t, c, dir, to, change).queued(); len(left) > 0 {
			t.Errorf("still to be told: %q", texts(left))
		}
	})
}

// An event that a URL chokes on holds up the others a minute, not for days.
func TestOneEventDoesNotHoldUpTheRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, to := openCatalog(t, t.TempDir()), &receiver{t: t}
		began := time.Now()
		to.answer = func(g got) (int, http.Header) {
			if g.msg.Data.Name == "0" && time.Since(began) < 3*time.Hour {
				return 400, nil
			}
			return 200, nil
		}
		n := open(t, c, t.TempDir(), to, nil)
		defer run(t, n)()
		for i := range 4 {
			publish(t, c, fmt.Sprint(i), "1")
		}
		time.Sleep(3 * time.Minute)
		told := texts(slices.DeleteFunc(to.got(""), func(g got) bool { return g.msg.Data.Name == "0" }))
		if !slices.Equal(told, []string{"published 1", "published 2", "published 3"}) {
			t.Errorf("after three minutes, %q was told", told)
		}
		time.Sleep(6 * time.Hour)
		if left := n.queued(); len(left) > 0 {
			t.Errorf("still to be told: %q", texts(left))
		}
		if all := to.got(""); len(all) > 30 {
			t.Errorf("%d requests", len(all))
		}
	})
}

func TestWhatIsNotTakenForDaysIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, to := openCatalog(t, t.TempDir()), &receiver{t: t}
		to.answer = func(g got) (int, http.Header) {
			if g.host == "down.example" {
				return 503, nil
			}
			return 200, nil
		}
		n := open(t, c, t.TempDir(), to, func(o *Options) { o.URLs = urls("https://down.example", "https://up.example") })
		defer run(t, n)()
		publish(t, c, "a", "1")
		time.Sleep(tellFor - time.Hour)
		if left := n.queued(); len(left) != 1 {
			t.Errorf("given up early: %q are left", texts(left))
		}
		time.Sleep(4 * time.Hour)
		if left := n.queued(); len(left) != 0 {
			t.Errorf("not given up: %q", texts(left))
		}
		if tries := len(to.got("down.example")); tries < 50 || tries > 150 {
			t.Errorf("%d tries", tries)
		}
		to.want("up.example", "published a")
	})
}

func TestSlowURLHoldsUpNobody(t *testing.T) {
	t.Parallel()
	c := openCatalog(t, t.TempDir())
	slow, fast := &receiver{t: t, answer: func(got) (int, http.Header) { return 0, nil }}, &receiver{t: t}
	slowServer, fastServer := httptest.NewServer(slow), httptest.NewServer(fast)
	t.Cleanup(slowServer.Close)
	t.Cleanup(fastServer.Close)
	n := open(t, c, t.TempDir(), nil, func(o *Options) { o.URLs = urls(slowServer.URL, fastServer.URL) })
	stop := run(t, n)
	const releases = 50
	for i := range releases {
		publish(t, c, fmt.Sprint(i), "1")
	}
	eventually(t, "the fast one is told everything", func() bool { return len(fast.got("")) == releases && len(slow.got("")) == 1 })
	for i, g := range fast.got("") {
		if g.msg.Data.Name != fmt.Sprint(i) {
			t.Fatalf("told of %q as number %d", g.msg.Data.Name, i)
		}
	}
	began := time.Now()
	stop()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v to end", took)
	}
	eventually(t, "what was told is noted", func() bool { return len(n.queued()) == releases })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain that %s", what)
		}
	}
}

func TestOldestAreDroppedWhenTooManyWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir, up := t.TempDir(), false
		c, to := openCatalog(t, t.TempDir()), &receiver{t: t}
		to.answer = func(got) (int, http.Header) {
			if !up {
				return 500, nil
			}
			return 200, nil
		}
		change := func(o *Options) { o.Queue = 5 }
		n := open(t, c, dir, to, change)
		stop := run(t, n)
		for i := range 12 {
			publish(t, c, fmt.Sprint(i), "1")
			synctest.Wait()
		}
		want := []string{"published 7", "published 8", "published 9", "published 10", "published 11"}
		if left := texts(n.queued()); !slices.Equal(left, want) {
			t.Errorf("%q are left, want %q", left, want)
		}
		stop()
		n = open(t, c, dir, to, change)
		if left := texts(n.queued()); !slices.Equal(left, want) {
			t.Errorf("after a restart, %q are left, want %q", left, want)
		}
		up = true
		before := len(to.got(""))
		defer run(t, n)()
		synctest.Wait()
		if told := texts(to.got("")[before:]); !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

func TestRetryAfterIsRead(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "0": 0, "17": 17 * time.Second, "-1": 0, "soon": 0, "99999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	t.Parallel()
	o := Options{Secret: testSecret}
	for _, text := range []string{fmt.Sprint(o.Secret), fmt.Sprintf("%+v %#v %s %q", o, o.Secret, o.Secret, o.Secret), o.Secret.LogValue().String()} {
		if strings.Contains(text, testSecret) || !strings.Contains(text, "[redacted]") {
			t.Errorf("printed %s", text)
		}
	}
}
