package h2

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// defaultTableSize is the size of a dynamic table before anything was agreed
// (RFC 9113, section 6.5.2), and what is agreed to here.
const defaultTableSize = 4096

var errCompression = errors.New("header block is malformed")

// decoder decodes header blocks (RFC 7541). It makes one string of all the
// strings of a block that are in no table, and no more than a block may have:
// of one that is too large it decodes what the tables need, and nothing else.
type decoder struct {
	table            table
	maxBytes, maxAll int

	// fields are those of the last block.
	fields []Field

	// size is that of the block's field list (RFC 9113, section 6.5.2);
	// count is how many fields it had. Fields beyond the limits are missing.
	size, count int

	spans []span
	arena []byte
}

// span is where a field's strings are in the arena, if they are there.
type span struct {
	name, value piece
}

// piece is a string: text, or a part of the arena.
type piece struct {
	text     string
	from, to int
}

func newDecoder(maxBytes, maxFields int) decoder {
	return decoder{table: table{max: defaultTableSize}, maxBytes: maxBytes, maxAll: maxFields}
}

// tooLarge says that fields of the last block are missing.
func (d *decoder) tooLarge() bool { return d.size > d.maxBytes || d.count > d.maxAll }

// decode decodes a block. After an error, the connection's compression is
// broken.
func (d *decoder) decode(block []byte) error {
	d.fields, d.spans, d.arena = d.fields[:0], d.spans[:0], d.arena[:0]
	d.size, d.count = 0, 0
	for start := true; len(block) > 0; {
		var err error
		switch b := block[0]; {
		case b&0x80 != 0:
			block, err = d.indexed(block)
		case b&0xc0 == 0x40:
			block, err = d.literal(block, 6, true, false)
		case b&0xe0 == 0x20:
			if !start {
				return errCompression // RFC 7541, section 4.2
			}
			if block, err = d.resize(block); err == nil {
				continue
			}
		default:
			block, err = d.literal(block, 4, false, b&0xf0 == 0x10)
		}
		if err != nil {
			return err
		}
		start = false
	}
	d.settle()
	return nil
}

// forget lets go of the last block: an idle connection holds little.
func (d *decoder) forget() {
	clear(d.fields)
	if cap(d.arena) > small {
		d.arena = nil
	}
	if cap(d.fields) > 64 {
		d.fields, d.spans = nil, nil
	}
}

// settle makes the strings of the block.
func (d *decoder) settle() {
	all := ""
	if len(d.arena) > 0 {
		all = string(d.arena)
	}
	for i, s := range d.spans {
		d.fields[i].Name = s.name.in(all)
		d.fields[i].Value = s.value.in(all)
	}
}

func (p piece) in(arena string) string {
	if p.to > 0 {
		return arena[p.from:p.to]
	}
	return p.text
}

func (p piece) len() int {
	if p.to > 0 {
		return p.to - p.from
	}
	return len(p.text)
}

func (d *decoder) emit(name, value piece, sensitive bool) {
	d.count++
	d.size += name.len() + value.len() + 32
	if d.tooLarge() {
		return
	}
	d.spans = append(d.spans, span{name, value})
	d.fields = append(d.fields, Field{Sensitive: sensitive})
}

func (d *decoder) indexed(block []byte) ([]byte, error) {
	i, block, err := integer(block, 7)
	if err != nil {
		return nil, err
	}
	e, err := d.lookup(i)
	if err != nil {
		return nil, err
	}
	d.emit(piece{text: e.name}, piece{text: e.value}, false)
	return block, nil
}

// lookup returns an entry of either table (RFC 7541, section 2.3.3).
func (d *decoder) lookup(i int) (entry, error) {
	if i >= 1 && i <= len(staticTable) {
		return staticTable[i-1], nil
	}
	if e, ok := d.table.at(i - len(staticTable) - 1); ok {
		return e, nil
	}
	return entry{}, errCompression
}

// literal decodes a literal field (RFC 7541, section 6.2).
func (d *decoder) literal(block []byte, prefix int, index, sensitive bool) ([]byte, error) {
	i, block, err := integer(block, prefix)
	if err != nil {
		return nil, err
	}
	mark := len(d.arena)
	var name, value piece
	if i == 0 {
		name, block, err = d.str(block)
	} else {
		var e entry
		e, err = d.lookup(i)
		name.text = e.name
	}
	if err != nil {
		return nil, err
	}
	if value, block, err = d.str(block); err != nil {
		return nil, err
	}
	if index {
		// What outlives the block gets strings of its own.
		e := entry{d.own(name), d.own(value)}
		d.arena = d.arena[:mark]
		d.table.add(e)
		name, value = piece{text: e.name}, piece{text: e.value}
	}
	d.emit(name, value, sensitive)
	if d.tooLarge() {
		d.arena = d.arena[:mark]
	}
	return block, nil
}

func (d *decoder) own(p piece) string {
	if p.to > 0 {
		return string(d.arena[p.from:p.to])
	}
	return p.text
}

// str decodes a string into the arena (RFC 7541, section 5.2).
func (d *decoder) str(block []byte) (piece, []byte, error) {
	if len(block) == 0 {
		return piece{}, nil, errCompression
	}
	huffman := block[0]&0x80 != 0
	n, block, err := integer(block, 7)
	if err != nil || n > len(block) {
		return piece{}, nil, errCompression
	}
	from := len(d.arena)
	if huffman {
		if _, err := hpack.HuffmanDecode(d, block[:n]); err != nil {
			return piece{}, nil, errCompression
		}
	} else {
		d.arena = append(d.arena, block[:n]...)
	}
	if len(d.arena) == from {
		return piece{}, block[n:], nil
	}
	return piece{from: from, to: len(d.arena)}, block[n:], nil
}

// Write appends to the arena, for HuffmanDecode.
func (d *decoder) Write(p []byte) (int, error) {
	d.arena = append(d.arena, p...)
	return len(p), nil
}

// resize follows a change of the table's size (RFC 7541, section 6.3).
func (d *decoder) resize(block []byte) ([]byte, error) {
	n, block, err := integer(block, 5)
	if err != nil || n > defaultTableSize {
		return nil, errCompression
	}
	d.table.resize(n)
	return block, nil
}

// integer decodes an integer with a prefix of so many bits (RFC 7541, section
// 5.1). None that is of use is larger than 2^28.
func integer(block []byte, prefix int) (int, []byte, error) {
	if len(block) == 0 {
		return 0, nil, errCompression
	}
	mask := 1<<prefix - 1
	n := int(block[0]) & mask
	if n < mask {
		return n, block[1:], nil
	}
	for i, b := range block[1:] {
		if i > 3 {
			break
		}
		n += int(b&0x7f) << (7 * i)
		if b&0x80 == 0 {
			return n, block[i+2:], nil
		}
	}
	return 0, nil, errCompression
}
