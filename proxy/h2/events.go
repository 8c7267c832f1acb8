package h2

import (
	"encoding/binary"
	"time"
)

// The connection's side of each frame. The reader calls; no lock is held.

// Payloads of our PING frames tell their answers apart.
var (
	pingAlive = [8]byte{'h', 'a', 'l', 'l', 'm', 'a', 'r', 'k'}
	pingDrain = [8]byte{'d', 'r', 'a', 'i', 'n', 'i', 'n', 'g'}
)

// left ends a call of a stream's handler by the reader: the stream may be over
// since, or by the call.
func (c *Conn) left(s *Stream) {
	c.mu.Lock()
	if s.remoteEnd && s.localDone && !s.over {
		c.end(s, nil)
		s.closeDue = true
	}
	closed := s.leave()
	c.mu.Unlock()
	if closed {
		s.closed()
	}
}

// mine reports whether the stream is one that this side opens.
func (c *Conn) mine(id uint32) bool { return (id&1 == 1) == (c.role == Client) }

// idle reports whether the stream was never opened. The lock is held.
func (c *Conn) idle(id uint32) bool {
	if c.mine(id) {
		return id >= c.nextID
	}
	return id > c.lastID
}

// absent returns what a frame that needs an open stream does where there is
// none: an error, nil to ignore it. The lock is held.
func (c *Conn) absent(id uint32) error {
	if c.idle(id) {
		return failure(ProtocolError, ReasonStreamState)
	}
	if c.forgotten.has(id) {
		return nil // it crossed our RST_STREAM
	}
	return c.resetAbsent(id, StreamClosed, ReasonStreamState)
}

// resetAbsent sends RST_STREAM for a stream that there is not. The lock is held.
func (c *Conn) resetAbsent(id uint32, code Code, reason Reason) error {
	c.out.rstStream(id, code)
	c.forgotten.add(id)
	c.count(reason)
	if err := c.madeReset(reason); err != nil {
		return err
	}
	return c.answered()
}

// madeReset counts a stream of the peer's that ended by RST_STREAM, from either
// side, unless that was for want of our memory. The lock is held.
func (c *Conn) madeReset(reason Reason) error {
	if reason == ReasonBudget {
		return nil
	}
	if l := c.config.Limits; c.role == Server && !c.resets.take(l.Resets, l.ResetsPerSecond) {
		return failure(EnhanceYourCalm, ReasonResets)
	}
	return nil
}

// resetsOften reports whether many of the peer's streams ended by reset just now.
func (c *Conn) resetsOften() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.role == Server && c.resets.level(time.Now(), c.config.Limits.ResetsPerSecond) > fairShare
}

// streamError resets a stream, whether there is one or not.
func (c *Conn) streamError(id uint32, code Code, reason Reason) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.streamErrorLocked(id, code, reason)
}

func (c *Conn) streamErrorLocked(id uint32, code Code, reason Reason) error {
	s := c.streams[id]
	if s == nil {
		return c.resetAbsent(id, code, reason)
	}
	c.reset(s, code, reason)
	c.count(reason)
	if err := c.madeReset(reason); err != nil {
		return err
	}
	return c.answered()
}

// onData accounts for a DATA frame and returns its stream, nil if there is none
// that wants it.
func (c *Conn) onData(f frame, payload, overhead int) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.length > c.recvWindow {
		return nil, failure(FlowControlError, ReasonFlowControl)
	}
	c.recvWindow -= f.length
	c.recvCredit += f.length
	if c.recvCredit >= c.config.ConnWindow/4 {
		c.out.windowUpdate(0, c.recvCredit)
		c.recvWindow += c.recvCredit
		c.recvCredit = 0
		c.kick()
	}
	end := f.has(flagEndStream)
	if payload == 0 && !end && !c.empties.take(c.config.Limits.EmptyFrames, c.config.Limits.EmptyFramesPerSecond) {
		return nil, failure(EnhanceYourCalm, ReasonEmptyFrames)
	}
	s := c.streams[f.stream]
	if s == nil {
		return nil, c.absent(f.stream)
	}
	switch {
	case s.remoteEnd:
		return nil, c.streamErrorLocked(s.id, StreamClosed, ReasonStreamState)
	case c.role == Client && !s.responded:
		return nil, c.streamErrorLocked(s.id, ProtocolError, ReasonFields)
	case f.length > s.recvWindow:
		return nil, c.streamErrorLocked(s.id, FlowControlError, ReasonFlowControl)
	case s.length >= 0 && (int64(payload) > s.length || end && int64(payload) != s.length):
		return nil, c.streamErrorLocked(s.id, ProtocolError, ReasonLength)
	}
	if s.length >= 0 {
		s.length -= int64(payload)
	}
	s.recvWindow -= f.length
	s.unconsumed += payload
	if !c.config.Budget.hold(int64(payload)) {
		return nil, c.streamErrorLocked(s.id, EnhanceYourCalm, ReasonBudget)
	}
	if payload > 0 && payload < 256 {
		s.tiny++
		if c.tiny++; c.tiny > c.config.Limits.TinyData && s.tiny > c.config.Limits.TinyData/100 {
			return nil, c.streamErrorLocked(s.id, EnhanceYourCalm, ReasonTinyData)
		}
	}
	if overhead > 0 {
		c.giveCredit(s, overhead)
	}
	c.in.stream = s
	return s, nil
}

// onReset ends a stream that the peer has reset.
func (c *Conn) onReset(id uint32, code Code) error {
	c.mu.Lock()
	s := c.streams[id]
	if s == nil {
		defer c.mu.Unlock()
		if c.idle(id) {
			return failure(ProtocolError, ReasonStreamState)
		}
		if !c.unknown.take(c.config.Limits.UnknownFrames, c.config.Limits.UnknownFramesPerSecond) {
			return failure(EnhanceYourCalm, ReasonUnknownFrames)
		}
		return nil
	}
	var e *Error
	if code != NoError || c.role == Server || !s.remoteEnd {
		e = &Error{Stream: id, Code: code, Reason: ReasonPeerReset, Unprocessed: code == RefusedStream && c.role == Client}
	}
	c.end(s, e)
	err := c.madeReset(ReasonPeerReset)
	told := s.busy == 0
	s.closeDue = !told
	c.mu.Unlock()
	if told {
		s.closed()
	}
	return err
}

// onWindowUpdate opens a window of the peer's.
func (c *Conn) onWindowUpdate(id uint32, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.updates++; c.updates > c.config.Limits.WindowUpdates+2*c.opened+10*c.out.sent {
		return failure(EnhanceYourCalm, ReasonWindowUpdates)
	}
	if id == 0 {
		if n == 0 {
			return failure(ProtocolError, ReasonFlowControl)
		}
		if c.out.window += n; c.out.window > maxWindow {
			return failure(FlowControlError, ReasonFlowControl)
		}
		c.kick()
		return nil
	}
	s := c.streams[id]
	if s == nil {
		if c.idle(id) {
			return failure(ProtocolError, ReasonStreamState)
		}
		return nil
	}
	if n == 0 {
		return c.streamErrorLocked(id, ProtocolError, ReasonFlowControl)
	}
	if s.sendWindow += n; s.sendWindow > maxWindow {
		return c.streamErrorLocked(id, FlowControlError, ReasonFlowControl)
	}
	c.out.enqueue(s)
	c.kick()
	return nil
}

// onPriority checks what nobody uses any more (RFC 9113, section 5.3.2).
func (c *Conn) onPriority(id, parent uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.priorities++; c.priorities > c.config.Limits.Priorities+10*c.opened {
		return failure(EnhanceYourCalm, ReasonPriorities)
	}
	if id == parent {
		return c.streamErrorLocked(id, ProtocolError, ReasonFrame)
	}
	return nil
}

// onPing answers, or takes an answer.
func (c *Conn) onPing(f frame, p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.has(flagAck) && c.awayPing && [8]byte(p) == pingDrain:
		// The peer has seen the first GOAWAY.
		c.lastGoAway()
		return nil
	case f.has(flagAck) && c.asked && [8]byte(p) == pingAlive:
		c.asked = false
		return nil
	case !f.has(flagAck) && c.earned():
	case !c.pings.take(c.config.Limits.Pings, c.config.Limits.PingsPerSecond):
		return failure(EnhanceYourCalm, ReasonPings)
	case f.has(flagAck):
		return nil
	}
	c.out.frame(frame{kind: framePing, flags: flagAck}, p)
	return c.answered()
}

// mostEarned bounds the PINGs that a peer may have earned and not sent.
const mostEarned = 100

// earned reports whether a PING is paid for by data that the peer was sent: some
// measure the round trip with one whenever data arrives, grpc-go above all. What
// is not used up is not saved up without end. The lock is held.
func (c *Conn) earned() bool {
	c.paid = max(c.paid, c.out.sent-mostEarned)
	if c.paid == c.out.sent {
		return false
	}
	c.paid++
	return true
}

// answered counts an answer that waits to be written. The lock is held.
func (c *Conn) answered() error {
	if c.out.answers++; c.out.answers > c.config.Limits.ControlQueue {
		return failure(EnhanceYourCalm, ReasonControlQueue)
	}
	c.kick()
	return nil
}

// onGoAway takes no for an answer: streams above last go elsewhere.
func (c *Conn) onGoAway(last uint32, code Code) error {
	c.mu.Lock()
	if !c.pings.take(c.config.Limits.Pings, c.config.Limits.PingsPerSecond) {
		c.mu.Unlock()
		return failure(EnhanceYourCalm, ReasonPings)
	}
	c.peerAway = true
	c.peerCode = code
	var told []*Stream
	for id, s := range c.streams {
		if c.mine(id) && id > last {
			c.end(s, &Error{Stream: id, Code: code, Reason: ReasonPeerGoAway, Unprocessed: true})
			if s.closeDue = s.busy > 0; !s.closeDue {
				told = append(told, s)
			}
		}
	}
	c.drained()
	c.mu.Unlock()
	for _, s := range told {
		s.closed()
	}
	c.handler.Changed(c)
	return nil
}

// onSettings takes the peer's settings, or its acknowledgement of ours.
func (c *Conn) onSettings(f frame, p []byte) error {
	c.mu.Lock()
	if !c.settings.take(c.config.Limits.Settings, c.config.Limits.SettingsPerSecond) {
		c.mu.Unlock()
		return failure(EnhanceYourCalm, ReasonSettings)
	}
	if f.has(flagAck) {
		defer c.mu.Unlock()
		if c.acksDue == 0 {
			return failure(ProtocolError, ReasonFrame)
		}
		c.acksDue--
		stopTimer(c.timer)
		return nil
	}
	first := !c.ready
	if first {
		c.peerStreams = maxStreamID
	}
	for ; len(p) > 0; p = p[settingLen:] {
		if err := c.set(settingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])); err != nil {
			c.mu.Unlock()
			return err
		}
	}
	c.ready = true
	c.out.frame(frame{kind: frameSettings, flags: flagAck}, nil)
	err := c.answered()
	c.mu.Unlock()
	if first && err == nil {
		c.handler.Ready(c)
	}
	if err == nil {
		c.handler.Changed(c)
	}
	return err
}

// set takes one setting (RFC 9113, section 6.5.2). The lock is held.
func (c *Conn) set(id settingID, value uint32) error {
	switch id {
	case settingHeaderTableSize:
		c.out.encoder.limit(value)
	case settingEnablePush:
		if value > 1 || value == 1 && c.role == Client {
			return failure(ProtocolError, ReasonFrame)
		}
	case settingMaxConcurrentStreams:
		c.peerStreams = value
	case settingInitialWindowSize:
		if value > maxWindow {
			return failure(FlowControlError, ReasonFlowControl)
		}
		more := int(value) - c.peerWindow
		c.peerWindow = int(value)
		for _, s := range c.streams {
			if s.sendWindow += more; s.sendWindow > maxWindow {
				return failure(FlowControlError, ReasonFlowControl)
			}
			c.out.enqueue(s)
		}
	case settingMaxFrameSize:
		if value < minFrameSize || value > maxFrameSize {
			return failure(ProtocolError, ReasonFrame)
		}
		c.peerFrameSize = int(value)
	case settingConnectProtocol:
		if value > 1 || value == 0 && c.peerConnect {
			return failure(ProtocolError, ReasonFrame)
		}
		c.peerConnect = value == 1
	case settingMaxHeaderListSize: // advice; the peer refuses what is too large
	}
	return nil
}

// settingsTimedOut ends a connection whose peer does not acknowledge.
func (c *Conn) settingsTimedOut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acksDue > 0 {
		c.fail(failure(SettingsTimeout, ReasonNoSettings))
	}
}

// ping asks a quiet peer whether it lives, and later whether it has answered.
func (c *Conn) ping() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.dead {
		return
	}
	frames := c.in.count.Load()
	quiet := frames == c.quietAt
	c.quietAt = frames
	next := c.config.PingInterval
	switch {
	case !quiet:
		c.asked = false
	case c.asked:
		c.fail(failure(NoError, ReasonPingTimeout))
		return
	default:
		c.asked = true
		next = c.config.PingTimeout
		c.out.frame(frame{kind: framePing}, pingAlive[:])
		c.kick()
	}
	c.pinger.Reset(next)
}
