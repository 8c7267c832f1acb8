//go:build !race

package socket

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
)

// TestRawCalls runs the other tests with the calls that programs make, which they
// do not under the race detector.
func TestRawCalls(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"read": TestReadDoesNotWait, "reset": TestReadReportsAReset, "write": TestWriteDoesNotWait,
		"all": TestWriterWritesEverything, "buffers": TestWriterWritesBuffersInOrder,
		"deadline": TestWriterKeepsTheDeadline, "errors": TestWriterReportsWhatIsWrong,
	} {
		t.Run(name, test)
	}
}

// TestRawCallsDoNotBlock on a socket that somebody has put into blocking mode, as
// [os.File.Fd] did: a thread that blocks there would take its processor along.
func TestRawCallsDoNotBlock(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		raw := Raw(near)
		once(t, raw.Read, func(fd uintptr) {
			if err := syscall.SetNonblock(int(fd), false); err != nil {
				t.Fatal(err)
			}
			if n, err := Read(fd, make([]byte, 8)); n != 0 || !errors.Is(err, ErrWait) {
				t.Errorf("nothing has come: read %d bytes, %v", n, err)
			}
		})
		p, sent := random(1<<20), 0
		once(t, raw.Write, func(fd uintptr) {
			for {
				n, err := Write(fd, p)
				if sent += n; errors.Is(err, ErrWait) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			w := NewWriter(raw)
			w.more = [][]byte{p, p}
			if w.attempt(fd) || w.n != 0 {
				t.Errorf("%d bytes were written to a socket that is full", w.n)
			}
		})
		_ = near.Close()
		if n, err := io.Copy(io.Discard, far); n != int64(sent) || err != nil {
			t.Errorf("%d bytes were taken, and %d have come: %v", sent, n, err)
		}
	})
}

func TestExchangeAllocatesNothing(t *testing.T) {
	each(t, func(t *testing.T, near, far net.Conn) {
		w, r, p, one := NewWriter(Raw(near)), Raw(far), make([]byte, 64), random(32)
		two := [][]byte{one, one}
		read := func(fd uintptr) bool {
			_, err := Read(fd, p)
			return err == nil
		}
		if n := testing.AllocsPerRun(100, func() {
			if _, err := w.Write(one); err != nil {
				t.Fatal(err)
			}
			if err := r.Read(read); err != nil {
				t.Fatal(err)
			}
			if _, err := w.WriteBuffers(two); err != nil {
				t.Fatal(err)
			}
			if err := r.Read(read); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
