package issuer

import (
	"sync"
	"time"
)

// Limits bound what callers can make the issuer do. Zero fields have the
// defaults given.
type Limits struct {
	// Connections is how many connections are open at a time over all
	// sockets: 4096.
	Connections int

	// ConnectionsPerUID is how many of them one user may hold: 256.
	ConnectionsPerUID int

	// StreamsPerUID is how many requests of one user are in progress at a
	// time: 512.
	StreamsPerUID int

	// SendTimeout is how long a caller may take to read an answer before its
	// connection is closed, and how long a silent one may take to answer a
	// ping: 20 seconds.
	SendTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Connections <= 0 {
		l.Connections = 4096
	}
	if l.ConnectionsPerUID <= 0 {
		l.ConnectionsPerUID = 256
	}
	if l.StreamsPerUID <= 0 {
		l.StreamsPerUID = 512
	}
	if l.SendTimeout <= 0 {
		l.SendTimeout = 20 * time.Second
	}
	return l
}

// Bounds of one connection. A request of the Workload API is an empty message
// and one header.
const (
	maxRequest         = 4 << 10 // bytes
	maxHeaders         = 8 << 10 // bytes
	maxStreamsPerConn  = 32
	maxPrefaceTime     = 10 * time.Second
	pingAfterIdle      = 30 * time.Second
	minPingInterval    = 5 * time.Second
	connectionBuffer   = 4 << 10 // bytes, each way
	refusalLogInterval = 10 * time.Second
)

// admission counts what is open, for all and for each uid.
type admission struct {
	connections counter
	streams     counter
	refusals    throttle
}

func newAdmission(l Limits) *admission {
	return &admission{
		connections: counter{max: l.Connections, maxPerUID: l.ConnectionsPerUID},
		streams:     counter{max: l.Connections * maxStreamsPerConn, maxPerUID: l.StreamsPerUID},
	}
}

// counter counts up to two limits. Its methods are safe for concurrent use.
type counter struct {
	max, maxPerUID int

	mu     sync.Mutex
	total  int
	perUID map[uint32]int
}

// acquire counts one more, if there is room. Who got true must release.
func (c *counter) acquire(uid uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= c.max || c.perUID[uid] >= c.maxPerUID {
		return false
	}
	if c.perUID == nil {
		c.perUID = make(map[uint32]int)
	}
	c.total++
	c.perUID[uid]++
	return true
}

func (c *counter) release(uid uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.perUID[uid]--; c.perUID[uid] == 0 {
		delete(c.perUID, uid)
	}
}

// throttle lets one refusal of each uid through to the log per interval.
type throttle struct {
	mu   sync.Mutex
	last map[uint32]time.Time
}

func (t *throttle) allow(uid uint32, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if last, seen := t.last[uid]; seen && now.Sub(last) < refusalLogInterval {
		return false
	}
	if t.last == nil || len(t.last) >= 1024 {
		t.last = make(map[uint32]time.Time)
	}
	t.last[uid] = now
	return true
}
