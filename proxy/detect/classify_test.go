package detect_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/detect"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// clientFirst are the first bytes of clients, as their protocols' specifications
// have them.
var clientFirst = map[string]struct {
	bytes    string
	protocol tlsctx.Protocol
}{
	"GET":                    {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", tlsctx.HTTP1},
	"POST 1.0":               {"POST /x?y HTTP/1.0\r\n\r\n", tlsctx.HTTP1},
	"CONNECT":                {"CONNECT a:443 HTTP/1.1\r\n", tlsctx.HTTP1},
	"odd method":             {"M-SEARCH * HTTP/1.1\r\n", tlsctx.HTTP1},
	"empty line first":       {"\r\nGET / HTTP/1.1\r\n", tlsctx.HTTP1},
	"h2 preface":             {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00", tlsctx.HTTP2},
	"TLS 1.3":                {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", tlsctx.TLS},
	"PostgreSQL":             {"\x00\x00\x00\x29\x00\x03\x00\x00user\x00postgres\x00database\x00db\x00\x00", tlsctx.PostgreSQL},
	"PostgreSQL SSLRequest":  {"\x00\x00\x00\x08\x04\xd2\x16\x2f", tlsctx.PostgreSQL},
	"PostgreSQL GSSENC":      {"\x00\x00\x00\x08\x04\xd2\x16\x30", tlsctx.PostgreSQL},
	"PostgreSQL cancel":      {"\x00\x00\x00\x10\x04\xd2\x16\x2e\x00\x00\x00\x01\x00\x00\x00\x02", tlsctx.PostgreSQL},
	"Redis":                  {"*1\r\n$4\r\nPING\r\n", tlsctx.Redis},
	"Redis HELLO":            {"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", tlsctx.Redis},
	"MongoDB OP_MSG":         {"\x1f\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xdd\x07\x00\x00\x00\x00", tlsctx.MongoDB},
	"MongoDB OP_QUERY":       {"\x3a\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00", tlsctx.MongoDB},
	"Kafka ApiVersions":      {"\x00\x00\x00\x24\x00\x12\x00\x03\x00\x00\x00\x00\x00\x07rdkafka\x00\x0brdkafka", tlsctx.Kafka},
	"Kafka Metadata":         {"\x00\x00\x00\x1f\x00\x03\x00\x00\x00\x00\x00\x01\x00\x06client\x00\x00\x00\x01", tlsctx.Kafka},
	"AMQP 0-9-1":             {"AMQP\x00\x00\x09\x01", tlsctx.AMQP},
	"AMQP 1.0 SASL":          {"AMQP\x03\x01\x00\x00", tlsctx.AMQP},
	"SSH":                    {"SSH-2.0-OpenSSH_9.2\r\n", tlsctx.SSH},
	"MQTT 3.1.1":             {"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd", tlsctx.MQTT},
	"SMTP":                   {"EHLO me\r\n", tlsctx.SMTP},
	"NATS":                   {"CONNECT {\"verbose\":false}\r\n", tlsctx.NATS},
	"Redis inline PING":      {"PING\r\n", tlsctx.Redis},
	"memcached get":          {"get some:key\r\n", tlsctx.Memcached},
	"memcached set":          {"set k 0 60 5\r\nhello\r\n", tlsctx.Memcached},
	"memcached meta":         {"mg key v\r\n", tlsctx.Memcached},
	"memcached version":      {"version\r\n", tlsctx.Memcached},
	"memcached binary get":   {"\x80\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Hello", tlsctx.Memcached},
	"memcached binary SASL":  {"\x80\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", tlsctx.Memcached},
	"like memcached":         {"set phasers to stun\r\n", tlsctx.Opaque},
	"Cassandra OPTIONS":      {"\x04\x00\x00\x00\x05\x00\x00\x00\x00", tlsctx.Cassandra},
	"Cassandra STARTUP":      {"\x05\x10\x00\x01\x01\x00\x00\x00\x16\x00\x01\x00\x0bCQL_VERSION", tlsctx.Cassandra},
	"LDAP bind":              {"\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00", tlsctx.LDAP},
	"LDAP long form":         {"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x60", tlsctx.LDAP},
	"LDAP StartTLS":          {"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037", tlsctx.LDAP},
	"text line":              {"hello\r\n", tlsctx.Opaque},
	"HTTP/0.9":               {"GET /\r\n", tlsctx.Opaque},
	"HTTP/3 in text":         {"GET / HTTP/3\r\n", tlsctx.Opaque},
	"method too long":        {strings.Repeat("A", 25) + " / HTTP/1.1\r\n", tlsctx.Opaque},
	"control byte in target": {"GET /\x01 HTTP/1.1\r\n", tlsctx.Opaque},
	"SSLv2":                  {"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80", tlsctx.Opaque},
	"zeroes":                 {strings.Repeat("\x00", 64), tlsctx.Opaque},
	"ones":                   {strings.Repeat("\xff", 64), tlsctx.Opaque},
}

var serverFirst = map[string]struct {
	bytes    string
	protocol tlsctx.Protocol
}{
	"h2 SETTINGS":   {"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00", tlsctx.HTTP2},
	"MariaDB":       {"\x5b\x00\x00\x00\x0a5.5.5-10.11.19-MariaDB\x00", tlsctx.MySQL},
	"MySQL 8":       {"\x4a\x00\x00\x00\x0a8.0.36\x00", tlsctx.MySQL},
	"MySQL refusal": {"\x45\x00\x00\x00\xff\x6a\x04Host", tlsctx.MySQL},
	"SSH":           {"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", tlsctx.SSH},
	"SMTP":          {"220 mail.example.org ESMTP Postfix\r\n", tlsctx.SMTP},
	"FTP":           {"220 ProFTPD Server ready.\r\n", tlsctx.Opaque},
	"LMTP":          {"220 mail LMTP ready\r\n", tlsctx.SMTP},
	"NATS":          {"INFO {\"server_id\":\"x\"}\r\n", tlsctx.NATS},
	"POP3":          {"+OK ready\r\n", tlsctx.Opaque},
}

func TestClientBytes(t *testing.T) {
	for name, c := range clientFirst {
		if got, verdict := detect.Client([]byte(c.bytes)); got != c.protocol || verdict != detect.Decided {
			t.Errorf("%s: %s (decided=%t), want %s", name, got, verdict == detect.Decided, c.protocol)
		}
	}
}

func TestServerBytes(t *testing.T) {
	for name, c := range serverFirst {
		if got, verdict := detect.Server([]byte(c.bytes)); got != c.protocol || verdict != detect.Decided {
			t.Errorf("%s: %s (decided=%t), want %s", name, got, verdict == detect.Decided, c.protocol)
		}
	}
}

// incremental classifies growing prefixes until one decides, as reading does.
func incremental(classify func([]byte) (tlsctx.Protocol, detect.Verdict), b []byte) (tlsctx.Protocol, detect.Verdict) {
	for i := 1; i <= len(b); i++ {
		if p, v := classify(b[:i]); v == detect.Decided {
			return p, v
		}
	}
	return classify(b)
}

// TestCuttingChangesNothing gives the same bytes whole and one by one.
func TestCuttingChangesNothing(t *testing.T) {
	for name, c := range clientFirst {
		if got, _ := incremental(detect.Client, []byte(c.bytes)); got != c.protocol {
			t.Errorf("%s, byte by byte: %s, want %s", name, got, c.protocol)
		}
	}
	for name, c := range serverFirst {
		if got, _ := incremental(detect.Server, []byte(c.bytes)); got != c.protocol {
			t.Errorf("%s, byte by byte: %s, want %s", name, got, c.protocol)
		}
	}
}

func FuzzClient(f *testing.F) {
	for _, c := range clientFirst {
		f.Add([]byte(c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) { invariant(t, detect.Client, b) })
}

func FuzzServer(f *testing.F) {
	for _, c := range serverFirst {
		f.Add([]byte(c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) { invariant(t, detect.Server, b) })
}

// invariant holds a classifier to one answer however the bytes are cut, and to
// an answer at the bound.
func invariant(t *testing.T, classify func([]byte) (tlsctx.Protocol, detect.Verdict), b []byte) {
	b = b[:min(len(b), 2*detect.MaxPeek)]
	whole, verdict := classify(b)
	piecewise, pieceVerdict := incremental(classify, b)
	if whole != piecewise || verdict != pieceVerdict {
		t.Errorf("%q: %s whole and %s in pieces", b, whole, piecewise)
	}
	if len(b) >= detect.MaxPeek && verdict != detect.Decided {
		t.Errorf("%d bytes do not decide", len(b))
	}
	if !whole.Valid() {
		t.Errorf("protocol %q", whole)
	}
}

func BenchmarkClient(b *testing.B) {
	for _, name := range []string{"GET", "PostgreSQL", "Redis", "TLS 1.3", "text line"} {
		bytes := []byte(clientFirst[name].bytes)
		b.Run(fmt.Sprint(name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				detect.Client(bytes)
			}
		})
	}
}
