package h1

import (
	"bytes"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// span is a field line within a head: its name and its value.
type span struct {
	name, nameEnd, value, valueEnd int32
}

// head finds the parts of a request's or response's head. It is reused.
type head struct {
	spans []span
	start int // where the fields begin

	// What the fields say of the connection and the body.
	lengths   int // how many content-length fields there are
	codings   int // how many transfer-encoding fields
	hosts     int
	expects   int
	special   bool // fields of one connection among them
	length    int32
	lengthEnd int32
	coding    int32
	codingEnd int32
}

// endOfHead returns the length of the head at the start of b, including the
// empty line, or 0 if it is not complete. seen says how many bytes have been
// looked at before. A line that ends without CR is an error, and more than limit
// bytes are.
func endOfHead(b []byte, seen, limit int) (int, *message.Error) {
	from := max(seen-3, 0)
	for {
		i := bytes.IndexByte(b[from:], '\n')
		if i < 0 {
			break
		}
		at := from + i
		if at == 0 || b[at-1] != '\r' {
			return 0, message.Refuse(message.BareLF, "in a head, after %.40q", b[max(0, at-20):at])
		}
		if at >= 3 && b[at-2] == '\n' && b[at-3] == '\r' || at == 1 {
			if at+1 > limit {
				return 0, message.Refuse(message.HeadTooLarge, "%d bytes are more than %d", at+1, limit)
			}
			return at + 1, nil
		}
		from = at + 1
	}
	if len(b) >= limit {
		return 0, message.Refuse(message.HeadTooLarge, "more than %d bytes", limit)
	}
	return 0, nil
}

// line returns the end of the line that starts at from: the index of its CR.
// Heads hold no bare LF any more; a CR anywhere else is refused.
func line(b []byte, from int) (int, *message.Error) {
	i := bytes.IndexByte(b[from:], '\r')
	if i < 0 || from+i+1 >= len(b) || b[from+i+1] != '\n' {
		return 0, message.Refuse(message.BareCR, "in the line %.40q", b[from:])
	}
	return from + i, nil
}

// fields finds the field lines from start to the empty line at the end of b
// (RFC 9112, section 5) and turns their names into lower case, in b.
func (h *head) fields(b []byte, start, limit int) *message.Error {
	h.spans, h.start = h.spans[:0], start
	h.lengths, h.codings, h.hosts, h.expects, h.special = 0, 0, 0, 0, false
	for at := start; ; {
		end, err := line(b, at)
		if err != nil {
			return err
		}
		if end == at {
			return nil
		}
		if len(h.spans) == limit {
			return message.Refuse(message.TooManyFields, "more than %d", limit)
		}
		s, err := field(b, at, end)
		if err != nil {
			return err
		}
		h.note(b, s)
		h.spans = append(h.spans, s)
		at = end + 2
	}
}

// field parses one field line, b[at:end].
func field(b []byte, at, end int) (span, *message.Error) {
	if b[at] == ' ' || b[at] == '\t' {
		return span{}, message.Refuse(message.ObsoleteFold, "or a blank before the field name in %.40q", b[at:end])
	}
	colon := at
	for colon < end && message.IsTokenByte(b[colon]) {
		if message.IsUpper(b[colon]) {
			b[colon] += 'a' - 'A'
		}
		colon++
	}
	if colon == end || b[colon] != ':' || colon == at {
		return span{}, nameError(b, at, colon, end)
	}
	value, valueEnd := colon+1, end
	for value < end && (b[value] == ' ' || b[value] == '\t') {
		value++
	}
	for valueEnd > value && (b[valueEnd-1] == ' ' || b[valueEnd-1] == '\t') {
		valueEnd--
	}
	for i := value; i < valueEnd; i++ {
		if !message.IsValueByte(b[i]) {
			return span{}, message.ValueError(b[value:valueEnd])
		}
	}
	return span{int32(at), int32(colon), int32(value), int32(valueEnd)}, nil
}

// nameError says what is wrong with the name of the field line b[at:end] that is
// a token up to stop.
func nameError(b []byte, at, stop, end int) *message.Error {
	if stop < end {
		switch b[stop] {
		case ' ', '\t':
			return message.Refuse(message.SpaceBeforeColon, "in the line %.40q", b[at:end])
		case 0:
			return message.Refuse(message.NUL, "in the line %.40q", b[at:end])
		}
	}
	return message.Refuse(message.BadFieldName, "in the line %.40q", b[at:end])
}

// note keeps what the field says of the connection and the body.
func (h *head) note(b []byte, s span) {
	switch string(b[s.name:s.nameEnd]) {
	case "content-length":
		h.lengths++
		h.length, h.lengthEnd = s.value, s.valueEnd
	case "transfer-encoding":
		h.codings++
		h.coding, h.codingEnd = s.value, s.valueEnd
		h.special = true
	case "host":
		h.hosts++
	case "expect":
		h.expects++
	case "connection", "keep-alive", "proxy-connection", "upgrade", "te", "http2-settings":
		h.special = true
	}
}

// append appends the fields to to. text is the head as a string, which all of
// them share.
func (h *head) append(to []message.Field, text string) []message.Field {
	for _, s := range h.spans {
		to = append(to, message.Field{Name: text[s.name:s.nameEnd], Value: text[s.value:s.valueEnd]})
	}
	return to
}

// framing returns how long the body is by the fields (RFC 9112, section 6.3):
// chunked, or the stated length, or [message.Unknown] if neither is stated.
// minor is the version's. What two readers could understand differently is
// refused.
func (h *head) framing(text string, minor int) (length int64, chunked bool, err *message.Error) {
	switch {
	case h.lengths > 0 && h.codings > 0:
		return 0, false, message.Refuse(message.LengthAndCoding, "")
	case h.lengths > 1:
		return 0, false, message.Refuse(message.RepeatedLength, "%d of them", h.lengths)
	case h.lengths == 1:
		length, err = message.ParseLength(text[h.length:h.lengthEnd])
		return length, false, err
	case h.codings == 0:
		return message.Unknown, false, nil
	}
	coding := text[h.coding:h.codingEnd]
	switch {
	case h.codings > 1:
		return 0, false, message.Refuse(message.BadTransferEncoding, "%d fields", h.codings)
	case minor == 0:
		return 0, false, message.Refuse(message.BadTransferEncoding, "in HTTP/1.0")
	case !isChunked(coding):
		return 0, false, message.Refuse(message.BadTransferEncoding, "%.40q: chunked is the only one taken", coding)
	}
	return message.Unknown, true, nil
}

// isChunked reports whether a transfer coding is chunked, in any case.
func isChunked(coding string) bool {
	return len(coding) == len("chunked") && message.HasToken(coding, "chunked")
}
