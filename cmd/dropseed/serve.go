package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"golang.org/x/sync/errgroup"

	"dropseed/configs"
)

// serve runs the server until ctx ends. Results for people go to out, the log
// to errOut. What keeps it from starting is a usageError.
func serve(ctx context.Context, c configs.Config, out, errOut io.Writer) error {
	term := newTerminal(errOut)
	s, err := newServer(ctx, c, newLog(c.Log, term))
	if err != nil {
		return usageError{err}
	}
	defer s.close()
	s.log.Info("serving", "http", s.httpListener.Addr().String(), "peers", s.peerListener.Addr().String(),
		"udp", s.udpAddress(), "state", c.State, "version", version)
	for _, src := range s.sources {
		fmt.Fprintf(out, "Publishing what lands in %s\n", src)
	}
	fmt.Fprintf(out, "The page is at %s/\n", s.pageURL())
	err = s.run(ctx, term)
	if err == nil {
		s.log.Info("stopped")
	}
	return err
}

// run runs all components until ctx ends or one of them fails.
func (s *server) run(ctx context.Context, term *terminal) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, src := range s.sources {
		g.Go(func() error { return ended(ctx, src.watcher.Run(ctx, s.publisher.Handle)) })
	}
	g.Go(func() error { return ended(ctx, s.publisher.Run(ctx)) })
	g.Go(func() error { return s.runNotify(ctx) })
	g.Go(func() error { return ended(ctx, s.tracker.Run(ctx)) })
	for _, conn := range s.udp {
		g.Go(func() error { return ended(ctx, s.tracker.ServeUDP(ctx, conn)) })
	}
	g.Go(func() error { return s.seeder.Serve(ctx, s.peerListener) })
	if s.dht != nil {
		g.Go(func() error { return ended(ctx, s.dht.Run(ctx)) })
	}
	g.Go(func() error { return s.serveDebug(ctx) })
	g.Go(func() error {
		if err := s.serveHTTP(); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve HTTP: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		for _, src := range s.sources {
			if src.cache != nil {
				src.cache.Hurry()
			}
		}
		s.shutDownHTTP()
		return nil
	})
	if s.redirectListener != nil {
		g.Go(func() error { return s.serveRedirects(ctx) })
	}
	if s.tls != nil && s.tls.acme != nil {
		g.Go(func() error { return ended(ctx, s.tls.keepCertificates(ctx)) })
	}
	g.Go(func() error { return ended(ctx, s.history.Run(ctx)) })
	g.Go(func() error { return ended(ctx, s.site.Run(ctx)) })
	g.Go(func() error { return ended(ctx, term.showProgress(ctx, s.publisher.Pending)) })
	err := g.Wait()
	s.history.Close() // what was sent until the end is in it
	return err
}

// shutDownHTTP lets requests under way finish for a while.
func (s *server) shutDownHTTP() {
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Shutdown)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.http.Close()
	}
}

// ended passes over a component's error when it was told to end.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}

func newLog(c configs.Log, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.Level}
	if c.Format == configs.LogJSON {
		o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration { // else a number of nanoseconds, without saying so
				return slog.String(a.Key, a.Value.Duration().String())
			}
			return a
		}
		return slog.New(slog.NewJSONHandler(w, o))
	}
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.String(a.Key, a.Value.Time().Format("2006-01-02T15:04:05.000"))
		}
		return a
	}
	return slog.New(slog.NewTextHandler(w, o))
}
