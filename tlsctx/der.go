package tlsctx

// der builds DER (X.690) by appending: begin a value, append its content, end
// it. It is a tenth of the cost of cryptobyte.Builder, which matters because a
// context is encoded for every connection. Reading is cryptobyte's.
type der []byte

// Universal tags, and the context-specific ones of X.509 and of our extension.
const (
	tagInteger         = 0x02
	tagBitString       = 0x03
	tagOctetString     = 0x04
	tagUTF8String      = 0x0c
	tagIA5String       = 0x16
	tagSequence        = 0x30
	tagSet             = 0x31
	tagContext0        = 0x80
	tagContext1        = 0x81
	tagContext2        = 0x82
	tagConstructed0    = 0xa0
	tagConstructed3    = 0xa3
	maxShortForm       = 0x7f
	longFormOneByte    = 0x81
	longFormTwoBytes   = 0x82
	maxTwoByteEncoding = 0xffff
)

// begin starts a value of the given tag and returns where its content starts.
func (d *der) begin(tag byte) int {
	*d = append(*d, tag, 0)
	return len(*d)
}

// end completes the value whose content starts at start: it writes the length,
// in the shortest form, moving the content if that takes more than one byte.
// Content beyond 65,535 bytes does not occur: every input is bounded.
func (d *der) end(start int) {
	switch n := len(*d) - start; {
	case n <= maxShortForm:
		(*d)[start-1] = byte(n)
	case n <= 0xff:
		*d = append(*d, 0)
		copy((*d)[start+1:], (*d)[start:])
		(*d)[start-1], (*d)[start] = longFormOneByte, byte(n)
	case n <= maxTwoByteEncoding:
		*d = append(*d, 0, 0)
		copy((*d)[start+2:], (*d)[start:])
		(*d)[start-1], (*d)[start], (*d)[start+1] = longFormTwoBytes, byte(n>>8), byte(n)
	default:
		panic("tlsctx: DER value beyond every bound")
	}
}

// value appends one primitive value.
func (d *der) value(tag byte, content ...byte) {
	start := d.begin(tag)
	*d = append(*d, content...)
	d.end(start)
}

// text appends one string value.
func (d *der) text(tag byte, content string) {
	start := d.begin(tag)
	*d = append(*d, content...)
	d.end(start)
}
