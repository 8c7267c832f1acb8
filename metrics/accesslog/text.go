package accesslog

import (
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/metrics/accesslog/line"
	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// subject is what a line of text is about: a connection, or a request.
type subject struct {
	start           time.Time
	duration        time.Duration
	reporter        metrics.Reporter
	own, peer       *tlsctx.Peer
	service, target string
	client, local   netip.AddrPort
	upstream        netip.AddrPort
	sent, received  uint64 // upstream, and back
	outcome         *metrics.Outcome
	trace           tlsctx.Traceparent
	connection      uint64                // 0 of a request
	request         *metrics.RequestEvent // nil of a connection
	protocol        string
}

func connectionSubject(e *metrics.Event) subject {
	return subject{
		start: e.Start, duration: e.Duration, reporter: e.Reporter, own: e.Own, peer: e.Peer,
		service: e.Service.Host, target: e.Target, client: e.Client, local: e.Local, upstream: e.Upstream,
		sent: e.Sent, received: e.Received, outcome: &e.Outcome, trace: e.Trace, connection: e.ID,
		protocol: string(e.Protocol),
	}
}

func requestSubject(e *metrics.RequestEvent) subject {
	s := subject{
		start: e.Start, duration: e.Duration, reporter: e.Reporter, own: e.Own, peer: e.Peer,
		service: e.Service.Host, target: e.Target, client: e.Client, local: e.Local, upstream: e.Upstream,
		sent: uint64(max(e.RequestBytes, 0)), received: uint64(max(e.ResponseBytes, 0)),
		outcome: &e.Outcome, trace: e.Trace, request: e, protocol: "HTTP/1.1",
	}
	if e.Protocol == tlsctx.HTTP2 {
		s.protocol = "HTTP/2"
	}
	return s
}

// source and destination are who is at either end.
func (s *subject) source() *tlsctx.Peer {
	if s.reporter == metrics.Destination {
		return s.peer
	}
	return s.own
}

func (s *subject) destination() *tlsctx.Peer {
	if s.reporter == metrics.Destination {
		return s.own
	}
	return s.peer
}

// maxLine is how many bytes a line may have with a value; one that does not fit is
// left out, so that what is around it stays.
const maxLine = 16 << 10

// lines are buffers for lines of text.
type lines struct{ pool sync.Pool } // of *[]byte

func (p *lines) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

// writeText writes a line about the subject.
func (l *Log) writeText(format line.Line, s *subject) {
	buffer := l.texts.get()
	b := appendLine((*buffer)[:0], format, s)
	_, _ = l.writer.Write(b) // never fails
	*buffer = b
	l.texts.pool.Put(buffer)
}

// appendLine appends a line, with its line break.
func appendLine(b []byte, format line.Line, s *subject) []byte {
	begin := len(b)
	parts := format.Parts()
	for i := range parts {
		p := &parts[i]
		if p.Op == "" {
			b = append(b, p.Literal...)
			continue
		}
		before := len(b)
		if b = appendValue(b, p, s); len(b)-begin > maxLine {
			b = append(b[:before], '-')
		}
	}
	return append(b, '\n')
}

// appendValue appends what an operator stands for, or - if there is nothing.
func appendValue(b []byte, p *line.Part, s *subject) []byte {
	switch p.Op {
	case "START_TIME":
		return p.Append(b, s.start)
	case "DURATION":
		return strconv.AppendInt(b, s.duration.Milliseconds(), 10)
	case "BYTES_RECEIVED":
		return strconv.AppendUint(b, s.sent, 10)
	case "BYTES_SENT":
		return strconv.AppendUint(b, s.received, 10)
	case "RESPONSE_FLAGS":
		return append(b, s.outcome.Flag.String()...)
	case "RESPONSE_CODE":
		if s.request == nil {
			return append(b, '0')
		}
		return strconv.AppendInt(b, int64(s.request.Status), 10)
	case "DOWNSTREAM_REMOTE_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS", "UPSTREAM_HOST", "UPSTREAM_REMOTE_ADDRESS":
		return appendAddress(b, s.address(p.Op))
	}
	text := s.text(p)
	if text == "" {
		return append(b, '-')
	}
	return append(b, cut(text, p.Max)...)
}

// cut returns at most so many bytes of a text, all if that is 0, and no half of
// what stands for one character.
func cut(text string, most int) string {
	if most == 0 || len(text) <= most {
		return text
	}
	text = strings.ToValidUTF8(text[:most], "")
	if n := strings.LastIndexByte(text, '%'); n >= 0 && n > len(text)-3 {
		text = text[:n]
	}
	if backslashes := len(text) - len(strings.TrimRight(text, `\`)); backslashes%2 == 1 {
		text = text[:len(text)-1]
	}
	return text
}

// address returns the address that an operator stands for.
func (s *subject) address(op string) netip.AddrPort {
	switch {
	case strings.HasPrefix(op, "UPSTREAM"):
		return s.upstream
	case strings.HasPrefix(op, "DOWNSTREAM_LOCAL"):
		return s.local
	default:
		return s.client
	}
}

func appendAddress(b []byte, a netip.AddrPort) []byte {
	if !a.IsValid() {
		return append(b, '-')
	}
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).AppendTo(b)
}

// text returns the text that an operator stands for, fit for a line whatever it
// is; "" if there is none.
func (s *subject) text(p *line.Part) string {
	switch p.Op {
	case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
		if a := s.address(p.Op); a.IsValid() {
			return a.Addr().Unmap().WithZone("").String()
		}
		return ""
	case "DOWNSTREAM_REMOTE_PORT", "DOWNSTREAM_LOCAL_PORT":
		if a := s.address(p.Op); a.IsValid() {
			return strconv.Itoa(int(a.Port()))
		}
		return ""
	case "CONNECTION_ID":
		if s.connection != 0 {
			return strconv.FormatUint(s.connection, 10)
		}
		return ""
	case "CONNECTION_TERMINATION_DETAILS":
		if s.outcome.Err != nil {
			return quotable(s.outcome.Err.Error())
		}
		return ""
	case "TRACE_ID":
		if !s.trace.IsZero() {
			return s.trace.String()[3:35]
		}
		return ""
	case "REPORTER":
		return string(s.reporter)
	case "PROTOCOL":
		return quotable(s.protocol)
	case "RESPONSE_CODE_DETAILS":
		return quotable(s.outcome.Reason)
	case "UPSTREAM_CLUSTER":
		return quotable(s.service)
	case "ROUTE_NAME":
		return quotable(s.target)
	}
	if s.request != nil {
		if text, ok := s.asked(p); ok {
			return text
		}
	}
	return s.who(p)
}

// asked returns what operators about requests stand for.
func (s *subject) asked(p *line.Part) (text string, ok bool) {
	r := s.request
	switch p.Op {
	case "REQ":
		for _, name := range p.Names {
			if text = requestField(r, name); text != "" {
				break
			}
		}
		return text, true
	case "GRPC_STATUS":
		if r.IsGRPC && r.GRPC >= 0 {
			return grpcName(r.GRPC), true
		}
	case "GRPC_STATUS_NUMBER":
		if r.IsGRPC && r.GRPC >= 0 {
			return strconv.Itoa(r.GRPC), true
		}
	case "RESPONSE_DURATION":
		if r.FirstByte > 0 {
			return strconv.FormatInt(r.FirstByte.Milliseconds(), 10), true
		}
	case "RESPONSE_TX_DURATION":
		if r.FirstByte > 0 {
			return strconv.FormatInt((r.Duration - r.FirstByte).Milliseconds(), 10), true
		}
	case "UPSTREAM_REQUEST_ATTEMPT_COUNT":
		return strconv.Itoa(r.Attempts), true
	default:
		return "", false
	}
	return "", true
}

// requestField returns a field of a request. The query is left out: it may hold
// secrets.
func requestField(r *metrics.RequestEvent, name string) string {
	switch name {
	case ":method":
		return word(r.Method)
	case ":authority":
		return word(r.Authority)
	case ":path":
		path, _, _ := strings.Cut(r.Path, "?")
		return word(path)
	}
	return ""
}

// who returns what operators about identities stand for.
func (s *subject) who(p *line.Part) string {
	switch p.Op {
	case "SOURCE_PRINCIPAL":
		return principal(s.source())
	case "DESTINATION_PRINCIPAL":
		return principal(s.destination())
	case "SOURCE_ATTRIBUTE":
		return proved(s.source(), p.Names[0])
	case "DESTINATION_ATTRIBUTE":
		return proved(s.destination(), p.Names[0])
	}
	if s.peer == nil || !s.peer.Secured() || strings.HasPrefix(p.Op, "UPSTREAM") != (s.reporter == metrics.Source) {
		return "" // that side is not the one that speaks TLS
	}
	switch p.Op {
	case "DOWNSTREAM_PEER_URI_SAN", "UPSTREAM_PEER_URI_SAN":
		return principal(s.peer)
	case "DOWNSTREAM_LOCAL_URI_SAN", "UPSTREAM_LOCAL_URI_SAN":
		return principal(s.own)
	case "DOWNSTREAM_TLS_VERSION", "UPSTREAM_TLS_VERSION":
		return "TLSv1.3"
	}
	return ""
}

func principal(p *tlsctx.Peer) string {
	if p == nil || !p.Secured() {
		return ""
	}
	return p.ID.String()
}

// proved returns an attribute that is more than a workload's own word.
func proved(p *tlsctx.Peer, name string) string {
	if p == nil {
		return ""
	}
	if a, ok := p.Attributes.Get(name); ok && a.Provenance >= tlsctx.Verified {
		return quotable(a.Value)
	}
	return ""
}

// quotable makes a text fit for a line, in quotes as well.
func quotable(text string) string {
	text = printable.Text(text)
	if !strings.ContainsAny(text, `"\`) {
		return text
	}
	return strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(text)
}

// word is [printable.Escape] for a text that has quotes or spaces around it.
func word(text string) string {
	text = printable.Escape(text)
	if !strings.ContainsAny(text, `"\`) {
		return text
	}
	return strings.NewReplacer(`"`, "%22", `\`, "%5C").Replace(text)
}

// grpcName returns the name of a status as Envoy has it.
func grpcName(status int) string {
	names := []string{
		"OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
		"PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented",
		"Internal", "Unavailable", "DataLoss", "Unauthenticated",
	}
	if status >= len(names) {
		return strconv.Itoa(status)
	}
	return names[status]
}
