package h2

import "testing"

// BenchmarkRequest is what a request with twenty fields and its response with
// twenty cost a server, without the connection: reading one, writing the other.
func BenchmarkRequest(b *testing.B) {
	h := &replying{body: make([]byte, 64), response: Headers{Kind: Response, Status: 200}}
	h.response.Fields = fieldsOf(0)
	c := served(b, h)
	encoder, id := newEncoder(), uint32(1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		request := requestFrame(encoder, id, i)
		id += 2
		b.StartTimer()
		if err := c.in.feed(nil, request); err != nil {
			b.Fatal(err)
		}
		c.writeNothing()
	}
}
