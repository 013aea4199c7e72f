package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/pprof"
	"time"
)

// debugHandler answers with profiles of the process, for go tool pprof. It has a
// mux of its own: importing net/http/pprof puts its handlers into
// http.DefaultServeMux too, which is why nothing may ever serve that one.
func debugHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index) // the named profiles too
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// serveDebug serves profiles at debug.listen until ctx ends, and then cuts what
// is under way. Without that address it does nothing.
func (s *server) serveDebug(ctx context.Context) error {
	if s.debugListener == nil {
		return nil
	}
	s.log.Info("profiles are served", "url", "http://"+s.debugListener.Addr().String()+"/debug/pprof/")
	srv := &http.Server{Handler: debugHandler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.Serve(s.debugListener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
