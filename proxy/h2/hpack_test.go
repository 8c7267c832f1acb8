package h2

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
)

// TestEncoderAgainstReference has a reference decode what the encoder wrote,
// while the table's size changes under way.
func TestEncoderAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	e := newEncoder()
	var got []Field
	reference := hpack.NewDecoder(defaultTableSize, func(f hpack.HeaderField) {
		got = append(got, Field{Name: f.Name, Value: f.Value, Sensitive: f.Sensitive})
	})
	for i := range 1500 {
		if r.IntN(20) == 0 {
			for range 1 + r.IntN(3) {
				size := uint32(r.IntN(6000))
				e.limit(size)
			}
		}
		h := randomHeaders(r)
		block := e.block(nil, h)
		got = nil
		if _, err := reference.Write(block); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if err := reference.Close(); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if want := flat(h); !slices.Equal(got, want) {
			t.Fatalf("block %d:\ngot  %+v\nwant %+v", i, got, want)
		}
	}
	if e.table.n == 0 || len(e.numbers) > e.table.n {
		t.Errorf("table has %d entries, %d known by hash", e.table.n, len(e.numbers))
	}
}

// TestDecoderAgainstReference decodes what a reference encodes, which uses
// Huffman coding and indexes everything.
func TestDecoderAgainstReference(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var block bytes.Buffer
	reference := hpack.NewEncoder(&block)
	d := newDecoder(1<<20, 1000)
	for i := range 1500 {
		if r.IntN(20) == 0 {
			reference.SetMaxDynamicTableSize(uint32(r.IntN(4097)))
		}
		want := flat(randomHeaders(r))
		block.Reset()
		for _, f := range want {
			_ = reference.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value, Sensitive: f.Sensitive})
		}
		if err := d.decode(block.Bytes()); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if !slices.Equal(d.fields, want) {
			t.Fatalf("block %d:\ngot  %+v\nwant %+v", i, d.fields, want)
		}
	}
}

func flat(h *Headers) []Field {
	var all []Field
	add := func(name, value string) {
		if value != "" {
			all = append(all, Field{Name: name, Value: value})
		}
	}
	if h.Kind == Request {
		add(":method", h.Method)
		add(":scheme", h.Scheme)
		add(":authority", h.Authority)
		add(":path", h.Path)
		add(":protocol", h.Protocol)
	} else {
		add(":status", fmt.Sprint(h.Status))
	}
	for _, f := range h.Fields {
		f.Sensitive = f.Sensitive || secret(f.Name)
		all = append(all, f)
	}
	return all
}

func randomHeaders(r *rand.Rand) *Headers {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	h := &Headers{
		Kind: Request, Method: pick("GET", "POST", "PATCH"), Scheme: pick("http", "https"),
		Authority: pick("a", "b.example", ""), Path: pick("/", "/index.html", fmt.Sprint("/", r.IntN(1000))),
	}
	if r.IntN(2) == 0 {
		h = &Headers{Kind: Response, Status: 200 + r.IntN(400)}
	}
	for range r.IntN(20) {
		h.Fields = append(h.Fields, Field{
			Name:      pick("cookie", "authorization", "accept", "x-one", "x-two", "content-type", strings.Repeat("n", 1+r.IntN(200))),
			Value:     pick("", "1", "gzip, deflate", fmt.Sprint(r.IntN(30)), strings.Repeat("v", r.IntN(3000))),
			Sensitive: r.IntN(10) == 0,
		})
	}
	return h
}

// TestSecretsAreNeverIndexed looks at the wire: such fields are literals that are
// never indexed (RFC 7541, section 6.2.3), however often they are sent.
func TestSecretsAreNeverIndexed(t *testing.T) {
	for _, name := range []string{"authorization", "proxy-authorization", "cookie", "set-cookie", "x-marked"} {
		e := newEncoder()
		h := &Headers{Kind: Trailers, Fields: []Field{{Name: name, Value: "swordfish", Sensitive: name == "x-marked"}}}
		for range 3 {
			if block := e.block(nil, h); block[0]&0xf0 != 0x10 || !bytes.Contains(block, []byte("swordfish")) {
				t.Errorf("%s was encoded as %x", name, block)
			}
		}
		if e.table.n != 0 {
			t.Errorf("%s is in the table", name)
		}
	}
}

// TestHeaderBombStopsAtTheLimit: a small block that refers to one large entry
// again and again costs what one entry costs (CVE-2016-6581).
func TestHeaderBombStopsAtTheLimit(t *testing.T) {
	block := appendLiteral(nil, 0x40, 6, 0, "x", strings.Repeat("v", 4000))
	for range 50_000 {
		block = append(block, 0x80|62)
	}
	d := newDecoder(64<<10, 256)
	if err := d.decode(block); err != nil || !d.tooLarge() || len(d.fields) > 17 || len(d.arena) > 8000 {
		t.Errorf("decode: %v, too large %v, %d fields kept of %d", err, d.tooLarge(), len(d.fields), d.count)
	}
	// Compression is still in step.
	if err := d.decode([]byte{0x80 | 62}); err != nil || d.tooLarge() || len(d.fields) != 1 {
		t.Errorf("the block after it: %v, %d fields", err, len(d.fields))
	}
}

func TestMalformedBlocks(t *testing.T) {
	for name, block := range map[string][]byte{
		"index 0":                      {0x80},
		"index beyond the tables":      {0x80 | 62},
		"integer without an end":       {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"integer cut off":              {0xff},
		"string cut off":               {0x00, 0x05, 'a'},
		"no value":                     {0x00, 0x01, 'a'},
		"size change after a field":    {0x82, 0x20},
		"size above what was agreed":   {0x3f, 0xe2, 0x1f},
		"huffman padding of zeros":     {0x00, 0x81, 0x1e, 0x00},
		"huffman padding above 7 bits": {0x00, 0x82, 0x1f, 0xff, 0x00},
		"huffman end of string":        {0x00, 0x84, 0xff, 0xff, 0xff, 0xff, 0x00},
	} {
		d := newDecoder(1<<16, 100)
		if err := d.decode(block); err == nil {
			t.Errorf("%s: decoded to %+v", name, d.fields)
		}
	}
}

// FuzzDecoder compares the decoder with a reference on anything.
func FuzzDecoder(f *testing.F) {
	e := newEncoder()
	r := rand.New(rand.NewPCG(5, 6))
	for range 10 {
		f.Add(e.block(nil, randomHeaders(r)), e.block(nil, randomHeaders(r)))
	}
	f.Add([]byte{0x82, 0x20}, []byte{0x3f, 0xe1, 0x1f, 0x82})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := newDecoder(1<<30, 1<<30)
		var want []Field
		reference := hpack.NewDecoder(defaultTableSize, func(f hpack.HeaderField) {
			want = append(want, Field{Name: f.Name, Value: f.Value, Sensitive: f.Sensitive})
		})
		for _, block := range [][]byte{first, second} {
			want = nil
			_, refErr := reference.Write(block)
			if closeErr := reference.Close(); refErr == nil {
				refErr = closeErr
			}
			err := d.decode(block)
			switch {
			case err != nil: // we may refuse what is of no use; a reference that refuses is followed
				return
			case refErr != nil:
				t.Fatalf("%x: decoded to %+v, the reference says %v", block, d.fields, refErr)
			case !slices.Equal(d.fields, want):
				t.Fatalf("%x:\ngot  %+v\nwant %+v", block, d.fields, want)
			}
		}
	})
}
