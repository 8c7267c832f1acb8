package h2

import "encoding/binary"

// frameHeaderLen is the length of a frame's header (RFC 9113, section 4.1).
const frameHeaderLen = 9

// frameType is the type of a frame (RFC 9113, section 6).
type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameRSTStream    frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9
)

// Flags of frames.
const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	// preface is what a client sends first (RFC 9113, section 3.4).
	preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	minFrameSize = 16 << 10
	maxFrameSize = 1<<24 - 1
	maxWindow    = 1<<31 - 1
	maxStreamID  = 1<<31 - 1

	// defaultWindow is a window's size before anything was agreed (RFC 9113,
	// section 6.9.2).
	defaultWindow = 65535
)

// frame is a frame's header.
type frame struct {
	length int
	kind   frameType
	flags  uint8
	stream uint32
}

func (f frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame parses the first [frameHeaderLen] bytes of b.
func parseFrame(b []byte) frame {
	return frame{
		length: int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		kind:   frameType(b[3]),
		flags:  b[4],
		stream: binary.BigEndian.Uint32(b[5:]) & maxStreamID,
	}
}

// put writes the header into the first [frameHeaderLen] bytes of b.
func (f frame) put(b []byte) {
	b[0], b[1], b[2] = byte(f.length>>16), byte(f.length>>8), byte(f.length)
	b[3], b[4] = byte(f.kind), f.flags
	binary.BigEndian.PutUint32(b[5:9], f.stream)
}

// settingID names a setting (RFC 9113, section 6.5.2; RFC 8441, section 3).
type settingID uint16

const (
	settingHeaderTableSize      settingID = 0x1
	settingEnablePush           settingID = 0x2
	settingMaxConcurrentStreams settingID = 0x3
	settingInitialWindowSize    settingID = 0x4
	settingMaxFrameSize         settingID = 0x5
	settingMaxHeaderListSize    settingID = 0x6
	settingConnectProtocol      settingID = 0x8
)

const settingLen = 6

func appendSetting(b []byte, id settingID, value uint32) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(id))
	return binary.BigEndian.AppendUint32(b, value)
}
