package h2

import (
	"errors"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hallmark-mesh/hallmark/internal/socket"
)

const (
	// waiting is what a reader holds while it waits for a connection that
	// cannot be waited for without a buffer, in bytes.
	waiting = 512

	// record is what it takes while more comes: a TLS record.
	record = 16 << 10

	// maxSettings is the most SETTINGS that a frame may have.
	maxSettings = 64
)

// phase is what the next bytes of the input are.
type phase uint8

const (
	phasePreface phase = iota
	phaseHeader
	phasePayload // collected in whole
	phasePad     // the length of a DATA frame's padding
	phaseData    // passed on as it comes
	phaseSkip
)

// input turns bytes into frames, in whatever pieces they come. It is the
// reader's alone, but for stream, which the connection's lock guards.
type input struct {
	c   *Conn
	raw rawReader // unless nil, conn is a socket

	awaited awaiter // unless nil, conn can be waited for without a buffer
	buf     *Buffer
	busy    bool // much comes at a time

	phase phase
	need  int    // bytes of the phase that are still to come
	part  []byte // those that have come, if the phase is collected
	skip  int    // bytes to skip after it
	frame frame
	begun bool          // the first frame has come
	count atomic.Uint64 // frames that have come

	stream *Stream // whose DATA frame this is, nil if nobody's
	end    bool    // the frame ends the stream

	block      []byte // of a header block, while it comes
	blockFrame frame  // its first
	inBlock    bool
	watched    bool // a timer runs until it is complete
	blockCount int
	blocks     int  // header blocks of this turn
	badPrio    bool // its stream depends on itself
	decoder    decoder
	headers    Headers
	peeked     []byte // what was read before, and is not fed yet
}

// awaiter is a connection that can be waited for without a buffer, such as a
// *tlsctx.Conn.
type awaiter interface{ Await() }

func (in *input) init(c *Conn, raw syscall.RawConn) {
	in.awaited, _ = c.conn.(awaiter)
	in.c, in.peeked, in.decoder = c, c.config.Peeked, newDecoder(c.config.MaxHeaderBytes, c.config.MaxHeaderFields)
	in.raw.conn = raw
	if c.role == Server {
		in.expect(phasePreface, len(preface))
	} else {
		in.expect(phaseHeader, frameHeaderLen)
	}
}

func (in *input) expect(p phase, n int) { in.phase, in.need, in.part = p, n, in.part[:0] }

// run reads until the connection ends or breaks, and returns how.
func (in *input) run() error {
	defer in.release()
	for {
		b, err := in.fill()
		if err != nil {
			return err
		}
		err = in.feed(in.buf, b)
		if idler, ok := in.c.handler.(Idler); ok {
			idler.Idle(in.c)
		}
		if err != nil {
			return err
		}
		in.watchBlock()
		if in.raw.conn != nil || in.awaited != nil || !in.busy || in.buf.refs.Load() > 1 {
			in.release()
		}
	}
}

// watchBlock sees to it that a header block which is not complete does not take
// for ever.
func (in *input) watchBlock() {
	within := in.inBlock || in.phase == phasePayload && in.frame.kind == frameHeaders
	if within == in.watched {
		return
	}
	in.watched = within
	c := in.c
	c.mu.Lock()
	defer c.mu.Unlock()
	stopTimer(c.slow)
	if c.slow = nil; !within {
		return
	}
	var mine *time.Timer
	mine = time.AfterFunc(c.config.HeaderTimeout, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.slow == mine { // it is not late
			c.fail(failure(EnhanceYourCalm, ReasonSlowHeaders))
		}
	})
	c.slow = mine
}

func (in *input) release() {
	if in.buf != nil {
		in.buf.release()
		in.buf = nil
	}
}

// fill waits for bytes. An idle connection holds no buffer meanwhile, or a short
// one where the connection below cannot be waited for (and holds none itself).
func (in *input) fill() ([]byte, error) {
	if len(in.peeked) > 0 {
		in.release()
		in.buf = takeBuffer(min(len(in.peeked), bufferSize))
		n := copy(in.buf.mem, in.peeked)
		if in.peeked = in.peeked[n:]; len(in.peeked) == 0 {
			in.peeked = nil
		}
		return in.buf.mem[:n], nil
	}
	if in.raw.conn != nil {
		n, err := in.raw.read(&in.buf)
		if err != nil {
			return nil, err
		}
		return in.buf.mem[:n], nil
	}
	if in.buf == nil {
		if in.awaited != nil {
			in.awaited.Await()
		}
		in.buf = takeBuffer(in.room())
	}
	n, err := in.c.conn.Read(in.buf.mem)
	if n == 0 && err != nil {
		return nil, err
	}
	in.busy = n >= record || n == len(in.buf.mem) || n == record-waiting // the rest of one
	return in.buf.mem[:n], nil
}

// room returns how large a buffer the next read is worth: where it is not held
// while waiting, several records if the last read brought one or more.
func (in *input) room() int {
	switch {
	case in.awaited != nil && in.busy:
		return bufferSize
	case in.awaited != nil || in.busy:
		return record
	default:
		return waiting
	}
}

// feed takes bytes, which are in buf.
func (in *input) feed(buf *Buffer, p []byte) error {
	for len(p) > 0 || in.need == 0 {
		n := min(len(p), in.need)
		var err error
		switch in.phase {
		case phaseData:
			in.need -= n
			in.data(buf, p[:n])
		case phaseSkip:
			if in.need -= n; in.need == 0 {
				in.expect(phaseHeader, frameHeaderLen)
			}
		default:
			whole := p[:n]
			if len(in.part) > 0 || n < in.need {
				in.part = append(in.part, whole...)
				whole = in.part
			}
			if in.need -= n; in.need > 0 {
				return nil
			}
			err = in.collected(whole)
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// collected takes the whole of a phase.
func (in *input) collected(p []byte) error {
	switch in.phase {
	case phasePreface:
		if string(p) != preface {
			return failure(ProtocolError, ReasonPreface)
		}
		in.expect(phaseHeader, frameHeaderLen)
		return nil
	case phaseHeader:
		in.frame = parseFrame(p)
		in.count.Add(1)
		return in.header(in.frame)
	case phasePad:
		return in.startData(int(p[0]))
	default:
		skip := in.skip
		err := in.payload(p)
		if cap(in.part) > 4<<10 {
			in.part = nil
		}
		in.expect(phaseHeader, frameHeaderLen)
		if skip > 0 {
			in.expect(phaseSkip, skip)
		}
		return err
	}
}

func failure(code Code, reason Reason) *Error { return &Error{Code: code, Reason: reason} }

// rawReader reads from a socket, taking a buffer only when it is readable.
type rawReader struct {
	conn syscall.RawConn
	buf  *Buffer
	n    int
	err  error
	call func(fd uintptr) bool
}

func (r *rawReader) read(into **Buffer) (int, error) {
	if r.call == nil {
		r.call = r.attempt // one closure, not one a read
	}
	if err := r.conn.Read(r.call); err != nil {
		return 0, err
	}
	*into, r.buf = r.buf, nil
	return r.n, r.err
}

// attempt reads once without blocking; false means to wait.
func (r *rawReader) attempt(fd uintptr) bool {
	b := takeBuffer(bufferSize)
	n, err := socket.Read(fd, b.mem)
	if err == nil {
		r.buf, r.n, r.err = b, n, nil
		return true
	}
	b.release()
	if errors.Is(err, socket.ErrWait) {
		return false
	}
	r.err = err
	return true
}
