package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"slices"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// index lists the pages.
func index(version string, pages []page) http.Handler {
	var b bytes.Buffer
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n" +
		"<meta name=\"color-scheme\" content=\"light dark\">\n<title>hallmark</title>\n<h1>hallmark</h1>\n")
	fmt.Fprintf(&b, "<p>version %s. Nothing here can be changed.</p>\n<ul>\n", html.EscapeString(cmp.Or(version, "unknown")))
	for _, p := range pages {
		path := html.EscapeString(p.path)
		fmt.Fprintf(&b, "<li><a href=\"%s\">%s</a>: %s</li>\n", path, path, html.EscapeString(p.what))
	}
	b.WriteString("</ul>\n</html>\n")
	body := b.Bytes()
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(body)
	})
}

// configYAML shows the resources as the documents of one file.
func configYAML(resources func() ([]any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		all, err := resources()
		var b bytes.Buffer
		for i, resource := range all {
			var document []byte
			if document, err = yaml.Marshal(resource); err != nil {
				break
			}
			if i > 0 {
				b.WriteString("---\n")
			}
			b.Write(document)
		}
		if err != nil {
			text(w, http.StatusInternalServerError, "cannot show the configuration: "+printable(err.Error())+"\n")
			return
		}
		w.Header().Set("Content-Type", "application/yaml; charset=utf-8")
		_, _ = w.Write(b.Bytes())
	})
}

// configJSON shows them as a list.
func configJSON(resources func() ([]any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		all, err := resources()
		if err != nil {
			text(w, http.StatusInternalServerError, "cannot show the configuration: "+printable(err.Error())+"\n")
			return
		}
		encode(w, all)
	})
}

// encode answers with v as JSON.
func encode(w http.ResponseWriter, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text(w, http.StatusInternalServerError, "cannot encode the answer: "+printable(err.Error())+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n'))
}

// maxSessions bounds the sessions that a page shows.
const maxSessions = 1000

// sessionJSON is a session as /peers.json has it.
type sessionJSON struct {
	ID            uint64          `json:"id"`
	Side          string          `json:"side"`
	Kind          string          `json:"kind"`
	SPIFFEID      string          `json:"spiffeId,omitempty"`
	Aware         bool            `json:"aware"`
	Attributes    []attributeJSON `json:"attributes"`
	Detected      string          `json:"detected,omitempty"`
	Target        string          `json:"target,omitempty"`
	ALPN          string          `json:"alpn,omitempty"`
	KeyExchange   string          `json:"keyExchange,omitempty"`
	Remote        string          `json:"remote"`
	Opened        time.Time       `json:"opened"`
	NotAfter      *time.Time      `json:"notAfter,omitempty"`
	StreamsOpen   int64           `json:"streamsOpen"`
	StreamsTotal  uint64          `json:"streamsTotal"`
	BytesSent     uint64          `json:"bytesSent"`
	BytesReceived uint64          `json:"bytesReceived"`
}

type attributeJSON struct {
	Name       string `json:"name"`
	Value      string `json:"value"`
	Provenance string `json:"provenance"`
}

// peersAnswer is what /peers.json answers.
type peersAnswer struct {
	Sessions  []sessionJSON `json:"sessions"`
	Truncated bool          `json:"truncated"`
}

// take returns the sessions that are shown, and whether there are more.
func take(sessions func(int) []Session) ([]Session, bool) {
	all := sessions(maxSessions + 1)
	return all[:min(len(all), maxSessions)], len(all) > maxSessions
}

func peersJSON(sessions func(int) []Session) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		shown, more := take(sessions)
		answer := peersAnswer{Sessions: make([]sessionJSON, len(shown)), Truncated: more}
		for i := range shown {
			answer.Sessions[i] = shown[i].json()
		}
		encode(w, answer)
	})
}

func (s *Session) json() sessionJSON {
	j := sessionJSON{
		ID: s.ID, Side: s.Side, Kind: string(s.Kind), Aware: s.Peer.Aware, Remote: s.Remote,
		Attributes: make([]attributeJSON, 0, len(s.Peer.Attributes)),
		Detected:   string(s.Peer.Detected), Target: s.Peer.Target, ALPN: s.Peer.ALPN, Opened: s.Opened.UTC(),
		StreamsOpen: s.Streams, StreamsTotal: s.Total, BytesSent: s.Sent, BytesReceived: s.Received,
	}
	if s.Peer.Secured() {
		j.SPIFFEID, j.KeyExchange = s.Peer.ID.String(), s.Peer.KeyExchange.String()
		if end := s.Peer.NotAfter().UTC(); !end.IsZero() {
			j.NotAfter = &end
		}
	}
	for _, a := range s.Peer.Attributes {
		j.Attributes = append(j.Attributes, attributeJSON{a.Name, a.Value, a.Provenance.String()})
	}
	return j
}

func peersText(sessions func(int) []Session) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		shown, more := take(sessions)
		slices.SortStableFunc(shown, func(a, b Session) int {
			return cmp.Compare(a.Peer.ID.String(), b.Peer.ID.String())
		})
		var b bytes.Buffer
		switch {
		case more:
			fmt.Fprintf(&b, "the first %d open sessions\n", len(shown))
		case len(shown) == 1:
			b.WriteString("1 open session\n")
		default:
			fmt.Fprintf(&b, "%d open sessions\n", len(shown))
		}
		now := time.Now()
		for i := range shown {
			shown[i].write(&b, now)
		}
		text(w, http.StatusOK, b.String())
	})
}

// write writes what is known of a session, for people.
func (s *Session) write(b *bytes.Buffer, now time.Time) {
	who := "nobody that has shown who it is (plaintext)"
	if s.Peer.Secured() {
		who = s.Peer.ID.String()
	}
	dialled := "dialled by us"
	if s.Side == "server" {
		dialled = "dialled by the peer"
	}
	awareness := "with a handshake context"
	if !s.Peer.Aware {
		awareness = "without a handshake context"
	}
	fmt.Fprintf(b, "\n%s\n", printable(who))
	fmt.Fprintf(b, "  session     %d, %s, %s, %s, %s\n", s.ID, printable(string(s.Kind)), dialled, printable(s.Remote), awareness)
	fmt.Fprintf(b, "  since       %s (%s)\n", s.Opened.UTC().Format(time.RFC3339), now.Sub(s.Opened).Round(time.Second))
	streams := "streams"
	if s.Kind == tlsctx.H2 { // each stream is a request
		streams = "requests"
	}
	fmt.Fprintf(b, "  %-11s %d open, %d in all\n", streams, s.Streams, s.Total)
	fmt.Fprintf(b, "  bytes       %d to the destination, %d back\n", s.Sent, s.Received)
	if s.Peer.Target != "" {
		fmt.Fprintf(b, "  target      %s\n", printable(s.Peer.Target))
	}
	for _, a := range s.Peer.Attributes {
		fmt.Fprintf(b, "  %-11s %s=%q\n", a.Provenance, printable(a.Name), a.Value)
	}
}
