package admin

import (
	"context"
	"io"
	"net/http"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// Profiles take time: so long by default, and at the most.
const (
	profileSeconds    = 10
	maxProfileSeconds = 60
)

// profiles are Go's, at the paths that go tool pprof knows. They are not those
// of net/http/pprof, which serves them to whoever reaches the default mux, and
// takes a parameter that collects garbage.
func profiles() []page {
	pages := []page{
		{"/debug/pprof/profile", "CPU profile (?seconds=10)", during(pprof.StartCPUProfile, pprof.StopCPUProfile)},
		{"/debug/pprof/trace", "execution trace (?seconds=10)", during(trace.Start, trace.Stop)},
	}
	for _, p := range []struct{ name, what string }{
		{"goroutine", "stacks of all goroutines (?debug=1 as text)"},
		{"heap", "memory in use"},
		{"allocs", "memory allocated since the start"},
		{"block", "where goroutines block"},
		{"mutex", "who holds contended locks"},
		{"threadcreate", "what has made threads"},
	} {
		pages = append(pages, page{"/debug/pprof/" + p.name, p.what, snapshot(p.name)})
	}
	return pages
}

// snapshot serves a profile as it is now.
func snapshot(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := pprof.Lookup(name)
		if p == nil {
			http.NotFound(w, r)
			return
		}
		debug := 0
		w.Header().Set("Content-Type", "application/octet-stream")
		if r.URL.Query().Get("debug") != "" {
			debug = 1
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		_ = p.WriteTo(w, debug) // who asked is gone
	})
}

// during serves what is recorded for a while. One recording at a time is Go's
// own limit.
func during(start func(io.Writer) error, stop func()) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		seconds, err := strconv.Atoi(r.URL.Query().Get("seconds"))
		if err != nil || seconds <= 0 {
			seconds = profileSeconds
		}
		length := time.Duration(min(seconds, maxProfileSeconds)) * time.Second
		// A writer that cannot be given more time keeps what it has.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(length + writeTimeout))
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := start(w); err != nil {
			text(w, http.StatusConflict, printable(err.Error())+"\n")
			return
		}
		defer stop()
		ctx, cancel := context.WithTimeout(r.Context(), length)
		defer cancel()
		<-ctx.Done()
	})
}
