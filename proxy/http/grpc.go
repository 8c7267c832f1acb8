package http

import (
	"encoding/binary"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/http/message"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// grpcMessages counts the messages in one direction of a gRPC request: each has a
// flag of one byte and its length in four before it, wherever content is cut into
// pieces. A message counts when the last of it has come.
type grpcMessages struct {
	whole, told uint64

	prefix int     // bytes of the present message's prefix that have come
	length [4]byte // of it
	left   uint32  // and bytes of its content that have not, once prefix is whole
	none   bool    // what comes is no gRPC
}

// grpcPrefix is the length of what stands before a message.
const grpcPrefix = 5

// add takes content.
func (m *grpcMessages) add(p []byte) {
	if m.none {
		return
	}
	for len(p) > 0 {
		if m.prefix < grpcPrefix {
			if m.prefix > 0 { // after the flag
				m.length[m.prefix-1] = p[0]
			}
			m.prefix++
			p = p[1:]
			if m.prefix < grpcPrefix {
				continue
			}
			m.left = binary.BigEndian.Uint32(m.length[:])
		}
		n := uint32(min(uint64(len(p)), uint64(m.left)))
		p, m.left = p[n:], m.left-n
		if m.left == 0 {
			m.whole++
			m.prefix = 0
		}
	}
}

// take returns how many have not been told of, and takes them for told.
func (m *grpcMessages) take() uint64 {
	n := m.whole - m.told
	m.told = m.whole
	return n
}

// messagesEvery is how often at the most it is told of the messages of a request
// that goes on.
const messagesEvery = time.Second

// carry counts messages in content of a gRPC request or its response. Of one that
// goes on it is told now and then; a request with one message each way, as most
// are, never looks at the clock. The lock is held.
func (x *exchange) carry(m *grpcMessages, p []byte) {
	m.add(p)
	if m.whole < 2 || m.whole == m.told || x.relay.config.Messages == nil || x.record.Labels == nil {
		return
	}
	now := time.Now()
	if x.messagesTold.IsZero() {
		x.messagesTold = x.record.Start
	}
	if now.Sub(x.messagesTold) < messagesEvery {
		return
	}
	x.messagesTold = now
	x.relay.config.Messages(x.record.Labels, x.asked.take(), x.answered.take())
}

// traceOf returns the trace context that the fields state (W3C Trace Context,
// section 3.2), or zero.
func traceOf(fields []message.Field) tlsctx.Traceparent {
	text, ok := message.Get(fields, "traceparent")
	if !ok {
		return tlsctx.Traceparent{}
	}
	trace, err := tlsctx.ParseTraceparent(text)
	if err != nil {
		return tlsctx.Traceparent{}
	}
	return trace
}
