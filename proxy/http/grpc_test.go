package http

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/h2"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// lengthPrefixed are gRPC messages of those lengths.
func lengthPrefixed(lengths ...int) []byte {
	var b []byte
	for _, n := range lengths {
		b = binary.BigEndian.AppendUint32(append(b, 0), uint32(n))
		b = append(b, make([]byte, n)...)
	}
	return b
}

// FuzzMessages: how content is cut makes no difference to how many messages are
// in it, and what is missing of the last one matters.
func FuzzMessages(f *testing.F) {
	f.Add(lengthPrefixed(0, 1, 300, 0), uint16(1))
	f.Add(lengthPrefixed(3)[:4], uint16(3))
	f.Add([]byte{0, 255, 255, 255, 255, 1}, uint16(7))
	f.Add([]byte{}, uint16(0))
	f.Fuzz(func(t *testing.T, content []byte, size uint16) {
		want, rest := uint64(0), content
		for len(rest) >= grpcPrefix {
			n := uint64(binary.BigEndian.Uint32(rest[1:]))
			if uint64(len(rest)-grpcPrefix) < n {
				break
			}
			rest = rest[grpcPrefix+n:]
			want++
		}
		var m grpcMessages
		for rest := content; len(rest) > 0; {
			n := min(len(rest), int(size)+1)
			m.add(rest[:n])
			rest = rest[n:]
		}
		if m.take() != want || m.take() != 0 {
			t.Errorf("%d messages in %x in pieces of %d, want %d", m.whole, content, size+1, want)
		}
	})
}

// TestMessages: a request's messages are counted, and not what was cut.
func TestMessages(t *testing.T) {
	address := app(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", r.Header.Get("Answer"))
		_, _ = w.Write(lengthPrefixed(10, 0, 70_000))
		_, _ = w.Write(lengthPrefixed(10)[:14])
	})
	p := start(t, tlsctx.HTTP2, to(plain(t, address, tlsctx.HTTP2)))
	for i, test := range []struct {
		asks, answers   string
		asked, answered uint64
	}{
		{"application/grpc", "application/grpc+proto", 2, 3},
		{"application/grpc", "text/html", 2, 0},
		{"text/plain", "text/plain", 0, 0},
	} {
		req, err := http.NewRequest(http.MethodPost, "http://"+p.address+"/s/m", bytes.NewReader(lengthPrefixed(100_000, 1)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", test.asks)
		req.Header.Set("Answer", test.answers)
		res, err := client(t, tlsctx.HTTP2).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		p.await("record", func() bool { return len(p.records) == i+1 })
		if r := p.records[i]; r.RequestMessages != test.asked || r.ResponseMessages != test.answered {
			t.Errorf("%s answered by %s: %d and %d messages", test.asks, test.answers, r.RequestMessages, r.ResponseMessages)
		}
		if got := p.records[i].Upstream.String(); got != address {
			t.Errorf("it went to %s, and is said to have gone to %s", address, got)
		}
	}
}

// TestMessagesOfAStream: of one that goes on it is told about once a second.
func TestMessagesOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var told [][2]uint64
		x := &exchange{relay: New(Config{Messages: func(_ any, asked, answered uint64) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, [2]uint64{asked, answered})
		}})}
		x.record = Record{IsGRPC: true, Start: time.Now(), Labels: "known"}
		for range 35 {
			x.requestData(chunkOf(lengthPrefixed(3)), false)
			x.carry(&x.answered, lengthPrefixed(1, 1))
			time.Sleep(100 * time.Millisecond)
		}
		if len(told) != 3 || told[0] != [2]uint64{11, 20} || told[1] != [2]uint64{10, 20} {
			t.Errorf("told %v", told)
		}
		if asked, answered := x.asked.take(), x.answered.take(); asked != 4 || answered != 10 {
			t.Errorf("the record gets %d and %d", asked, answered)
		}
		x.queue.Clear()
	})
}

func chunkOf(p []byte) h2.Chunk {
	chunk, _ := h2.ChunkOf(p)
	return chunk
}
