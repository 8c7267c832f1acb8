package h2

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// inBubble runs a server against a peer of single frames over a pipe, in a bubble
// where time passes when nothing else happens.
func inBubble(t *testing.T, config Config, handler Handler, peer func(t *testing.T, w *http2.Framer, conn net.Conn, r *running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := pipe()
		r := &running{Conn: New(far, Server, config, handler), err: make(chan error, 1)}
		go func() { r.err <- r.Run(t.Context()) }()
		frames := make(chan struct{})
		defer func() {
			_ = near.Close()
			<-r.Done()
			<-frames
		}()
		// The pipe holds nothing: somebody has to read, always.
		reading, writing := net.Pipe()
		go func() {
			defer close(frames)
			_, _ = io.Copy(writing, near)
			_ = writing.Close()
		}()
		defer reading.Close()
		if _, err := near.Write([]byte(preface)); err != nil {
			t.Fatal(err)
		}
		w := http2.NewFramer(near, reading)
		if err := w.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		peer(t, w, near, r)
	})
}

// awaitPing reads until a PING that wants an answer.
func awaitPing(w *http2.Framer) (p [8]byte, err error) {
	for {
		f, err := w.ReadFrame()
		if err != nil {
			return p, err
		}
		switch f := f.(type) {
		case *http2.PingFrame:
			if !f.IsAck() {
				return f.Data, nil
			}
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = w.WriteSettingsAck()
			}
		}
	}
}

// TestKeepAlive: a quiet peer is asked, one that answers lives on, and one that
// does not is given up.
func TestKeepAlive(t *testing.T) {
	config := Config{PingInterval: time.Minute, PingTimeout: 5 * time.Second}
	inBubble(t, config, handlerFuncs{}, func(t *testing.T, w *http2.Framer, _ net.Conn, r *running) {
		began := time.Now()
		for i := range 3 {
			p, err := awaitPing(w)
			if err != nil {
				t.Fatalf("no PING %d: %v", i, err)
			}
			if err := w.WritePing(true, p); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := awaitPing(w); err != nil {
			t.Fatal(err)
		}
		asked := time.Now()
		for { // without an answer
			if _, err := w.ReadFrame(); err != nil {
				break
			}
		}
		if waited := time.Since(asked); waited != config.PingTimeout {
			t.Errorf("given up %v after the PING", waited)
		}
		if lived := asked.Sub(began); lived < 4*config.PingInterval {
			t.Errorf("asked for the fourth time after %v", lived)
		}
		if err := <-r.err; !errors.Is(err, ReasonPingTimeout) {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestSettingsTimeout: SETTINGS that nobody acknowledges end the connection.
func TestSettingsTimeout(t *testing.T) {
	inBubble(t, Config{}, handlerFuncs{}, func(t *testing.T, w *http2.Framer, _ net.Conn, r *running) {
		began := time.Now()
		for {
			f, err := w.ReadFrame()
			if err != nil {
				t.Fatal("no GOAWAY")
			}
			if g, ok := f.(*http2.GoAwayFrame); ok {
				if g.ErrCode != http2.ErrCodeSettingsTimeout || time.Since(began) != 10*time.Second {
					t.Errorf("%v after %v", g.ErrCode, time.Since(began))
				}
				break
			}
		}
		if err := <-r.err; !errors.Is(err, ReasonNoSettings) {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestServerDrain: the first GOAWAY refuses nothing, streams that crossed it are
// served, the second one names the last of them, and the connection ends after it.
// A peer that does not answer the PING in between is not waited for.
func TestServerDrain(t *testing.T) {
	for name, answers := range map[string]bool{"with an answer": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, handlerFuncs{accept: acceptEcho}, func(t *testing.T, w *http2.Framer, _ net.Conn, r *running) {
				request := appendLiteral([]byte{0x82, 0x84, 0x86}, 0, 4, 1, ":authority", "a")
				r.Drain()
				var last []uint32
				for {
					f, err := w.ReadFrame()
					if err != nil {
						break
					}
					switch f := f.(type) {
					case *http2.SettingsFrame:
						if !f.IsAck() {
							_ = w.WriteSettingsAck()
						}
					case *http2.GoAwayFrame:
						if last = append(last, f.LastStreamID); len(last) == 1 {
							_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: request})
						} else { // it is too late for this one
							_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndHeaders: true, BlockFragment: request})
							_ = w.WriteData(1, true, []byte("last words"))
						}
					case *http2.PingFrame:
						if answers {
							_ = w.WritePing(true, f.Data)
						}
					case *http2.DataFrame:
						if f.StreamID != 1 {
							t.Errorf("stream %d was served", f.StreamID)
						}
					}
				}
				if len(last) != 2 || last[0] != maxStreamID || last[1] != 1 {
					t.Errorf("GOAWAY named %v", last)
				}
				if err := <-r.err; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

// TestSlowHeaders: a header block that does not come to its end is not waited for,
// and one that comes in pieces in time is.
func TestSlowHeaders(t *testing.T) {
	inBubble(t, Config{}, handlerFuncs{accept: acceptAnswer}, func(t *testing.T, w *http2.Framer, conn net.Conn, r *running) {
		go func() {
			for { // read on
				f, err := w.ReadFrame()
				if err != nil {
					return
				}
				if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
					_ = w.WriteSettingsAck()
				}
			}
		}()
		synctest.Wait()
		block := appendLiteral([]byte{0x82, 0x84, 0x86}, 0, 4, 1, ":authority", "a")
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndStream: true, BlockFragment: block[:2]})
		time.Sleep(9 * time.Second)
		_ = w.WriteContinuation(1, true, block[2:])
		time.Sleep(9 * time.Second)
		if _, err := conn.Write([]byte{0, 0, 5, byte(frameHeaders), 4, 0, 0, 0, 3, 0x82}); err != nil { // four bytes are missing
			t.Fatal(err)
		}
		began := time.Now()
		if err := <-r.err; !errors.Is(err, ReasonSlowHeaders) || time.Since(began) != 10*time.Second {
			t.Errorf("Run: %v after %v", err, time.Since(began))
		}
	})
}

// TestPace: a peer that resets streams by the dozen is read with rests, one that
// only asks a lot is not.
func TestPace(t *testing.T) {
	request := []byte{0x82, 0x86, 0x84, 0x41, 1, 'a'} // GET http://a/
	const shares = 10
	for name, c := range map[string]struct {
		resets bool
		least  time.Duration
		most   time.Duration
	}{"requests": {}, "resets": {true, (shares - 2) * rest, shares * rest}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, Config{}, handlerFuncs{accept: acceptNever}, func(t *testing.T, w *http2.Framer, _ net.Conn, _ *running) {
				go func() {
					for {
						if _, err := w.ReadFrame(); err != nil {
							return
						}
					}
				}()
				began := time.Now()
				for i := range uint32(shares * fairShare) {
					stream := 2*i + 1
					if err := w.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: request, EndHeaders: true, EndStream: !c.resets}); err != nil {
						t.Fatal(err)
					}
					if !c.resets {
						continue
					}
					if err := w.WriteRSTStream(stream, http2.ErrCodeCancel); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
				if took := time.Since(began); took < c.least || took > c.most {
					t.Errorf("took %v, want %v to %v", took, c.least, c.most)
				}
			})
		})
	}
}
