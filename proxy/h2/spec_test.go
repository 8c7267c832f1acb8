package h2

import (
	"net"
	"os/exec"
	"sync"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// answer is a server's handler that answers each request when it has ended, with
// a body.
type answer struct{}

func acceptAnswer(s *Stream, _ *Headers, end bool) StreamHandler {
	if end {
		answer{}.give(s)
	}
	return answer{}
}

func (answer) give(s *Stream) {
	_ = s.SendHeaders(&Headers{Kind: Response, Status: 200, Fields: []Field{{Name: "content-type", Value: "text/plain"}}}, false)
	chunk, _ := ChunkOf([]byte("hello"))
	s.Send(chunk, true)
}

func (a answer) Headers(s *Stream, _ *Headers, _ bool) { a.give(s) }

func (a answer) Data(s *Stream, chunk Chunk, end bool) {
	s.Consumed(chunk.Len())
	chunk.Release()
	if end {
		a.give(s)
	}
}

func (answer) Sent(*Stream, int)      {}
func (answer) Closed(*Stream, *Error) {}

// TestSpec runs h2spec, every test and strictly, against a server that only this
// package makes.
func TestSpec(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_ = New(conn, Server, Config{MaxStreams: 100}, handlerFuncs{accept: acceptAnswer}).Run(t.Context())
			})
		}
	})
	defer wg.Wait()
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	out, err := exec.Command(components.Path(t, components.H2spec), "--strict", "-h", "127.0.0.1", "-p", port, "-o", "5").CombinedOutput()
	if err != nil {
		t.Errorf("h2spec: %v\n%s", err, out)
	} else {
		t.Logf("%s", out[max(0, len(out)-200):])
	}
}
