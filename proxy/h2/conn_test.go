package h2

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte{byte(seed), byte(seed >> 8)})).Read(b)
	return b
}

// exchange sends a request with a body and returns what was answered.
type exchange struct {
	status   int
	body     bytes.Buffer
	trailers []Field
	err      *Error
	hold     bool // it reports nothing as consumed
	done     chan struct{}
}

func (e *exchange) Headers(_ *Stream, h *Headers, _ bool) {
	if h.Kind == Trailers {
		e.trailers = append([]Field(nil), h.Fields...)
	} else {
		e.status = h.Status
	}
}

func (e *exchange) Data(s *Stream, chunk Chunk, _ bool) {
	e.body.Write(chunk.Bytes())
	if !e.hold {
		s.Consumed(chunk.Len())
	}
	chunk.Release()
}

func (e *exchange) Sent(*Stream, int) {}

func (e *exchange) Closed(_ *Stream, err *Error) {
	e.err = err
	close(e.done)
}

func get(path string) *Headers {
	return &Headers{Kind: Request, Method: "GET", Scheme: "http", Authority: "a", Path: path}
}

// TestEcho has many streams carry bodies of all sizes at once, over TCP, to our
// own peer and back.
func TestEcho(t *testing.T) {
	near, far := tcpPair(t)
	run(t, far, Server, Config{MaxStreams: 2000}, handlerFuncs{accept: acceptEcho})
	ready := make(chan struct{})
	client := run(t, near, Client, Config{}, handlerFuncs{ready: func(*Conn) { close(ready) }})
	<-ready
	var wg sync.WaitGroup
	for i := range uint64(200) {
		wg.Go(func() {
			body := random(i, rand.New(rand.NewPCG(i, 1)).IntN(1<<18))
			e := &exchange{done: make(chan struct{})}
			s, err := client.Open(get(fmt.Sprint("/", i)), false, e)
			if err != nil {
				t.Error(err)
				return
			}
			r := rand.New(rand.NewPCG(i, 2))
			for left := body; len(left) > 0; {
				chunk, n := ChunkOf(left[:min(len(left), 1+r.IntN(100_000))])
				left = left[n:]
				s.Send(chunk, false)
			}
			trailers := []Field{{Name: "x-sum", Value: fmt.Sprint(len(body))}}
			if err := s.SendHeaders(&Headers{Kind: Trailers, Fields: trailers}, true); err != nil {
				t.Error(err)
			}
			<-e.done
			if e.err != nil || e.status != 200 || !bytes.Equal(e.body.Bytes(), body) || fmt.Sprint(e.trailers) != fmt.Sprint(trailers) {
				t.Errorf("stream %d: status %d, %d bytes of %d, trailers %v, error %v", i, e.status, e.body.Len(), len(body), e.trailers, e.err)
			}
			s.Release()
		})
	}
	wg.Wait()
	if n := client.Streams(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	client.Drain()
	if err := <-client.err; err != nil {
		t.Errorf("Run: %v", err)
	}
}
