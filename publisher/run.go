package publisher

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxDeciding   = 4               // entries in the quick stage at once
	minBackoff    = time.Second     // after a failure; doubles
	maxBackoff    = 5 * time.Minute // ... up to this
	progressEvery = 10 * time.Second
)

// Run does what Handle was told until ctx ends, and then returns nil. It first
// retires the releases of sources that are not configured any more: nobody
// could open their content, and they would keep their names from others. It
// can be called once.
func (p *Publisher) Run(ctx context.Context) error {
	if err := p.retireStrangers(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var stages sync.WaitGroup
	defer stages.Wait()
	defer cancel()

	timer := time.NewTimer(0)
	defer timer.Stop()
	report := time.NewTicker(progressEvery)
	defer report.Stop()
	for ctx.Err() == nil {
		changed := p.o.Catalog.Changed() // before start looks at the names that are taken
		if next := p.start(ctx, &stages); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-changed:
		case <-timer.C:
		case <-report.C:
			p.logProgress()
		}
	}
	return nil
}

// start begins what is due and has room. It returns when the next retry is
// due; zero = there is none.
func (p *Publisher) start(ctx context.Context, stages *sync.WaitGroup) (next time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for t := p.retry.first(); t != nil; t = p.retry.first() {
		if t.next.After(now) {
			next = t.next
			break
		}
		p.enqueue(t)
	}
	for t := range p.taken {
		if p.takenBy(t) == "" {
			p.enqueue(t)
		}
	}
	for p.deciding < maxDeciding {
		t := p.quick.pop()
		if t == nil {
			break
		}
		if t.event.Gone && p.claims[t.name] == nil {
			p.claims[t.name] = t // until it is retired: the catalog takes one commit per name at a time
		}
		p.deciding++
		p.begin(ctx, stages, t, p.decide, func() { p.deciding-- })
	}
	for _, l := range p.lanes {
		p.startHashing(ctx, stages, l)
	}
	return next
}

// startHashing begins hashing what has room in a lane. p.mu is held.
func (p *Publisher) startHashing(ctx context.Context, stages *sync.WaitGroup, l *lane) {
	for l.hashing < p.o.Concurrency {
		t := l.hash.first()
		if t == nil {
			return
		}
		large := 0
		if t.event.Tree.Size() >= largeSize {
			large = 1
		}
		if l.large+large > max(1, p.o.Concurrency/4) {
			return // and so are all that follow it
		}
		l.hash.pop()
		l.hashing++
		l.large += large
		t.reason, t.began, t.done, t.reading = Hashing, time.Now(), new(atomic.Int64), true
		p.begin(ctx, stages, t, p.publish, func() {
			l.hashing--
			l.large -= large
			l.counts.bytes.Add(t.done.Load())
			t.reading = false
		})
	}
}

// begin puts t into a stage, and has leave called with p.mu held when it ends.
func (p *Publisher) begin(ctx context.Context, stages *sync.WaitGroup, t *entry, stage func(context.Context, work) verdict, leave func()) {
	ctx, t.cancel = context.WithCancel(ctx)
	cancel, w := t.cancel, t.work()
	stages.Go(func() {
		defer cancel()
		v := stage(ctx, w)
		p.mu.Lock()
		leave()
		t.cancel = nil
		p.unclaim(t)
		err := p.finish(t, v)
		p.look()
		p.mu.Unlock()
		switch {
		case err == nil || ctx.Err() != nil:
		case w.gone:
			p.log.Warn("a release is not retired yet", "release", w.name, "source", w.source, "err", err)
		default:
			p.log.Warn("a tree is not published yet", "release", w.name, "source", w.source, "err", err)
		}
	})
}

// finish acts on what a stage said, and returns the error to tell of, if there
// is a new one. p.mu is held.
func (p *Publisher) finish(t *entry, v verdict) error {
	if t.renewed {
		t.renewed = false
		p.enqueue(t)
		return nil
	}
	t.reason, t.err = v.reason, v.err
	if v.made != nil {
		t.made = v.made
	}
	switch v.reason {
	case done:
		delete(p.entries, t.key)
	case Failed:
		wait := min(minBackoff<<min(t.failures, 16), maxBackoff)
		t.failures++
		if l := p.lanes[t.source]; l != nil {
			l.counts.failure(v.err)
		}
		t.next = time.Now().Add(wait)
		p.retry.push(t, t.next.UnixNano())
	case Queued, Taken:
		by := p.takenBy(t)
		switch {
		case by != "":
			t.reason = Taken
			t.err = fmt.Errorf("the name is already published from source %q", by)
			p.taken[t] = struct{}{}
		case v.reason == Taken:
			p.enqueue(t) // it is free again
		default:
			p.claims[t.name] = t
			p.lanes[t.source].hash.push(t, t.event.Tree.Size())
		}
	}
	if t.err == nil || t.err.Error() == t.told {
		return nil
	}
	t.told = t.err.Error()
	return t.err
}

// enqueue puts t in line for the quick stage. p.mu is held.
func (p *Publisher) enqueue(t *entry) {
	delete(p.taken, t)
	t.reason, t.err, t.next = Queued, nil, time.Time{}
	p.arrivals++
	p.quick.push(t, p.arrivals)
	p.look()
}

// takenBy returns the source that keeps t from its name, or "": the one that
// publishes it, or is about to. p.mu is held.
func (p *Publisher) takenBy(t *entry) string {
	if r, ok := p.o.Catalog.Latest(t.name); ok && r.Source != t.source {
		return r.Source
	}
	if other := p.claims[t.name]; other != nil && other != t {
		return other.source
	}
	return ""
}

// unclaim gives up t's claim to its name, if it has one. p.mu is held.
func (p *Publisher) unclaim(t *entry) {
	if p.claims[t.name] == t {
		delete(p.claims, t.name)
	}
}

// look has the loop look at what there is to do.
func (p *Publisher) look() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// logProgress says how far the trees are that take long.
func (p *Publisher) logProgress() {
	for _, j := range p.Pending() {
		if j.Reason == Hashing && time.Since(j.Since) >= progressEvery {
			p.log.Info("hashing", "release", j.Name, "source", j.Source,
				"done", j.Done, "size", j.Size, "rate", rate(j.Done, time.Since(j.Since)), "ends", j.Ends)
		}
	}
}

func rate(bytes int64, took time.Duration) string {
	if took <= 0 {
		return "unknown"
	}
	return fmt.Sprintf("%.1f MB/s", float64(bytes)/took.Seconds()/1e6)
}
