package http

import (
	"strings"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// requestOf makes r the request of a header block of HTTP/2. The block has been
// checked for what RFC 9113 asks; what RFC 9110 and HTTP/1 ask is checked here,
// so that nothing passes that would be read otherwise once it is written as
// HTTP/1.
func requestOf(r *message.Request, h *h2.Headers, end bool) *message.Error {
	r.Method, r.Scheme, r.Authority, r.Path, r.Protocol = h.Method, h.Scheme, h.Authority, h.Path, h.Protocol
	r.Fields = r.Fields[:0]
	cookies, host := 0, false
	length := message.Unknown
	for i := range h.Fields {
		f := h.Fields[i]
		if err := message.CheckField(f); err != nil {
			return err
		}
		switch f.Name {
		case "host":
			if host || r.Authority != "" && r.Authority != f.Value {
				return message.Refuse(message.BadHost, "%.80q against :authority %.80q", f.Value, r.Authority)
			}
			host, r.Authority = true, f.Value
			continue
		case "content-length":
			n, err := message.ParseLength(f.Value)
			if err != nil {
				return err
			}
			if length != message.Unknown {
				return message.Refuse(message.RepeatedLength, "")
			}
			length = n
		case "cookie":
			cookies++
		case "expect":
			if err := message.CheckExpect(f.Value); err != nil {
				return err
			}
			if end {
				continue
			}
		case "te":
			if f.Value != "trailers" {
				return message.Refuse(message.ConnectionSpecific, "te: %.40q", f.Value)
			}
		default:
			if message.IsConnectionSpecific(f.Name) {
				return message.Refuse(message.ConnectionSpecific, "%.40q", f.Name)
			}
		}
		r.Fields = append(r.Fields, f)
	}
	if cookies > 1 {
		r.Fields = joinCookies(r.Fields)
	}
	switch {
	case r.Method == "TRACE" && !end:
		return message.Refuse(message.BadContentLength, "TRACE has no content")
	case end && length > 0:
		return message.Refuse(message.LengthMismatch, "content-length %d and no content", length)
	case end:
		length = 0
	}
	r.Length = length
	return checkRequest(r)
}

// checkRequest checks the pseudo-fields (RFC 9113, section 8.3.1).
func checkRequest(r *message.Request) *message.Error {
	if !message.IsToken(r.Method) || len(r.Method) > 64 {
		return message.Refuse(message.BadMethod, "%.40q", r.Method)
	}
	if r.Authority != "" || r.Method == "CONNECT" {
		if err := message.CheckAuthority(r.Authority); err != nil {
			return err
		}
	}
	switch {
	case r.Method == "CONNECT" && r.Protocol == "":
		return checkConnect(r)
	case r.Scheme != "http" && r.Scheme != "https":
		return message.Refuse(message.BadScheme, "%.40q", r.Scheme)
	case r.Protocol == "":
		return message.CheckPath(r.Method, r.Path)
	case r.Method != "CONNECT":
		return message.Refuse(message.BadUpgrade, ":protocol with the method %.40q", r.Method)
	}
	if _, stated := message.Get(r.Fields, "content-length"); stated {
		return message.Refuse(message.BadContentLength, "CONNECT has no content")
	}
	name, version, ok := strings.Cut(r.Protocol, "/")
	if !message.IsToken(name) || ok && !message.IsToken(version) {
		return message.Refuse(message.BadUpgrade, "%.40q", r.Protocol)
	}
	return message.CheckPath("GET", r.Path)
}

func checkConnect(r *message.Request) *message.Error {
	i := strings.LastIndexByte(r.Authority, ':')
	if i < 0 || i == len(r.Authority)-1 || strings.HasSuffix(r.Authority, "]") {
		return message.Refuse(message.BadTarget, "%.80q: CONNECT needs a port", r.Authority)
	}
	if _, stated := message.Get(r.Fields, "content-length"); stated {
		return message.Refuse(message.BadContentLength, "CONNECT has no content")
	}
	return nil
}

// joinCookies makes one cookie field of several (RFC 9113, section 8.2.3), where
// the first was.
func joinCookies(fields []message.Field) []message.Field {
	var b strings.Builder
	first, kept := -1, 0
	for i := range fields {
		f := fields[i]
		if f.Name != "cookie" {
			fields[kept] = f
			kept++
			continue
		}
		if first < 0 {
			first = kept
			fields[kept] = f
			kept++
		} else {
			b.WriteString("; ")
		}
		b.WriteString(f.Value)
	}
	fields[first].Value = b.String()
	clear(fields[kept:])
	return fields[:kept]
}

// responseOf makes r the response of a header block of HTTP/2.
func responseOf(r *message.Response, h *h2.Headers) *message.Error {
	r.Status, r.Fields = h.Status, r.Fields[:0]
	r.Length = message.Unknown
	for i := range h.Fields {
		f := h.Fields[i]
		if err := message.CheckField(f); err != nil {
			return err
		}
		if message.IsConnectionSpecific(f.Name) {
			return message.Refuse(message.ConnectionSpecific, "%.40q", f.Name)
		}
		if f.Name == "content-length" {
			n, err := message.ParseLength(f.Value)
			if err != nil {
				return err
			}
			if r.Length != message.Unknown {
				return message.Refuse(message.RepeatedLength, "")
			}
			r.Length = n
			if r.Status < 200 || r.Status == 204 {
				continue
			}
		}
		r.Fields = append(r.Fields, f)
	}
	return nil
}
