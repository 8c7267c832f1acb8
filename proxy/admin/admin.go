package admin

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// PublicConfig is what [Public] serves. Nil functions serve 404.
type PublicConfig struct {
	// Metrics serves /metrics.
	Metrics http.Handler

	// Ready says why the process is not ready for traffic, or nil. The public
	// port tells only that it is not.
	Ready func() error
}

// OperatorConfig is what [Operator] serves. Nil functions serve 404.
type OperatorConfig struct {
	// Version is that of the program.
	Version string

	// Hosts are names by which the port is reached, without a port, beside
	// localhost, addresses of loopback and the address that was connected to.
	Hosts []string

	// Metrics serves /metrics here as well.
	Metrics http.Handler

	// Ready says why the process is not ready for traffic, or nil.
	Ready func() error

	// Config returns the resources of the configuration in force, in order,
	// each fit for encoding/json and without a secret.
	Config func() ([]any, error)

	// Sessions returns the open sessions with peers, up to most of them.
	Sessions func(most int) []Session

	// Stat returns who talks to whom, with what was counted within about the
	// window before, fit for encoding/json: for /api/v1/stat.
	Stat func(ctx context.Context, window time.Duration) (any, error)

	// Tap opens a live view with the parameters of a query as its filter, for
	// /api/v1/tap. It fails with [ErrBusy] when there are too many already; any
	// other error says what is wrong with the parameters.
	Tap func(filter url.Values) (Watch, error)

	// PProf serves Go's profiles below /debug/pprof/.
	PProf bool
}

// Session is an open connection to a peer, with the streams that it carries.
type Session struct {
	// ID tells the sessions of one process apart.
	ID uint64

	// Side is "client" if we dialled, "server" if the peer did.
	Side string

	// Kind is how bytes are framed.
	Kind tlsctx.Session

	// Peer is who is at the other end, never nil.
	Peer *tlsctx.Peer

	// Remote is the peer's address.
	Remote string

	// Opened is when the session was established.
	Opened time.Time

	// Streams are open now; Total have been opened. Of a session of the kind
	// [tlsctx.H2] each is a request.
	Streams int64
	Total   uint64

	// Sent and Received are the bytes towards the destination and back.
	Sent, Received uint64
}

// Public returns the handler of the port that may face the network.
func Public(c PublicConfig) http.Handler {
	mux := http.NewServeMux()
	if c.Metrics != nil {
		mux.Handle("/metrics", c.Metrics)
	}
	mux.HandleFunc("/healthz", healthy)
	mux.Handle("/readyz", ready(c.Ready, false))
	return harmless(mux)
}

// Operator returns the handler of the operator's port.
func Operator(c OperatorConfig) http.Handler {
	mux := http.NewServeMux()
	pages := []page{
		{"/healthz", "whether the process lives", http.HandlerFunc(healthy)},
		{"/readyz", "whether it is ready for traffic, and if not, why", ready(c.Ready, true)},
	}
	if c.Config != nil {
		pages = append(pages,
			page{"/config", "the configuration in force", configYAML(c.Config)},
			page{"/config.json", "the same as JSON", configJSON(c.Config)})
	}
	if c.Sessions != nil {
		pages = append(pages,
			page{"/peers", "open sessions: with whom, and what is known of them", peersText(c.Sessions)},
			page{"/peers.json", "the same as JSON", peersJSON(c.Sessions)})
	}
	if c.Stat != nil {
		pages = append(pages, page{apiPrefix + "stat", "who talks to whom, at which rate, as JSON", stat(c.Stat)})
	}
	if c.Tap != nil {
		pages = append(pages, page{apiPrefix + "tap", "requests and connections as they happen, as lines of JSON", tap(c.Tap)})
	}
	if c.Metrics != nil {
		pages = append(pages, page{"/metrics", "metrics, for Prometheus", c.Metrics})
	}
	if c.PProf {
		pages = append(pages, profiles()...)
	}
	for _, p := range pages {
		mux.Handle(p.path, p.handler)
	}
	if c.Stat != nil && c.Tap != nil {
		servePage(mux, pages)
	} else {
		mux.Handle("/{$}", index(c.Version, pages))
	}
	return local(c.Hosts, harmless(mux))
}

// apiPrefix is where programs ask. Only there queries are let through: each of its
// handlers refuses what it does not know.
const apiPrefix = "/api/v1/"

// page is something that the operator's port shows.
type page struct {
	path, what string
	handler    http.Handler
}

func healthy(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") }

// ready answers 503 as long as the process is not ready.
func ready(check func() error, say bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if check == nil {
			http.NotFound(w, r)
			return
		}
		err := check()
		switch {
		case err == nil:
			text(w, http.StatusOK, "ready\n")
		case say:
			text(w, http.StatusServiceUnavailable, "not ready: "+printable(err.Error())+"\n")
		default:
			text(w, http.StatusServiceUnavailable, "not ready\n")
		}
	})
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body)) //nolint:gosec // G705: it is plain text, and nosniff
}
