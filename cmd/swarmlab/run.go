//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// pollEvery is how often the run looks who is done. When that was, is told by
// the time of the file that says so, so this costs no precision.
const pollEvery = 20 * time.Millisecond

// pause is how long the crowd seeds before the late one comes, so that all
// have told the tracker.
const pause = 2 * time.Second

// plan is a run to be.
type plan struct {
	scenario scenario
	origin   origin
	client   string   // a kind of client, or mixed
	kinds    []client // each one's
	webseed  bool
	run      int // from 1
}

// member is one client of a run.
type member struct {
	download
	kind    client
	process *process
	start   time.Time // zero until it was let go
	done    time.Time // zero until it has the content
	killed  bool      // half way
}

// run is a run under way.
type run struct {
	*lab
	plan
	content content
	origin  host
	offer   *offer
	members []*member
	began   time.Time
}

// measure runs p in a new lab. The result holds what was seen even if there
// is an error.
func (m *matrix) measure(ctx context.Context, p plan) (res result, err error) {
	s := p.scenario
	res = result{
		Scenario: s.name, Origin: p.origin.name, Client: p.client, Webseed: p.webseed && p.origin.webseeds, Run: p.run,
		Clients: s.clients, Size: int64(s.size), OriginRate: int64(s.originRate), Up: int64(s.up), Down: int64(s.down),
		Congestion: m.congestion, Limit: seconds(s.limit()), Downloads: []downloads{},
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeout, fmt.Errorf("not finished after %v", m.timeout))
	defer cancel()
	l, err := newLab(ctx, m.claim, m.congestion)
	if err != nil {
		return res, err
	}
	defer func() {
		err = errors.Join(err, l.tearDown())
		if !m.keep {
			err = errors.Join(err, os.RemoveAll(l.dir))
		}
	}()
	r := &run{lab: l, plan: p, content: m.content}
	if err := r.prepare(ctx, m.dropseed); err != nil {
		return res, err
	}
	err = r.watch(ctx, &res)
	return res, err
}

// prepare starts the origin, and all clients up to their gates.
func (r *run) prepare(ctx context.Context, binary string) (err error) {
	s := r.scenario
	if r.origin, err = r.host(ctx, 0, "origin", line{s.originRate, s.originRate}); err != nil {
		return err
	}
	r.offer, err = r.plan.origin.start(ctx, site{r.lab, r.origin, r.content, r.webseed, binary})
	if err != nil {
		return fmt.Errorf("start the origin: %w", err)
	}
	torrent := r.path(r.origin, "offered.torrent")
	if err := os.WriteFile(torrent, r.offer.torrent, 0o644); err != nil {
		return err
	}
	for _, name := range []string{"done", "ready"} {
		if err := os.Mkdir(filepath.Join(r.dir, name), 0o755); err != nil {
			return err
		}
	}
	for i, kind := range r.kinds {
		h, err := r.host(ctx, i+1, fmt.Sprintf("c%03d", i+1), line{s.up, s.down})
		if err != nil {
			return err
		}
		m := &member{kind: kind, download: download{
			host: h, dir: r.path(h), out: r.path(h, "out"), torrent: torrent, url: r.offer.url, files: r.content.files,
			done: filepath.Join(r.dir, "done", h.name), ready: filepath.Join(r.dir, "ready", h.name),
		}}
		if err := os.Mkdir(m.out, 0o755); err != nil {
			return err
		}
		args, err := kind.gatedCommand(m.download)
		if err != nil {
			return err
		}
		if m.process, err = r.start(h, args...); err != nil {
			return err
		}
		r.members = append(r.members, m)
	}
	for _, m := range r.members {
		if err := poll(ctx, func() error { _, err := os.Stat(m.ready); return err }, m.process); err != nil {
			return err
		}
	}
	return nil
}

// snapshot is what the origin has spent so far.
type snapshot struct {
	cables    map[string]traffic
	sent      ways
	processor time.Duration
}

func (r *run) snapshot(ctx context.Context) (s snapshot, err error) {
	if s.cables, err = r.traffic(); err != nil {
		return s, err
	}
	if s.processor, err = processorTime(r.origin); err != nil {
		return s, err
	}
	if r.offer.sent != nil {
		if s.sent, err = r.offer.sent(ctx); err != nil {
			return s, fmt.Errorf("ask the origin what it sent: %w", err)
		}
	}
	return s, nil
}

// watch lets the clients go, waits for them, and fills in the result.
func (r *run) watch(ctx context.Context, res *result) error {
	before, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	r.began = time.Now()
	measured := r.members
	if r.scenario.late {
		crowdMembers, lateOne := r.members[:r.scenario.clients], r.members[r.scenario.clients:]
		if err := r.wait(ctx, crowdMembers); err != nil {
			return errors.Join(err, r.report(ctx, res, crowdMembers, before))
		}
		var then result
		if err := r.report(ctx, &then, crowdMembers, before); err != nil {
			return err
		}
		res.Crowd = &crowd{Last: then.Last, Copies: then.Copies}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
		if before, err = r.snapshot(ctx); err != nil {
			return err
		}
		measured, r.began = lateOne, time.Now()
	}
	err = r.wait(ctx, measured)
	if err := errors.Join(err, r.report(ctx, res, measured, before)); err != nil {
		return err
	}
	return r.verify(ctx, r.members)
}

// wait lets members go one after the other, and returns when each of them is
// done or dead.
func (r *run) wait(ctx context.Context, members []*member) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	deaths := r.scenario.deaths
	for n := 0; ; n++ {
		for i, m := range members {
			if m.start.IsZero() && time.Since(r.began) >= time.Duration(i)*r.scenario.gap {
				m.start = time.Now()
				if _, err := m.process.in.Write([]byte("\n")); err != nil {
					return fmt.Errorf("let %s go: %w", m.process.name, errors.Join(err, m.process.ended()))
				}
			}
		}
		missing, err := r.look(members)
		if err != nil {
			return err
		}
		if missing == 0 {
			return nil
		}
		if deaths > 0 && n%5 == 0 {
			if err := r.killHalfWay(members, &deaths); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %d of %d clients are missing", context.Cause(ctx), missing, len(members))
		case <-tick.C:
		}
	}
}

// look notes who is done and returns how many are not. An end that nobody
// asked for is an error.
func (r *run) look(members []*member) (missing int, err error) {
	for _, p := range r.processes[:len(r.processes)-len(r.members)] { // the origin's
		if err := p.ended(); err != nil {
			return 0, err
		}
	}
	for _, m := range members {
		if m.killed || !m.done.IsZero() {
			continue
		}
		info, err := os.Stat(m.download.done)
		switch {
		case err == nil:
			m.done = info.ModTime()
			if r.scenario.leave {
				m.process.signal(syscall.SIGTERM)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return 0, err
		default:
			missing++
			if err := m.process.ended(); err != nil {
				return 0, err
			}
		}
	}
	return missing, nil
}

// killHalfWay kills members once they have received half of the content, the
// first of every three, as long as there are deaths to die.
func (r *run) killHalfWay(members []*member, deaths *int) error {
	cables, err := r.traffic()
	if err != nil {
		return err
	}
	for i, m := range members {
		if i%3 == 0 && *deaths > 0 && !m.killed && m.done.IsZero() && cables[m.host.port].received >= int64(r.scenario.size)/2 {
			m.killed = true
			m.process.kill()
			*deaths--
		}
	}
	return nil
}

// report fills in what the given members did since the first of them was let go.
func (r *run) report(ctx context.Context, res *result, members []*member, before snapshot) error {
	// What was asked for may be asked for after the time is up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	after, err := r.snapshot(ctx)
	if err != nil {
		return err
	}
	res.Finished, res.Died, res.Downloads = 0, 0, nil
	for _, m := range members {
		used := after.cables[m.host.port]
		d := downloads{Host: m.host.name, Client: m.kind.name, Start: seconds(m.start.Sub(r.began)), Died: m.killed,
			Sent: used.sent, Received: used.received}
		if m.start.IsZero() {
			d.Start = 0
		}
		switch {
		case m.killed:
			res.Died++
		case !m.done.IsZero():
			res.Finished++
			// File times are coarser than the clock, and may be a few ms behind.
			done := seconds(max(0, m.done.Sub(r.began)))
			d.Done = &done
		}
		res.Downloads = append(res.Downloads, d)
	}
	res.Last, res.Median = lastAndMedian(res.Downloads)
	size := float64(r.scenario.size)
	res.Bytes = after.cables[r.origin.port].sent - before.cables[r.origin.port].sent
	if store := r.offer.store; store != nil {
		was, is := before.cables[store.port], after.cables[store.port]
		res.Bytes -= is.received - was.received // those went to the store
		fetched := round(float64(is.sent-was.sent) / size)
		res.Fetched = &fetched
	}
	res.Copies = round(float64(res.Bytes) / size)
	if res.Copies >= 0.01 {
		res.Processor = round((after.processor - before.processor).Seconds() / (float64(res.Bytes) / 1e9))
	}
	res.Sent = after.sent.minus(before.sent)
	if n := res.Sent.total(); n != nil {
		payload := round(float64(*n) / size)
		res.Payload = &payload
	}
	return nil
}

// verify compares every copy with the source. Clients may say that they are
// done before all is written, so they have a few seconds to do so.
func (r *run) verify(ctx context.Context, members []*member) error {
	for _, m := range members {
		if m.killed {
			continue
		}
		var err error
		for deadline := time.Now().Add(5 * time.Second); ctx.Err() == nil; time.Sleep(200 * time.Millisecond) {
			if err = r.content.verify(m.out); err == nil || time.Now().After(deadline) {
				break
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: copies are being compared", context.Cause(ctx))
		}
		if err != nil {
			return fmt.Errorf("%s says that it is done, but: %w", m.process.name, err)
		}
	}
	return nil
}
