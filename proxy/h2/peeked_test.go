package h2

import (
	"bufio"
	"context"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/http2"
)

// TestPeeked: what was read before comes first, in whatever pieces it was cut.
func TestPeeked(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	request := "\x00\x00\x06\x01\x05\x00\x00\x00\x01\x83\x86\x84\x41\x01h"
	sent := preface + settings + request
	for _, cut := range []int{1, len(preface) - 1, len(preface), len(preface) + 4, len(sent) - 1, len(sent)} {
		client, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		accepted := make(chan string, 1)
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		wg.Go(func() {
			_ = New(server, Server, Config{Peeked: []byte(sent[:cut])}, acceptor(func(s *Stream, h *Headers) {
				accepted <- h.Method + " " + h.Authority + h.Path
			})).Run(ctx)
		})
		if _, err := client.Write([]byte(sent[cut:])); err != nil {
			t.Fatal(err)
		}
		if _, err := http2.NewFramer(client, bufio.NewReader(client)).ReadFrame(); err != nil {
			t.Errorf("cut at %d: %v", cut, err)
		}
		if got := <-accepted; got != "POST h/" {
			t.Errorf("cut at %d: got %q", cut, got)
		}
		cancel()
		wg.Wait()
		client.Close()
	}
}

// acceptor is a handler that refuses every stream, once it has told of it.
type acceptor func(s *Stream, h *Headers)

func (acceptor) Ready(*Conn)   {}
func (acceptor) Changed(*Conn) {}

func (a acceptor) Accept(s *Stream, h *Headers, _ bool) StreamHandler {
	a(s, h)
	return nil
}
