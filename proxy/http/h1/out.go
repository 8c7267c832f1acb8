package h1

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hallmark-mesh/hallmark/internal/socket"
)

// writePiece bounds what goes into one write with a deadline of its own.
const writePiece = 64 << 10

// keepOut is the largest output buffer that goes back into the pool.
const keepOut = 256 << 10

// DefaultWriteTimeout is how long a write of at most 64 KiB may take.
const DefaultWriteTimeout = 30 * time.Second

// outBuffers holds the output buffers of all connections.
var outBuffers = sync.Pool{New: func() any {
	b := make([]byte, 0, 4<<10)
	return &b
}}

// Out writes to a connection without blocking whoever calls it: what does not go
// out at once is written by a goroutine that lives only while something is
// pending. It holds a buffer only while there is something in it. Its methods
// are safe for concurrent use.
//
// A plain socket is written to directly if nothing is pending and nobody is
// inside Write: one attempt that does not wait.
type Out struct {
	conn    net.Conn
	raw     syscall.RawConn // nil unless conn is a plain socket
	timeout time.Duration

	// sent is told of content that is on its way, failed of the first write
	// that failed. They are called without a lock.
	sent   func(n int)
	failed func(error)

	mu      sync.Mutex
	buf     *[]byte // pooled; nil while nothing is pending
	content int     // bytes of content in buf
	busy    bool    // a goroutine writes
	err     error
	ending  ending
	ended   bool // the ending has been carried out

	try    func(fd uintptr) bool // c.attempt, made once
	tryErr error
	tryN   int
	quiet  sync.Cond // nobody writes any more
}

// ending is what becomes of the connection when everything has been written.
type ending uint8

const (
	goOn ending = iota
	closeWrite
	closeAll
)

// NewOut returns an Out over conn. sent is told how much of the content that was
// queued is on its way, failed that writing has failed; both must not block.
func NewOut(conn net.Conn, timeout time.Duration, sent func(n int), failed func(error)) *Out {
	if timeout <= 0 {
		timeout = DefaultWriteTimeout
	}
	o := &Out{conn: conn, raw: socket.Raw(conn), timeout: timeout, sent: sent, failed: failed}
	o.try = o.attempt
	o.quiet.L = &o.mu
	return o
}

// Append queues what f appends to its argument, of which content bytes are
// content. It is written by the next [Out.Flush].
func (o *Out) Append(content int, f func(to []byte) []byte) {
	b := o.Begin()
	o.End(f(b), content)
}

// Begin locks the queue and returns what is pending, to be appended to and given
// back by [Out.End]. Between the two nothing may be called that blocks or that
// calls o.
func (o *Out) Begin() []byte {
	o.mu.Lock()
	if o.buf == nil {
		o.buf, _ = outBuffers.Get().(*[]byte) // the pool holds nothing else
	}
	return *o.buf
}

// End queues what has been appended, of which content bytes are content.
func (o *Out) End(b []byte, content int) {
	*o.buf = b
	o.content += content
	if o.err != nil || o.ended {
		o.drop()
	}
	o.mu.Unlock()
}

// drop gives the buffer back. The lock is held.
func (o *Out) drop() {
	if o.buf != nil {
		giveBack(o.buf)
	}
	o.buf, o.content = nil, 0
}

func giveBack(b *[]byte) {
	if cap(*b) > keepOut {
		return
	}
	*b = (*b)[:0]
	outBuffers.Put(b)
}

// Flush starts writing what is pending.
func (o *Out) Flush() {
	o.mu.Lock()
	if o.busy || o.err != nil {
		o.mu.Unlock()
		return
	}
	sent := 0
	if o.raw != nil && o.buf != nil {
		sent = o.direct()
	}
	failed := o.err
	ending := goOn
	if o.buf == nil && failed == nil {
		ending = o.takeEnding()
	} else if failed == nil {
		o.busy = true
		go o.run()
	}
	o.mu.Unlock()
	o.tell(sent, failed)
	o.end(ending)
}

func (o *Out) tell(sent int, failed error) {
	if sent > 0 && o.sent != nil {
		o.sent(sent)
	}
	if failed != nil && o.failed != nil {
		o.failed(failed)
	}
}

// direct makes one attempt to write without waiting and returns how much content
// is on its way. The lock is held, and nobody is inside Write.
func (o *Out) direct() int {
	o.tryN, o.tryErr = 0, nil
	if err := o.raw.Write(o.try); err != nil {
		o.tryErr = err
	}
	switch {
	case o.tryErr != nil:
		o.err = o.tryErr
		o.drop()
		return 0
	case o.tryN == len(*o.buf):
		sent := o.content
		o.drop()
		return sent
	}
	rest := copy(*o.buf, (*o.buf)[o.tryN:])
	*o.buf = (*o.buf)[:rest]
	sent := max(0, o.content-rest) // what is pending may be all content
	o.content -= sent
	return sent
}

// attempt writes once. It always says that it is done, so that RawConn.Write
// does not wait.
func (o *Out) attempt(fd uintptr) bool {
	n, err := socket.Write(fd, *o.buf)
	if err != nil && !errors.Is(err, socket.ErrWait) {
		o.tryErr = err
	}
	o.tryN = n
	return true
}

// run writes what is pending until there is nothing left.
func (o *Out) run() {
	for {
		o.mu.Lock()
		if o.buf == nil || o.err != nil {
			// A deadline that has passed would fail the next write, whoever does it.
			if err := o.conn.SetWriteDeadline(time.Time{}); err != nil && o.err == nil {
				o.err = err
			}
			o.busy = false
			o.quiet.Broadcast()
			ending := goOn
			if o.err == nil {
				ending = o.takeEnding()
			}
			o.mu.Unlock()
			o.end(ending)
			return
		}
		batch, content := o.buf, o.content
		o.buf, o.content = nil, 0
		o.mu.Unlock()

		err := o.write(*batch, content)
		giveBack(batch)
		if err != nil {
			o.fail(err)
		}
	}
}

// write writes a batch, piece by piece.
func (o *Out) write(batch []byte, content int) error {
	for len(batch) > 0 {
		piece := batch[:min(len(batch), writePiece)]
		if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
			return err
		}
		n, err := o.conn.Write(piece)
		if err != nil {
			return err
		}
		batch = batch[n:]
		sent := max(0, content-len(batch))
		content -= sent
		o.tell(sent, nil)
	}
	return nil
}

// fail keeps the first error and tells of it.
func (o *Out) fail(err error) {
	o.mu.Lock()
	first := o.err == nil
	if first {
		o.err = err
	}
	o.drop()
	o.mu.Unlock()
	if first {
		o.tell(0, err)
	}
}

// CloseWrite says, when everything that is pending has been written, that
// nothing more will be.
func (o *Out) CloseWrite() { o.finish(closeWrite) }

// Close closes the connection when everything that is pending has been written.
func (o *Out) Close() { o.finish(closeAll) }

func (o *Out) finish(e ending) {
	o.mu.Lock()
	if e > o.ending {
		o.ending, o.ended = e, false
	}
	o.mu.Unlock()
	o.Flush()
}

// takeEnding returns what is to be done with the connection now, once. The lock
// is held and nothing is pending.
func (o *Out) takeEnding() ending {
	if o.ended || o.ending == goOn {
		return goOn
	}
	o.ended = true
	return o.ending
}

func (o *Out) end(e ending) {
	switch e {
	case goOn:
	case closeAll:
		_ = o.conn.Close()
	case closeWrite:
		if half, ok := o.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		} else {
			_ = o.conn.Close()
		}
	}
}

// Pending reports whether anything waits to be written.
func (o *Out) Pending() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf != nil || o.busy
}

// Wait waits for the goroutine that writes, if there is one: until everything has
// been written or writing has failed.
func (o *Out) Wait() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.busy {
		o.quiet.Wait()
	}
}
