package h2

import (
	"cmp"
	"time"
)

// withDefaults returns the configuration with what was left open, within what
// the protocol allows.
func (c Config) withDefaults() Config {
	c.MaxStreams = cmp.Or(c.MaxStreams, 1000)
	// The peer may use the protocol's window before it has seen ours.
	c.StreamWindow = max(cmp.Or(c.StreamWindow, 64<<10), defaultWindow)
	c.MaxStreamWindow = min(max(cmp.Or(c.MaxStreamWindow, 4<<20), c.StreamWindow), maxWindow)
	c.ConnWindow = min(max(cmp.Or(c.ConnWindow, 8<<20), defaultWindow), maxWindow)
	c.MaxFrameSize = min(max(cmp.Or(c.MaxFrameSize, minFrameSize), minFrameSize), maxFrameSize)
	c.MaxHeaderBytes = cmp.Or(c.MaxHeaderBytes, 64<<10)
	c.MaxHeaderFields = cmp.Or(c.MaxHeaderFields, 256)
	c.MaxPending = cmp.Or(c.MaxPending, 1<<20)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, 30*time.Second)
	c.SettingsTimeout = cmp.Or(c.SettingsTimeout, 10*time.Second)
	c.HeaderTimeout = cmp.Or(c.HeaderTimeout, 10*time.Second)
	c.PingTimeout = cmp.Or(c.PingTimeout, 15*time.Second)
	// A client of our own kind has no more open when it leaves: see ownResets.
	c.Limits.Resets = cmp.Or(c.Limits.Resets, 2*ownResets+int(min(c.MaxStreams, 1<<20)))
	c.Limits = c.Limits.withDefaults()
	return c
}

func (l Limits) withDefaults() Limits {
	l.ResetsPerSecond = cmp.Or(l.ResetsPerSecond, 200)
	l.Pings = cmp.Or(l.Pings, 100)
	l.PingsPerSecond = cmp.Or(l.PingsPerSecond, 10)
	l.Settings = cmp.Or(l.Settings, 50)
	l.SettingsPerSecond = cmp.Or(l.SettingsPerSecond, 1)
	l.EmptyFrames = cmp.Or(l.EmptyFrames, 100)
	l.EmptyFramesPerSecond = cmp.Or(l.EmptyFramesPerSecond, 10)
	l.Continuations = cmp.Or(l.Continuations, 32)
	l.WindowUpdates = cmp.Or(l.WindowUpdates, 1000)
	l.Priorities = cmp.Or(l.Priorities, 1000)
	l.UnknownFrames = cmp.Or(l.UnknownFrames, 1000)
	l.UnknownFramesPerSecond = cmp.Or(l.UnknownFramesPerSecond, 100)
	l.ControlQueue = cmp.Or(l.ControlQueue, 1000)
	l.TinyData = cmp.Or(l.TinyData, 100_000)
	return l
}

// bucket allows so many events at once and so many each second. The zero value
// is full.
type bucket struct {
	spent float64
	last  time.Time
}

// take counts one event and reports whether it is within the limit.
func (b *bucket) take(burst, perSecond int) bool {
	now := time.Now()
	b.spent, b.last = b.level(now, perSecond)+1, now
	return b.spent <= float64(burst)
}

// level returns how many events count at the time.
func (b *bucket) level(now time.Time, perSecond int) float64 {
	if b.last.IsZero() {
		return 0
	}
	return max(0, b.spent-now.Sub(b.last).Seconds()*float64(perSecond))
}
