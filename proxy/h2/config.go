package h2

import (
	"sync/atomic"
	"time"
)

// Role is what a connection is to its peer, whoever dialled.
type Role uint8

// The roles.
const (
	Client Role = iota + 1
	Server
)

// Config is how a [Conn] behaves. The zero value works.
type Config struct {
	// MaxStreams is how many streams the peer may have open at once; 0 means
	// 1000. (Server.)
	MaxStreams uint32

	// StreamWindow is a stream's receive window at its start, 0 means 64 KiB;
	// MaxStreamWindow is what it may grow to, 0 means 4 MiB; ConnWindow is the
	// connection's, 0 means 8 MiB. In bytes.
	StreamWindow, MaxStreamWindow, ConnWindow int

	// MaxFrameSize is the longest frame that the peer may send, in bytes from
	// 16 KiB to 16 MiB - 1; 0 means 16 KiB. Longer frames need no more memory,
	// and spare a peer of our own kind a copy of bulk data.
	MaxFrameSize uint32

	// MaxHeaderBytes bounds a header list (RFC 9113, section 6.5.2), 0 means
	// 64 KiB; MaxHeaderFields its fields, 0 means 256.
	MaxHeaderBytes, MaxHeaderFields int

	// Peeked are bytes that have been read from the connection already, to be
	// taken before anything else. They are not kept once they have been.
	Peeked []byte

	// ConnectProtocol offers extended CONNECT (RFC 8441). (Server.)
	ConnectProtocol bool

	// MaxPending bounds the bytes that wait to be written, HEADERS above all,
	// for which there is no flow control; 0 means 1 MiB.
	MaxPending int

	// Budget bounds what the process buffers; nil means no bound beyond each
	// connection's own.
	Budget *Budget

	// WriteTimeout is how long a write of at most 64 KiB may take, 0 means 30 s;
	// SettingsTimeout how long the peer may take to acknowledge our SETTINGS,
	// 0 means 10 s.
	WriteTimeout, SettingsTimeout time.Duration

	// HeaderTimeout is how long a header block may take from its first byte to
	// its last; 0 means 10 s.
	HeaderTimeout time.Duration

	// PingInterval is how long nothing may be read before the peer is asked
	// whether it lives, 0 means never; PingTimeout how long it may take to
	// answer, 0 means 15 s.
	PingInterval, PingTimeout time.Duration

	// Limits bound what else a peer may do.
	Limits Limits

	// Count is told of each stream and connection that this side ended for a
	// reason of the peer's. It must not block. Nil ignores it.
	Count func(Reason)
}

// Limits bound what a peer may do that costs it little. Past a limit the
// connection is closed with ENHANCE_YOUR_CALM. 0 means the default.
type Limits struct {
	// Resets is how many streams that the peer opened may end by RST_STREAM
	// from either side, all at once (1000, and as many as may be open) and each
	// second (200).
	Resets, ResetsPerSecond int

	// Pings (100, 10/s) and Settings (50, 1/s) count frames that want an
	// answer. Each DATA frame that is sent, and each 4 KiB of it, pays for one
	// PING more, as the peer may measure the round trip whenever data comes.
	Pings, PingsPerSecond       int
	Settings, SettingsPerSecond int

	// EmptyFrames counts DATA, HEADERS and CONTINUATION without content and
	// without an end (100, 10/s).
	EmptyFrames, EmptyFramesPerSecond int

	// Continuations is how many frames a header block may have (32).
	Continuations int

	// WindowUpdates is how many WINDOW_UPDATE may come beyond two for each
	// stream, ten for each DATA frame sent and ten for each 4 KiB (1000).
	WindowUpdates int

	// Priorities is how many PRIORITY may come beyond ten for each stream
	// (1000).
	Priorities int

	// UnknownFrames is how many frames of unknown types may come (1000, 100/s).
	UnknownFrames, UnknownFramesPerSecond int

	// ControlQueue is how many answers may wait to be written (1000).
	ControlQueue int

	// TinyData is how many pieces of data of one connection may wait to be
	// consumed that are shorter than 256 bytes (100,000). Past it a stream that
	// has more than a hundredth of them is reset, not the connection: others
	// may share it who have not sent any.
	TinyData int
}

// Budget bounds the memory of all connections that share it. It counts what
// windows have grown by, and data that has come and is not consumed. At a quarter
// of the budget windows stop growing: what has grown may then fill with data that
// nobody takes, and there is room left for streams whose data is taken. At the
// budget new streams are refused; at twice the budget (what was promised before
// may still come), streams that receive more are reset. It is safe for concurrent
// use.
type Budget struct {
	max  int64
	used atomic.Int64
}

// NewBudget returns a budget of so many bytes.
func NewBudget(bytes int64) *Budget { return &Budget{max: bytes} }

// Used returns how many bytes are accounted for now.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// grow takes n bytes for a window if there is room for them.
func (b *Budget) grow(n int64) bool {
	if b == nil {
		return true
	}
	if b.used.Add(n) > b.max/4 {
		b.used.Add(-n)
		return false
	}
	return true
}

// full reports whether a new stream has to be refused.
func (b *Budget) full() bool { return b != nil && b.used.Load() >= b.max }

// hold counts n bytes that have come and reports whether they may be kept.
func (b *Budget) hold(n int64) bool { return b == nil || b.used.Add(n) <= 2*b.max }

// free gives n bytes back.
func (b *Budget) free(n int64) {
	if b != nil {
		b.used.Add(-n)
	}
}
