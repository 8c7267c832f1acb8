package detect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// past is a deadline that ends a Read at once.
var past = time.Unix(1, 0)

// firstRead is how much room there is at least for what comes: the first bytes of most protocols.
const firstRead = 1 << 10

// finding is what the first bytes of one end say.
type finding struct {
	protocol tlsctx.Protocol
	hello    Hello
	parsed   bool // there is a hello
	ours     bool
}

// ear listens to what one end says first until that decides what it speaks. One
// goroutine listens at a time; stop makes it another's turn.
type ear struct {
	name     string
	conn     Conn
	look     func([]byte) (finding, Verdict)
	patience func([]byte) time.Duration // for how long these may stand still
	peeker   *peeker                    // nil: bytes are read, and replayed

	bytes []byte
	found finding // its protocol is "" until settled
	how   How

	mu      sync.Mutex
	stopped bool // no deadline but the one in the past
}

func newEar(name string, conn Conn, look func([]byte) (finding, Verdict), patience func([]byte) time.Duration) *ear {
	return &ear{name: name, conn: conn, look: look, patience: patience, peeker: newPeeker(conn)}
}

// settled reports whether it is known what the end speaks.
func (e *ear) settled() bool { return e.found.protocol != "" }

// wait listens in this goroutine: for as long as given if no byte comes, and for
// good if that is 0. That no byte came is no error.
func (e *ear) wait(ctx context.Context, patience time.Duration) error {
	if e.glance() {
		return nil
	}
	e.allow(patience)
	return e.until(ctx)
}

// glance looks at what is there already, without waiting, and reports whether
// that settles it: most clients that speak first have spoken when their
// connection is accepted, and cost neither a deadline nor a watch of the context.
func (e *ear) glance() bool {
	if e.peeker == nil {
		return false
	}
	e.bytes = e.peeker.glance(make([]byte, 0, firstRead))
	if len(e.bytes) > 0 {
		if found, verdict := e.look(e.bytes); verdict == Decided {
			e.settle(found, ByClient)
			return true
		}
	}
	e.bytes = e.bytes[:0] // they come again
	return false
}

// start listens in a goroutine of its own. The channel gets one outcome: nil if
// it settled or was stopped.
func (e *ear) start(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- e.until(ctx) }()
	return ended
}

// stop ends the listening that delivers its outcome to ended, and returns that.
// What was heard stays.
func (e *ear) stop(ended <-chan error) error {
	e.hush()
	err := <-ended
	e.unhush()
	return err
}

// until listens until the bytes decide, or ctx ends, which is an error.
func (e *ear) until(ctx context.Context) error {
	stop := context.AfterFunc(ctx, e.hush)
	err := e.listen()
	if !stop() {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", e.name, err)
	}
	return nil
}

// allow gives the next read this long, and for good if that is 0, unless the
// ear was told to stop.
func (e *ear) allow(patience time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopped {
		return
	}
	var deadline time.Time
	if patience > 0 {
		deadline = time.Now().Add(patience)
	}
	_ = e.conn.SetReadDeadline(deadline) // fails only where reading fails too
}

// hush ends the read under way, and those to come.
func (e *ear) hush() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	_ = e.conn.SetReadDeadline(past)
}

func (e *ear) unhush() {
	e.mu.Lock()
	e.stopped = false
	e.mu.Unlock()
	e.allow(0)
}

// listen looks at what comes until it decides, stands still, or ends. That no
// byte came in time, or that it was stopped, is no error.
func (e *ear) listen() error {
	defer e.allow(0)
	for {
		n, err := e.more()
		if n > 0 {
			if found, verdict := e.look(e.bytes); verdict == Decided {
				e.settle(found, ByClient)
				return nil
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			e.settle(e.guess(), ByEnd)
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			if len(e.bytes) > 0 && !e.isStopped() {
				e.settle(e.guess(), ByStall)
			}
			return nil
		case err != nil:
			return err
		}
		e.allow(e.patience(e.bytes))
	}
}

func (e *ear) isStopped() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stopped
}

// more waits for bytes that have not been seen and says how many came.
func (e *ear) more() (int, error) {
	have := len(e.bytes)
	if cap(e.bytes)-have < firstRead {
		e.bytes = slices.Grow(e.bytes, firstRead)
	}
	var err error
	if e.peeker != nil {
		e.bytes, err = e.peeker.peek(e.bytes)
		return len(e.bytes) - have, err
	}
	n, err := e.conn.Read(e.bytes[have:cap(e.bytes)])
	e.bytes = e.bytes[:have+n]
	return n, err
}

// guess says what the bytes so far are if no more count.
func (e *ear) guess() finding {
	if f, _ := e.look(e.bytes); f.protocol == tlsctx.TLS {
		return f
	}
	return finding{protocol: tlsctx.Opaque}
}

func (e *ear) settle(f finding, how How) { e.found, e.how = f, how }

// conclude says what the end speaks, by what it has said so far.
func (e *ear) conclude() tlsctx.Protocol {
	if !e.settled() {
		e.settle(e.guess(), ByEnd)
	}
	return e.found.protocol
}

// rest returns the connection to go on with: it gives every byte again.
func (e *ear) rest() Conn {
	if e.peeker != nil || len(e.bytes) == 0 {
		return e.conn
	}
	return NewReplay(e.conn, e.bytes)
}
