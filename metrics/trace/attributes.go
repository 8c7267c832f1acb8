package trace

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// attributes are those of a span in the making. docs/tracing.md describes them.
type attributes []attribute.KeyValue

// text adds a text unless it is empty.
func (a *attributes) text(name, value string) {
	if value != "" {
		*a = append(*a, attribute.String(name, printable.Text(value)))
	}
}

// address adds an address and a port unless there is none.
func (a *attributes) address(name string, at netip.AddrPort) {
	if at.IsValid() {
		*a = append(*a, attribute.String(name+".address", at.Addr().Unmap().WithZone("").String()), attribute.Int(name+".port", int(at.Port())))
	}
}

// addresses adds who is at the other end of the network: the peer's proxy.
func (a *attributes) addresses(reporter metrics.Reporter, client, upstream netip.AddrPort) {
	if reporter == metrics.Destination {
		a.address("client", client)
		a.address("network.peer", client)
		return
	}
	a.address("network.peer", upstream)
}

// service adds what is addressed, from configuration.
func (a *attributes) service(s *metrics.Service) {
	if s.Host != "" {
		a.text("hallmark.destination.service", s.Host)
	} else {
		a.text("hallmark.destination.service", s.Name)
	}
}

// ends adds who called whom.
func (a *attributes) ends(reporter metrics.Reporter, own, peer *tlsctx.Peer) {
	source, destination := own, peer
	if reporter == metrics.Destination {
		source, destination = peer, own
	}
	a.end("hallmark.source.", source)
	a.end("hallmark.destination.", destination)
}

// end adds who is at one end: the SPIFFE ID from TLS, and the attributes, the
// provenance of each in its name, so that no query takes one for another.
func (a *attributes) end(prefix string, p *tlsctx.Peer) {
	if p == nil {
		return
	}
	if p.Secured() {
		a.text(prefix+"spiffe_id", p.ID.String())
	}
	for i := range p.Attributes {
		at := &p.Attributes[i]
		a.text(prefix+at.Provenance.String()+"."+at.Name, at.Value)
	}
}

// security adds how the network was crossed.
func (a *attributes) security(peer *tlsctx.Peer, session tlsctx.Session) {
	if peer == nil || !peer.Secured() {
		a.text("hallmark.security", "none")
		return
	}
	a.text("hallmark.security", "mutual_tls")
	a.text("hallmark.session", string(session))
}

// description is what a request's spans say.
type description struct {
	name   string
	all    attributes
	failed string // error.type, or ""
}

// judge gives a span its status.
func (d *description) judge(span oteltrace.Span) {
	if d.failed != "" {
		span.SetStatus(codes.Error, "")
	}
}

// describe says what became of a request, by the semantic conventions for HTTP
// and, if it is gRPC's, those for RPC.
func describe(r *Request, e *metrics.RequestEvent) *description {
	d := &description{all: make(attributes, 0, 44)}
	a := &d.all
	method, known := methodOf(e.Method)
	d.name = method
	if !known {
		d.name = "HTTP"
		a.text("http.request.method_original", e.Method)
	}
	a.text("http.request.method", method)
	a.url(r, e)
	a.addresses(e.Reporter, e.Client, e.Upstream)
	*a = append(*a, semconv.NetworkTransportTCP)
	*a = append(*a, semconv.NetworkProtocolName("http"))
	if e.Protocol == tlsctx.HTTP2 {
		*a = append(*a, semconv.NetworkProtocolVersion("2"))
	} else {
		*a = append(*a, semconv.NetworkProtocolVersion("1.1"))
	}
	a.text("hallmark.upgrade", e.Upgrade)
	if r.head.Kind == Server {
		a.text("user_agent.original", r.agent)
	}
	*a = append(*a, semconv.HTTPRequestBodySize(int(e.RequestBytes)), semconv.HTTPResponseBodySize(int(e.ResponseBytes)))
	if e.IsGRPC {
		d.rpc(e)
	}
	a.text("hallmark.reporter", string(e.Reporter))
	a.text("hallmark.listener", e.Listener)
	a.service(&e.Service)
	a.text("hallmark.target", e.Target)
	a.ends(e.Reporter, e.Own, e.Peer)
	a.security(e.Peer, e.Session)
	a.text("hallmark.outcome", e.Outcome.Reason)
	if e.Attempts > 1 {
		*a = append(*a, attribute.Int("hallmark.attempts", e.Attempts))
	}
	d.answered(r, e)
	return d
}

// answered says how the request was answered.
func (d *description) answered(r *Request, e *metrics.RequestEvent) {
	if e.Status != 0 {
		d.all = append(d.all, semconv.HTTPResponseStatusCode(e.Status))
	}
	least := 400 // by the conventions, a client's error is one for the client alone
	if r.head.Kind == Server {
		least = 500
	}
	switch {
	case e.Outcome.Reason != metrics.ReasonOK:
		d.failed = e.Outcome.Reason
	case e.IsGRPC && grpcFailed(r.head.Kind, e.GRPC):
		d.failed = grpcName(e.GRPC)
	case e.Status >= least:
		d.failed = strconv.Itoa(e.Status)
	}
	d.all.text(string(semconv.ErrorTypeKey), d.failed)
}

// methodOf returns the method if it is one that conventions know, else _OTHER.
func methodOf(method string) (string, bool) {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY":
		return method, true
	}
	return "_OTHER", false
}

// url adds what was asked for. The query is left out unless it is wanted.
func (a *attributes) url(r *Request, e *metrics.RequestEvent) {
	host, port, err := net.SplitHostPort(e.Authority)
	if err != nil {
		host = strings.Trim(e.Authority, "[]")
	}
	a.text("server.address", host)
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
		*a = append(*a, semconv.ServerPort(int(n)))
	}
	a.text("url.scheme", r.head.Scheme)
	path, query, _ := strings.Cut(e.Path, "?")
	a.text("url.path", path)
	full := path
	if query != "" && r.state.settings.Query {
		query = redact(query)
		a.text("url.query", query)
		full += "?" + query
	}
	if r.head.Kind == Client && r.head.Scheme != "" && e.Authority != "" {
		a.text("url.full", r.head.Scheme+"://"+e.Authority+full)
	}
}

// redact takes out of a query the values of which the conventions say that they
// are credentials.
func redact(query string) string {
	parts := strings.Split(query, "&")
	for i, part := range parts {
		name, _, ok := strings.Cut(part, "=")
		plain, err := url.QueryUnescape(name)
		if err != nil {
			plain = name
		}
		switch strings.ToLower(plain) {
		case "awsaccesskeyid", "signature", "sig", "x-goog-signature", "x-amz-signature", "x-amz-credential", "x-amz-security-token",
			"access_token", "id_token", "token", "password", "secret", "api_key", "apikey", "key", "code":
			if ok {
				parts[i] = name + "=REDACTED"
			}
		}
	}
	return strings.Join(parts, "&")
}

// rpc adds what gRPC has, and names the span after the method.
func (d *description) rpc(e *metrics.RequestEvent) {
	d.all = append(d.all, semconv.RPCSystemNameGRPC)
	full, _, _ := strings.Cut(strings.TrimPrefix(e.Path, "/"), "?")
	if isMethod(full) {
		d.name = full
		d.all = append(d.all, semconv.RPCMethod(full))
	} else {
		d.all = append(d.all, semconv.RPCMethod("_OTHER"))
		d.all.text("rpc.method_original", full)
	}
	if e.GRPC >= 0 {
		d.all.text("rpc.response.status_code", grpcName(e.GRPC))
	}
}

// isMethod reports whether text is package.Service/Method, and short enough for a
// name.
func isMethod(text string) bool {
	slashes := 0
	for i := range len(text) {
		c := text[i]
		switch {
		case c == '/':
			slashes++
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '.':
		default:
			return false
		}
	}
	return slashes == 1 && len(text) <= 255 && text[0] != '/' && text[len(text)-1] != '/'
}

// grpcNames are the status codes of gRPC.
func grpcNames() []string {
	return []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
		"UNAUTHENTICATED",
	}
}

func grpcName(code int) string {
	if names := grpcNames(); code >= 0 && code < len(names) {
		return names[code]
	}
	return strconv.Itoa(code)
}

// grpcFailed reports whether a status is an error at that end, by the conventions.
func grpcFailed(kind Kind, code int) bool {
	if kind == Client {
		return code > 0
	}
	return slices.Contains([]int{2, 4, 12, 13, 14, 15}, code) || code > 16
}
