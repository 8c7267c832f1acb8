package h1

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
)

// TestPhrase holds the phrases against those of net/http, which has all of the
// registry, some by the names of older RFCs.
func TestPhrase(t *testing.T) {
	renamed := map[int]string{
		http.StatusRequestEntityTooLarge:        "Content Too Large",
		http.StatusRequestURITooLong:            "URI Too Long",
		http.StatusRequestedRangeNotSatisfiable: "Range Not Satisfiable",
		http.StatusUnprocessableEntity:          "Unprocessable Content",
		http.StatusTeapot:                       "", // unused in the registry
	}
	var buffer []byte
	r := message.Response{Length: message.Unknown}
	for r.Status = range 1000 {
		want, ok := renamed[r.Status]
		if !ok {
			want = http.StatusText(r.Status)
		}
		buffer = AppendResponse(buffer[:0], &r, Outgoing{Body: UntilClose})
		if want := fmt.Sprintf("HTTP/1.1 %d %s\r\n\r\n", r.Status, want); string(buffer) != want {
			t.Errorf("got %q, want %q", buffer, want)
		}
	}
	if n := testing.AllocsPerRun(100, func() { buffer = AppendResponse(buffer[:0], &r, Outgoing{}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
