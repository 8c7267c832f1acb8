package h2

import (
	"hash/maphash"
	"math/bits"
	"strconv"
	"strings"
)

// encoder encodes header blocks (RFC 7541). A field enters the dynamic table when
// it is seen for the second time, so that what differs from message to message
// does not drive out what repeats. Strings are not Huffman-coded: both ends
// would pay more for it than a quarter of a header's bytes is worth on a
// network inside a data centre.
type encoder struct {
	table   table
	numbers map[uint64]uint64 // of what is in the table, by hash
	seen    [256]uint32       // hashes of fields seen lately
	seed    maphash.Seed

	// announce is the size that the next block starts with, -1 for none;
	// emptied says that the table was smaller meanwhile and starts afresh.
	announce int
	emptied  bool
}

func newEncoder() *encoder {
	e := &encoder{table: table{max: defaultTableSize}, seed: maphash.MakeSeed(), announce: -1}
	e.numbers = make(map[uint64]uint64)
	e.table.onEvict = func(old entry, number uint64) {
		if h := e.hash(old.name, old.value); e.numbers[h] == number {
			delete(e.numbers, h)
		}
	}
	return e
}

// limit follows the peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *encoder) limit(size uint32) {
	n := int(min(size, defaultTableSize))
	if n == e.table.max {
		return
	}
	if e.announce >= 0 && n > e.announce {
		// The peer has to see the smaller size too (RFC 7541, section 4.2).
		// It is said to be 0, since golang.org/x/net refuses a second size
		// while there is something in the table.
		e.table.resize(0)
		e.emptied = true
	}
	e.table.resize(n)
	e.announce = n
}

func (e *encoder) hash(name, value string) uint64 {
	return maphash.String(e.seed, name) + bits.RotateLeft64(maphash.String(e.seed, value), 17)
}

// block appends the header block of h.
func (e *encoder) block(b []byte, h *Headers) []byte {
	if e.announce >= 0 {
		if e.emptied {
			b = appendInteger(b, 0x20, 5, 0)
		}
		b = appendInteger(b, 0x20, 5, e.announce)
		e.announce, e.emptied = -1, false
	}
	switch h.Kind {
	case Request:
		b = e.field(b, ":method", h.Method, false)
		if h.Scheme != "" {
			b = e.field(b, ":scheme", h.Scheme, false)
		}
		if h.Authority != "" {
			b = e.field(b, ":authority", h.Authority, false)
		}
		if h.Path != "" {
			b = e.field(b, ":path", h.Path, false)
		}
		if h.Protocol != "" {
			b = e.field(b, ":protocol", h.Protocol, false)
		}
	case Response, Informational:
		b = e.status(b, h.Status)
	case Trailers:
	}
	for i := range h.Fields {
		f := &h.Fields[i]
		b = e.field(b, f.Name, f.Value, f.Sensitive || secret(f.Name))
	}
	return b
}

// secret reports whether a field of the name never enters a table: guesses at
// its value could be told by the length of a block.
func secret(name string) bool {
	switch name {
	case "authorization", "proxy-authorization", "cookie", "set-cookie":
		return true
	}
	return false
}

func (e *encoder) status(b []byte, status int) []byte {
	var digits [3]byte
	text := strconv.AppendInt(digits[:0], int64(status), 10)
	if i, ok := staticPairs[entry{":status", string(text)}]; ok { // does not allocate
		return append(b, 0x80|byte(i))
	}
	b = append(b, 0x08, byte(len(text))) // literal, name of index 8
	return append(b, text...)
}

// field appends one field.
func (e *encoder) field(b []byte, name, value string, sensitive bool) []byte {
	if sensitive {
		return appendLiteral(b, 0x10, 4, staticNames[name], name, value)
	}
	h := e.hash(name, value)
	if number, ok := e.numbers[h]; ok {
		i := int(e.table.inserted - number - 1)
		if found, ok := e.table.at(i); ok && found.name == name && found.value == value {
			return appendInteger(b, 0x80, 7, len(staticTable)+1+i)
		}
	}
	if i, ok := staticPairs[entry{name, value}]; ok {
		return append(b, 0x80|byte(i))
	}
	mark := &e.seen[h%uint64(len(e.seen))]
	again := *mark == uint32(h>>32)
	*mark = uint32(h >> 32)
	added := entry{name, value}
	if !again || added.size() > e.table.max/4 {
		return appendLiteral(b, 0, 4, staticNames[name], name, value)
	}
	b = appendLiteral(b, 0x40, 6, staticNames[name], name, value)
	e.table.add(entry{strings.Clone(name), strings.Clone(value)})
	e.numbers[h] = e.table.inserted - 1
	return b
}

func appendLiteral(b []byte, pattern byte, prefix, nameIndex int, name, value string) []byte {
	b = appendInteger(b, pattern, prefix, nameIndex)
	if nameIndex == 0 {
		b = appendInteger(b, 0, 7, len(name))
		b = append(b, name...)
	}
	b = appendInteger(b, 0, 7, len(value))
	return append(b, value...)
}

// appendInteger appends an integer behind a pattern with a prefix of so many
// bits (RFC 7541, section 5.1).
func appendInteger(b []byte, pattern byte, prefix, n int) []byte {
	most := 1<<prefix - 1
	if n < most {
		return append(b, pattern|byte(n))
	}
	b = append(b, pattern|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}
