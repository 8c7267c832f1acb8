package h2

// Field is one field line. Names are lower-case. Strings that a connection hands
// out stay valid for ever.
type Field struct {
	Name, Value string

	// Sensitive asks never to put the field into a compression table, here
	// and on every hop after this one (RFC 7541, section 7.1.3). authorization,
	// proxy-authorization, cookie and set-cookie are treated so in any case.
	Sensitive bool
}

// MethodConnect asks for a tunnel (RFC 9113, section 8.5).
const MethodConnect = "CONNECT"

const methodHead = "HEAD"

// Kind says what a header block is.
type Kind uint8

// The kinds. A client is sent Informational blocks, if any, then a Response,
// then Trailers, if any; a server a Request, then Trailers, if any.
const (
	Request Kind = iota + 1
	Informational
	Response
	Trailers
)

// Headers is a header block: the pseudo-fields apart, the fields in order.
//
// One that a connection hands out has been checked (RFC 9113, section 8): names
// are lower-case tokens, values hold no control character and no space at
// either end, pseudo-fields are those that the kind asks for, once each and
// first; there are no connection-specific fields. It and its Fields are valid
// during the call, the strings for ever.
type Headers struct {
	Kind Kind

	// Of a Request. Scheme and Path are empty for CONNECT without Protocol.
	Method, Scheme, Authority, Path string

	// Protocol is that of an extended CONNECT (RFC 8441), or "".
	Protocol string

	// Status is that of a Response (200 and above) or an Informational one
	// (100 to 199, never 101).
	Status int

	Fields []Field
}

// Get returns the value of the first field of the name, and whether there is
// one.
func (h *Headers) Get(name string) (string, bool) {
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			return h.Fields[i].Value, true
		}
	}
	return "", false
}
