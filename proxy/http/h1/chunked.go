package h1

import (
	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// Decoder undoes chunked transfer coding (RFC 9112, section 7.1), strictly: no
// blanks around sizes, no bare LF, extensions ignored but bounded. The zero
// value is ready; it is reused by [Decoder.Reset].
type Decoder struct {
	state  chunkState
	left   int64 // bytes of the current chunk
	digits int
	spent  int64 // overhead beyond what is allowed for every chunk
	seen   int   // bytes of an incomplete trailer section that were looked at
	head   head
}

type chunkState uint8

const (
	inSize chunkState = iota
	inExtension
	afterSize // its CR has been read
	inData
	afterData
	afterDataCR
	inTrailers
	ended
)

// Reset makes the decoder ready for another body.
func (d *Decoder) Reset() { *d = Decoder{head: d.head} }

// Done reports whether the body and its trailers have ended.
func (d *Decoder) Done() bool { return d.state == ended }

// Decode decodes as much of b as it can, in place: the content is b[:n], and
// used says how much of b has been consumed. What is left is the beginning of a
// trailer section, to be given again with more behind it, or belongs to the next
// message once [Decoder.Done]. Trailers are appended to trailers.
func (d *Decoder) Decode(b []byte, trailers []message.Field, limits *Limits) (n, used int, all []message.Field, err error) {
	for used < len(b) && d.state != ended {
		switch d.state {
		case inData:
			take := int(min(d.left, int64(len(b)-used)))
			n += copy(b[n:], b[used:used+take])
			used += take
			if d.left -= int64(take); d.left == 0 {
				d.state = afterData
			}
		case inTrailers:
			size, err := d.trailers(b[used:], &trailers, limits)
			if err != nil {
				return n, used, trailers, err
			}
			if size == 0 {
				return n, used, trailers, nil
			}
			used += size
			d.state = ended
		default:
			if err := d.frame(b[used], limits); err != nil {
				return n, used, trailers, err
			}
			used++
		}
	}
	return n, used, trailers, nil
}

// frame takes one byte of what is between the contents of chunks.
func (d *Decoder) frame(c byte, limits *Limits) error {
	if d.spent++; d.spent > limits.ChunkOverhead {
		return message.Refuse(message.ChunkOverhead, "more than %d bytes", limits.ChunkOverhead)
	}
	switch d.state {
	case inSize:
		return d.size(c)
	case inExtension:
		if c == '\r' {
			d.state = afterSize
		} else if !message.IsValueByte(c) {
			return message.Refuse(message.BadChunk, "%q in an extension", c)
		}
	case afterSize:
		if c != '\n' {
			return message.Refuse(message.BadChunk, "%q after the CR of a size", c)
		}
		d.begin()
	case afterData:
		if c != '\r' {
			return message.Refuse(message.BadChunk, "%q after a chunk, not CR", c)
		}
		d.state = afterDataCR
	default: // afterDataCR
		if c != '\n' {
			return message.Refuse(message.BadChunk, "%q after the CR of a chunk", c)
		}
		d.state = inSize
	}
	return nil
}

// begin starts the chunk whose size is known.
func (d *Decoder) begin() {
	d.digits = 0
	if d.left == 0 {
		d.state, d.seen = inTrailers, 0
		return
	}
	d.state = inData
	if d.left >= 64 { // tiny ones count, others do not
		d.spent = max(d.spent-16, 0)
	}
}

// size takes a byte of a chunk's size.
func (d *Decoder) size(c byte) error {
	var digit byte
	switch {
	case c >= '0' && c <= '9':
		digit = c - '0'
	case c >= 'a' && c <= 'f':
		digit = c - 'a' + 10
	case c >= 'A' && c <= 'F':
		digit = c - 'A' + 10
	case d.digits > 0 && c == ';':
		d.state = inExtension
		return nil
	case d.digits > 0 && c == '\r':
		d.state = afterSize
		return nil
	default:
		return message.Refuse(message.BadChunk, "%q in a size", c)
	}
	if d.digits++; d.digits > 15 { // below 2^60
		return message.Refuse(message.BadChunk, "a size of more than 15 digits")
	}
	d.left = d.left<<4 | int64(digit)
	return nil
}

// trailers parses a trailer section (RFC 9112, section 7.1.2) and returns its
// length with the empty line, or 0 if it is not complete.
func (d *Decoder) trailers(b []byte, to *[]message.Field, limits *Limits) (int, error) {
	n, err := endOfTrailers(b, d.seen, limits.TrailerBytes)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		d.seen = len(b)
		return 0, nil
	}
	if n == 2 {
		return n, nil
	}
	if err := d.head.fields(b[:n], 0, limits.Fields); err != nil {
		return 0, err
	}
	if d.head.lengths > 0 || d.head.codings > 0 || d.head.hosts > 0 {
		return 0, message.Refuse(message.BadTrailer, "a field that frames or routes the message")
	}
	*to = DropForbidden(d.head.append(*to, string(b[:n])))
	return n, nil
}

// endOfTrailers is endOfHead with the limit and the reason of trailers.
func endOfTrailers(b []byte, seen, limit int) (int, *message.Error) {
	n, err := endOfHead(b, seen, limit)
	if err != nil && err.Reason == message.HeadTooLarge {
		err.Reason = message.TrailerTooLarge
	}
	return n, err
}

// DropForbidden removes, in place, what may not come in trailers.
func DropForbidden(trailers []message.Field) []message.Field {
	kept := trailers[:0]
	for _, f := range trailers {
		if !message.ForbiddenInTrailer(f.Name) {
			kept = append(kept, f)
		}
	}
	clear(trailers[len(kept):])
	return kept
}

// AppendChunk appends a chunk with the content p, which must not be empty.
func AppendChunk(to, p []byte) []byte {
	to = appendHex(to, len(p))
	to = append(to, "\r\n"...)
	to = append(to, p...)
	return append(to, "\r\n"...)
}

func appendHex(to []byte, n int) []byte {
	const digits = "0123456789abcdef"
	shift := 0
	for n>>(shift+4) > 0 {
		shift += 4
	}
	for ; shift >= 0; shift -= 4 {
		to = append(to, digits[n>>shift&15])
	}
	return to
}

// AppendLastChunk appends the chunk that ends a body, and its trailers.
func AppendLastChunk(to []byte, trailers []message.Field) []byte {
	to = append(to, "0\r\n"...)
	to, _ = appendFields(to, trailers)
	return append(to, "\r\n"...)
}
