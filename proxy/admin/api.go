package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrBusy is what [OperatorConfig.Tap] fails with when there are too many who
// watch already.
var ErrBusy = errors.New("too many are watching already")

// Watch is the live view of one who watches.
type Watch interface {
	// Next waits for events, and returns those that are there, each fit for
	// encoding/json. An empty list says that ctx ended before there was one; nil
	// that there will be none any more.
	Next(ctx context.Context) []any

	// End returns the last events, of a view that is ended from this side.
	End() []any

	// Close ends it, and frees what it holds.
	Close()
}

// Bounds of watching.
const (
	// alive is how often a quiet view shows that it lives, so that either end
	// finds out that the other is gone.
	alive = 10 * time.Second

	defaultWindow = 10 * time.Second
	maxWindow     = 30 * time.Second
)

// stat serves who talks to whom.
func stat(read func(ctx context.Context, window time.Duration) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		window, err := windowOf(r.URL.RawQuery)
		if err != nil {
			text(w, http.StatusBadRequest, printable(err.Error())+"\n")
			return
		}
		answer, err := read(r.Context(), window)
		switch {
		case r.Context().Err() != nil: // who asked is gone
		case err != nil:
			text(w, http.StatusInternalServerError, "cannot tell who talks to whom: "+printable(err.Error())+"\n")
		default:
			encode(w, answer)
		}
	})
}

// windowOf parses the only parameter that stat has.
func windowOf(query string) (time.Duration, error) {
	given, err := url.ParseQuery(query)
	if err != nil {
		return 0, errors.New("the query is malformed")
	}
	for name := range given {
		if name != "window" {
			return 0, errors.New("there is no parameter " + strconv.Quote(name) + ": want window, or none")
		}
	}
	text := given.Get("window")
	if text == "" {
		return defaultWindow, nil
	}
	window, err := time.ParseDuration(text)
	if err != nil || window < time.Second || window > maxWindow {
		return 0, errors.New("window=" + strconv.Quote(text) + ": want a duration from 1s to " + maxWindow.String())
	}
	return window, nil
}

// tap serves what happens, as lines of JSON or as an event stream.
func tap(open func(url.Values) (Watch, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			text(w, http.StatusBadRequest, "the query is malformed\n")
			return
		}
		watch, err := open(query)
		switch {
		case errors.Is(err, ErrBusy):
			text(w, http.StatusTooManyRequests, printable(err.Error())+"\n")
			return
		case err != nil:
			text(w, http.StatusBadRequest, printable(err.Error())+"\n")
			return
		}
		defer watch.Close()
		s := &stream{w: w, control: http.NewResponseController(w), events: wantsEvents(r.Header)}
		if s.begin() == nil && r.Method != http.MethodHead {
			s.run(r.Context(), watch)
		}
	})
}

// wantsEvents reports whether an EventSource asks (HTML, section 9.2).
func wantsEvents(h http.Header) bool {
	return slices.ContainsFunc(h.Values("Accept"), func(value string) bool {
		return strings.Contains(strings.ToLower(value), eventStream)
	})
}

const eventStream = "text/event-stream"

// stream is an answer without an end.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	events  bool // as an event stream
}

// begin sends the head, so that who asks knows that it has begun.
func (s *stream) begin() error {
	kind := "application/x-ndjson"
	if s.events {
		kind = eventStream
	}
	s.w.Header().Set("Content-Type", kind)
	// It has read the request: it may now be silent for as long as it likes. A
	// writer that cannot be given more time keeps what it has.
	_ = s.control.SetReadDeadline(time.Time{})
	s.w.WriteHeader(http.StatusOK)
	return s.flush()
}

// run shows events until there are no more, who asked is gone, or the port ends.
func (s *stream) run(ctx context.Context, watch Watch) {
	for ctx.Err() == nil {
		waiting, cancel := context.WithTimeout(ctx, alive)
		batch := watch.Next(waiting)
		cancel()
		if batch == nil {
			return
		}
		if ctx.Err() == nil && s.write(batch) != nil {
			return
		}
	}
	_ = s.write(watch.End()) // to one that is there still, if it is the port that ends
}

// write writes events, or that it lives.
func (s *stream) write(batch []any) error {
	_ = s.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if len(batch) == 0 {
		sign := "\n"
		if s.events {
			sign = ":\n\n" // a comment
		}
		if _, err := s.w.Write([]byte(sign)); err != nil {
			return err
		}
		return s.flush()
	}
	for _, event := range batch {
		line, err := json.Marshal(event)
		if err != nil {
			return err
		}
		if s.events {
			line = append([]byte("data: "), append(line, '\n')...)
		}
		if _, err := s.w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return s.flush()
}

func (s *stream) flush() error { return s.control.Flush() }
