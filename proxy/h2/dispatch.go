package h2

import (
	"encoding/binary"
	"runtime"
	"slices"
	"time"
)

// header looks at a frame's header, before any of its payload, and says what is
// to be done with that.
func (in *input) header(f frame) error {
	if f.length > int(in.c.config.MaxFrameSize) {
		return failure(FrameSizeError, ReasonFrame)
	}
	if !in.begun {
		if f.kind != frameSettings || f.has(flagAck) {
			return failure(ProtocolError, ReasonPreface)
		}
		in.begun = true
	}
	if in.inBlock != (f.kind == frameContinuation) || in.inBlock && f.stream != in.blockFrame.stream {
		return failure(ProtocolError, ReasonFrame) // RFC 9113, section 6.10
	}
	in.skip = 0
	switch f.kind {
	case frameData:
		if f.stream == 0 {
			return failure(ProtocolError, ReasonFrame)
		}
		if f.has(flagPadded) {
			if f.length == 0 {
				return failure(FrameSizeError, ReasonFrame)
			}
			in.expect(phasePad, 1)
			return nil
		}
		return in.startData(-1)
	case frameHeaders, frameContinuation:
		return in.headerFragment(f)
	case framePushPromise: // a client never allows it, a server never gets it
		return failure(ProtocolError, ReasonFrame)
	case frameSettings, framePing, frameGoAway, frameWindowUpdate, frameRSTStream, framePriority:
		return in.control(f)
	}
	if !in.c.within(&in.c.unknown, in.c.config.Limits.UnknownFrames, in.c.config.Limits.UnknownFramesPerSecond) {
		return failure(EnhanceYourCalm, ReasonUnknownFrames)
	}
	in.expect(phaseSkip, f.length)
	return nil
}

// within counts an event of a limit.
func (c *Conn) within(b *bucket, burst, perSecond int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return b.take(burst, perSecond)
}

// control checks the form of a control frame: its stream and its length.
func (in *input) control(f frame) error {
	length, onStream := 4, true
	switch f.kind {
	case frameSettings:
		length, onStream = f.length/settingLen*settingLen, false
		if f.has(flagAck) {
			length = 0
		}
		if f.length > maxSettings*settingLen {
			return failure(EnhanceYourCalm, ReasonSettings)
		}
	case framePing:
		length, onStream = 8, false
	case frameGoAway:
		length, onStream = 8, false
		if f.length > length { // debug data is of no use
			in.skip = f.length - length
		}
	case frameWindowUpdate:
		onStream = f.stream != 0
	case framePriority:
		length = 5
	default:
	}
	if onStream != (f.stream != 0) {
		return failure(ProtocolError, ReasonFrame)
	}
	if f.length-in.skip != length {
		if f.kind != framePriority {
			return failure(FrameSizeError, ReasonFrame)
		}
		in.expect(phaseSkip, f.length)
		return in.c.streamError(f.stream, FrameSizeError, ReasonFrame)
	}
	in.expect(phasePayload, length)
	return nil
}

// headerFragment makes ready for the payload of HEADERS or CONTINUATION.
func (in *input) headerFragment(f frame) error {
	switch {
	case f.stream == 0:
		return failure(ProtocolError, ReasonFrame)
	case len(in.block)+f.length > 2*in.c.config.MaxHeaderBytes+256:
		// More than any list within the limit needs: no answer is owed.
		return failure(EnhanceYourCalm, ReasonHeaderBytes)
	case in.inBlock && in.blockCount >= in.c.config.Limits.Continuations:
		return failure(EnhanceYourCalm, ReasonContinuations)
	}
	if f.length == 0 && !f.has(flagEndHeaders) {
		l := in.c.config.Limits
		if !in.c.within(&in.c.empties, l.EmptyFrames, l.EmptyFramesPerSecond) {
			return failure(EnhanceYourCalm, ReasonEmptyFrames)
		}
	}
	in.expect(phasePayload, f.length)
	return nil
}

// payload acts on a frame whose payload has come.
func (in *input) payload(p []byte) error {
	switch f := in.frame; f.kind {
	case frameHeaders:
		return in.startBlock(f, p)
	case frameContinuation:
		in.blockCount++
		in.block = append(in.block, p...)
		if !f.has(flagEndHeaders) {
			return nil
		}
		in.inBlock = false
		err := in.decodeBlock(in.block)
		if in.block = in.block[:0]; cap(in.block) > 16<<10 {
			in.block = nil
		}
		return err
	case frameSettings:
		return in.c.onSettings(f, p)
	case framePing:
		return in.c.onPing(f, p)
	case frameGoAway:
		return in.c.onGoAway(binary.BigEndian.Uint32(p)&maxStreamID, Code(binary.BigEndian.Uint32(p[4:])))
	case frameWindowUpdate:
		return in.c.onWindowUpdate(f.stream, int(binary.BigEndian.Uint32(p)&maxWindow))
	case frameRSTStream:
		return in.c.onReset(f.stream, Code(binary.BigEndian.Uint32(p)))
	case framePriority:
		return in.c.onPriority(f.stream, binary.BigEndian.Uint32(p)&maxStreamID)
	default:
		return nil
	}
}

// startBlock takes a HEADERS frame's padding and priority off.
func (in *input) startBlock(f frame, p []byte) error {
	if f.has(flagPadded) {
		if len(p) < 1 {
			return failure(FrameSizeError, ReasonFrame)
		}
		pad := int(p[0])
		if p = p[1:]; pad > len(p) {
			return failure(ProtocolError, ReasonFrame)
		}
		p = p[:len(p)-pad]
	}
	in.badPrio = false
	if f.has(flagPriority) {
		if len(p) < 5 {
			return failure(FrameSizeError, ReasonFrame)
		}
		in.badPrio = binary.BigEndian.Uint32(p)&maxStreamID == f.stream
		p = p[5:]
	}
	in.blockFrame, in.blockCount = f, 1
	if f.has(flagEndHeaders) {
		return in.decodeBlock(p)
	}
	in.inBlock = true
	in.block = append(in.block[:0], p...)
	return nil
}

// fairShare is how many header blocks a reader handles before it lets others run:
// a read may bring a thousand requests of one peer, and others have one.
const fairShare = 32

// rest is how long a reader reads nothing after a fair share of a peer that resets
// streams by the dozen: 32 in so long are 3,200 a second, of which a limit ends it.
const rest = 10 * time.Millisecond

// pace ends a turn of the reader after a fair share. A peer that ends streams by
// reset, faster than it may for long, is made to wait: what it asked for is not
// wanted any more, yet stands before what others ask for all the way upstream,
// which no limit on streams at once prevents.
func (in *input) pace() {
	if in.blocks++; in.blocks < fairShare {
		return
	}
	in.blocks = 0
	if in.c.resetsOften() {
		<-time.After(rest)
	} else {
		runtime.Gosched()
	}
}

// decodeBlock decodes a complete header block, whatever becomes of it: the
// tables must stay in step.
func (in *input) decodeBlock(p []byte) error {
	if err := in.decoder.decode(p); err != nil {
		return &Error{Code: CompressionError, Reason: ReasonCompression, Err: err}
	}
	f := in.blockFrame
	err := in.c.onHeaders(f.stream, f.has(flagEndStream), in.badPrio)
	in.headers = Headers{}
	in.decoder.forget()
	in.pace()
	return err
}

// startData accounts for a DATA frame; pad is the length of its padding, -1 if
// there is none.
func (in *input) startData(pad int) error {
	f := in.frame
	overhead := pad + 1 // the length itself
	if overhead > f.length {
		return failure(ProtocolError, ReasonFrame)
	}
	payload := f.length - overhead
	in.skip = max(pad, 0)
	s, err := in.c.onData(f, payload, overhead)
	if err != nil {
		return err
	}
	if s == nil {
		in.expect(phaseSkip, payload+in.skip)
		return nil
	}
	in.end = f.has(flagEndStream)
	in.expect(phaseData, payload)
	return nil
}

// data passes on a piece of a DATA frame, the last one with its end.
func (in *input) data(buf *Buffer, p []byte) {
	last := in.need == 0
	if last {
		in.expect(phaseHeader, frameHeaderLen)
		if in.skip > 0 {
			in.expect(phaseSkip, in.skip)
		}
	}
	end := last && in.end
	if len(p) == 0 && !end {
		return
	}
	c := in.c
	c.mu.Lock()
	s := in.stream
	if s == nil {
		c.mu.Unlock()
		return
	}
	if last {
		in.stream = nil
	}
	s.busy++
	s.remoteEnd = s.remoteEnd || end
	c.mu.Unlock()

	chunk := Chunk{}
	if len(p) > 0 {
		buf.refs.Add(1)
		chunk = Chunk{buf: buf, b: slices.Clip(p)}
	}
	s.handler.Data(s, chunk, end)
	c.left(s)
}
