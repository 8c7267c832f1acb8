package tlsctx

// Protocol names what an application speaks inside a session, as the source
// detected it. The set is open: a value that the receiver does not know is
// opaque bytes with a label. Values are 1 to 32 bytes of [a-z0-9_-] and start
// with a letter; see the registry in SPEC.md.
type Protocol string

// The registered protocols.
const (
	HTTP1      Protocol = "http1"
	HTTP2      Protocol = "h2"
	TLS        Protocol = "tls"
	PostgreSQL Protocol = "postgres"
	MySQL      Protocol = "mysql"
	Redis      Protocol = "redis"
	MongoDB    Protocol = "mongodb"
	Kafka      Protocol = "kafka"
	AMQP       Protocol = "amqp"
	NATS       Protocol = "nats"
	SSH        Protocol = "ssh"
	SMTP       Protocol = "smtp"
	Memcached  Protocol = "memcached"
	MQTT       Protocol = "mqtt"
	Cassandra  Protocol = "cassandra"
	LDAP       Protocol = "ldap"

	// Opaque is bytes that were looked at and not recognised, or must not be
	// looked at.
	Opaque Protocol = "opaque"

	// Unknown means that nobody has spoken yet: the receiver detects by
	// itself.
	Unknown Protocol = "unknown"
)

// maxProtocol bounds a protocol's name, in bytes.
const maxProtocol = 32

// Valid reports whether p has the form of a protocol name.
func (p Protocol) Valid() bool {
	if p == "" || len(p) > maxProtocol || p[0] < 'a' || p[0] > 'z' {
		return false
	}
	for i := range len(p) {
		if c := p[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// IsHTTP reports whether p is carried as HTTP messages by a session that can.
func (p Protocol) IsHTTP() bool { return p == HTTP1 || p == HTTP2 }

// Registered returns the protocol's own ALPN identifier (RFC 7301, section 6),
// which a client offers as the fallback for a peer that does not know hallmark
// tokens, or "" where there is none.
func (p Protocol) Registered() string {
	switch p {
	case HTTP1:
		return "http/1.1"
	case HTTP2:
		return "h2"
	default:
		return ""
	}
}

// ofRegistered is the inverse of [Protocol.Registered]. An identifier that it
// does not know, and none at all, say nothing of the protocol.
func ofRegistered(alpn string) Protocol {
	switch alpn {
	case "http/1.1":
		return HTTP1
	case "h2":
		return HTTP2
	default:
		return Unknown
	}
}

// Session says how bytes are framed inside TLS.
type Session string

const (
	// Raw: one TLS connection is one TCP stream; application bytes follow the
	// handshake at once.
	Raw Session = "raw"

	// Mux: many TCP streams of the same source, target and detected protocol
	// share the connection, one HTTP/2 CONNECT stream each.
	Mux Session = "mux"

	// H2: HTTP messages over HTTP/2, whatever the application speaks at each
	// end.
	H2 Session = "h2"
)

// Valid reports whether s has the form of a session kind: like a protocol name.
func (s Session) Valid() bool { return Protocol(s).Valid() }
