package h2

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/internal/socket"
)

// Conn is one HTTP/2 connection. Its methods are safe for concurrent use and do
// not block, but for Run.
type Conn struct {
	conn    net.Conn
	role    Role
	config  Config
	handler Handler
	done    chan struct{}
	writers sync.WaitGroup // the writer, while it lives
	writer  func()         // one function value, not one a write

	in input // the reader's alone

	plain   *socket.Writer // unless nil, conn is a socket; the writer's alone, as vectors
	vectors [][]byte

	mu      sync.Mutex
	streams map[uint32]*Stream
	out     output

	// What the peer's SETTINGS say.
	ready         bool // they have come
	peerStreams   uint32
	peerWindow    int
	peerFrameSize int
	peerConnect   bool

	recvWindow, recvCredit int // what the peer may send, and what it will be told of

	nextID    uint32 // of the next stream that this side opens
	lastID    uint32 // the highest that the peer has opened
	opened    int    // streams ever opened by either side
	tiny      int    // short pieces of data that wait to be consumed
	forgotten forgotten

	started  bool
	shut     bool   // this side takes no new streams (after GOAWAY)
	goAway   bool   // GOAWAY with the last stream has been sent
	peerAway bool   // GOAWAY has come
	peerCode Code   // and what it said
	closing  bool   // the writer closes the connection when it has written what is pending
	dead     bool   // Run is at its end: nothing is written any more
	err      *Error // why it is closing, nil if in order

	acksDue  int // SETTINGS that the peer has not acknowledged
	timer    *time.Timer
	pinger   *time.Timer
	drainer  *time.Timer
	slow     *time.Timer // while a header block is on its way
	quietAt  uint64      // frames when the pinger last looked
	asked    bool        // a PING of the pinger is on its way
	awayPing bool        // and one that follows a GOAWAY

	resets, pings, settings, empties, unknown bucket

	updates, priorities int // frames that have come
	paid                int // DATA frames sent that have paid for a PING
}

// New returns a connection over conn. Nothing is read or written before
// [Conn.Run].
func New(conn net.Conn, role Role, config Config, handler Handler) *Conn {
	c := &Conn{
		conn: conn, role: role, config: config.withDefaults(), handler: handler,
		done:          make(chan struct{}),
		streams:       make(map[uint32]*Stream),
		peerStreams:   100, // until its SETTINGS have come
		peerWindow:    defaultWindow,
		peerFrameSize: minFrameSize,
		nextID:        1,
	}
	c.recvWindow = c.config.ConnWindow
	raw := socket.Raw(conn)
	if raw != nil {
		c.plain = socket.NewWriter(raw)
	}
	c.in.init(c, raw)
	c.writer = c.write
	c.out = output{window: defaultWindow, encoder: newEncoder()}
	if role == Server {
		c.nextID = 2
	}
	c.greet()
	return c
}

// greet appends what each side sends first (RFC 9113, section 3.4).
func (c *Conn) greet() {
	settings := make([]byte, 0, 8*settingLen)
	settings = appendSetting(settings, settingInitialWindowSize, uint32(c.config.StreamWindow))
	settings = appendSetting(settings, settingMaxFrameSize, c.config.MaxFrameSize)
	settings = appendSetting(settings, settingMaxHeaderListSize, uint32(c.config.MaxHeaderBytes))
	if c.role == Client {
		copy(c.out.reserve(len(preface)), preface)
		settings = appendSetting(settings, settingEnablePush, 0)
	} else {
		settings = appendSetting(settings, settingMaxConcurrentStreams, c.config.MaxStreams)
		if c.config.ConnectProtocol {
			settings = appendSetting(settings, settingConnectProtocol, 1)
		}
	}
	c.out.frame(frame{kind: frameSettings}, settings)
	if more := c.config.ConnWindow - defaultWindow; more > 0 {
		c.out.windowUpdate(0, more)
	}
	c.acksDue = 1
}

// Run speaks HTTP/2 until the connection has ended and returns why: nil if it
// drained in order, otherwise an [*Error]. When ctx ends, so does the
// connection. On return conn is closed, every stream's handler has been told,
// and no goroutine is left.
func (c *Conn) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.Close(Cancel) })
	defer stop()
	defer close(c.done)

	c.mu.Lock()
	c.started = true
	if !c.closing {
		c.timer = time.AfterFunc(c.config.SettingsTimeout, c.settingsTimedOut)
		if c.config.PingInterval > 0 {
			c.pinger = time.AfterFunc(c.config.PingInterval, c.ping)
		}
	}
	c.kick()
	c.mu.Unlock()

	err := c.in.run()
	return c.finish(err)
}

// finish ends everything after the reader has ended with err, an [*Error] or
// what reading returned.
func (c *Conn) finish(err error) error {
	e, ours := errors.AsType[*Error](err)
	c.mu.Lock()
	switch {
	case ours:
		c.fail(e)
	case !c.closing:
		c.lost(err)
	}
	c.dead = true // no new writer; the one that lives writes GOAWAY and closes
	c.mu.Unlock()
	c.writers.Wait()
	c.mu.Lock()
	stopTimer(c.timer)
	stopTimer(c.pinger)
	stopTimer(c.drainer)
	stopTimer(c.slow)
	c.out.drop()
	var left []*Stream
	for _, s := range c.streams {
		left = append(left, s)
	}
	for _, s := range left {
		c.end(s, c.lossOf(s))
	}
	left = append(left, c.out.ended...) // those that the writer did not get to
	c.out.ended = nil
	c.mu.Unlock()
	for _, s := range left {
		s.closed()
	}
	c.linger()
	if c.err == nil {
		return nil
	}
	return c.err
}

// linger closes the connection when the peer has, or after a moment: a
// connection that is closed with something unread is reset, and what is on its
// way to the peer is lost.
func (c *Conn) linger() {
	defer c.conn.Close()
	if c.err != nil && (c.err.Reason == ReasonLost || c.err.Reason == ReasonWriteTimeout) {
		return
	}
	if !closeWrite(c.conn) {
		return
	}
	_ = c.conn.SetReadDeadline(time.Now().Add(closeTimeout))
	buf := takeBuffer(record)
	defer buf.release()
	for left := 1 << 20; left > 0; {
		n, err := c.conn.Read(buf.mem)
		if err != nil {
			return
		}
		left -= n
	}
}

func stopTimer(t *time.Timer) {
	if t != nil {
		t.Stop()
	}
}

// closeWrite ends the connection's outgoing half, or that of what it wraps, and
// reports whether it could.
func closeWrite(conn net.Conn) bool {
	for {
		switch below := conn.(type) {
		case interface{ CloseWrite() error }:
			return below.CloseWrite() == nil
		case interface{ NetConn() net.Conn }:
			conn = below.NetConn()
		default:
			return false
		}
	}
}

// lossOf returns how a stream ends with the connection. The lock is held.
func (c *Conn) lossOf(s *Stream) *Error {
	e := &Error{Stream: s.id, Code: InternalError, Reason: ReasonLost}
	if c.err != nil {
		e.Code, e.Reason, e.Err = c.err.Code, c.err.Reason, c.err.Err
	}
	// Nothing was written, or the peer never got so far as to greet.
	e.Unprocessed = c.role == Client && !c.ready
	return e
}

// lost notes that reading has failed with err. The lock is held.
func (c *Conn) lost(err error) {
	c.closing = true
	if errors.Is(err, io.EOF) && len(c.streams) == 0 && c.ready {
		return // an orderly end
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // of the streams it is none: they must not take it for one
	}
	c.err = &Error{Code: c.peerCode, Reason: ReasonLost, Err: err}
	if c.peerAway && c.peerCode != NoError {
		c.err.Reason = ReasonPeerGoAway
	}
}

// fail begins the end of the connection with GOAWAY: what was pending is written
// first, new data is not. The lock is held.
func (c *Conn) fail(e *Error) {
	if c.closing {
		return
	}
	c.err = e
	c.sendGoAway(c.lastID, e.Code)
	c.finishWriting(closeTimeout)
	if e.Reason != ReasonClosed {
		c.count(e.Reason)
	}
}

// count tells of a stream or connection that this side ends.
func (c *Conn) count(reason Reason) {
	if c.config.Count != nil {
		c.config.Count(reason)
	}
}

// finishWriting makes the writer close the connection after what is pending, for
// which it has so long. The lock is held.
func (c *Conn) finishWriting(timeout time.Duration) {
	c.closing, c.shut = true, true
	now := time.Now()
	c.out.deadline = now.Add(timeout)
	_ = c.conn.SetWriteDeadline(c.out.deadline)
	_ = c.conn.SetReadDeadline(now) // the reader is done
	c.kick()                        // or Run does it, if it has not begun
}

// closeTimeout is how long the last write may take after an error, and the peer
// to close its end.
const closeTimeout = time.Second

func (c *Conn) sendGoAway(last uint32, code Code) {
	c.shut = true
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], last)
	binary.BigEndian.PutUint32(b[4:], uint32(code))
	c.out.frame(frame{kind: frameGoAway}, b[:])
}

// Open opens a stream with a request, whose end is said to be at once or not.
// It returns [ErrUnavailable] if the connection takes no new stream. The
// handler's calls may come before Open has returned. (Client.)
func (c *Conn) Open(h *Headers, end bool, handler StreamHandler) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.room() == 0 {
		return nil, ErrUnavailable
	}
	s := c.newStream(c.nextID, handler)
	c.nextID += 2
	s.head = h.Method == methodHead
	s.connect = h.Method == MethodConnect
	s.localEnd, s.endQueued, s.localDone = end, end, end
	c.out.headers(s.id, h, end, c.peerFrameSize)
	c.kick()
	return s, nil
}

// room returns how many streams can be opened. The lock is held.
func (c *Conn) room() int {
	if c.role != Client || c.shut || c.peerAway || c.closing || c.nextID > maxStreamID || c.out.bytes > c.config.MaxPending/2 {
		return 0
	}
	return max(0, int(c.peerStreams)-len(c.streams))
}

// Available reports whether a stream can be opened now. (Client.)
func (c *Conn) Available() bool { return c.Room() > 0 }

// Room returns how many more streams may be opened now. (Client.)
func (c *Conn) Room() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.room()
}

// Retired reports whether the connection takes no new stream ever again.
func (c *Conn) Retired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shut || c.peerAway || c.closing || c.nextID > maxStreamID
}

// Streams returns how many streams are open.
func (c *Conn) Streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.streams)
}

// ConnectProtocol reports whether the peer takes extended CONNECT (RFC 8441).
func (c *Conn) ConnectProtocol() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peerConnect
}

// Drain ends the connection in order: no new streams (GOAWAY), and the end after
// the last of those that there are. A server goes on taking streams until the
// peer has seen the GOAWAY.
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shut || c.closing {
		return
	}
	switch {
	case c.role == Client:
		c.retire()
	case !c.started:
		c.goAway = true
		c.sendGoAway(c.lastID, NoError)
	default:
		// RFC 9113, section 6.8: a first GOAWAY that refuses nothing, and
		// the one with the last stream when the peer must have seen it.
		c.sendGoAway(maxStreamID, NoError)
		c.out.frame(frame{kind: framePing}, pingDrain[:])
		c.awayPing = true
		c.drainer = time.AfterFunc(c.config.PingTimeout, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.lastGoAway()
		})
	}
	c.drained()
	c.kick()
}

// lastGoAway says after which stream none was taken. The lock is held.
func (c *Conn) lastGoAway() {
	if c.goAway || c.closing {
		return
	}
	c.awayPing, c.goAway = false, true
	c.sendGoAway(c.lastID, NoError)
	c.drained()
	c.kick()
}

// drained closes the connection if it is draining and there is no stream left.
// The lock is held.
func (c *Conn) drained() {
	if c.closing || len(c.streams) > 0 || !c.goAway && (c.role == Server || !c.peerAway) {
		return
	}
	c.finishWriting(c.config.WriteTimeout)
}

// Close ends the connection and all its streams with GOAWAY(code).
func (c *Conn) Close(code Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(&Error{Code: code, Reason: ReasonClosed})
}

// Done is closed when Run is about to return.
func (c *Conn) Done() <-chan struct{} { return c.done }

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.conn }

// Role returns the connection's role.
func (c *Conn) Role() Role { return c.role }
