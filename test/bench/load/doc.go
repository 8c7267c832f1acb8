// Package load generates traffic and measures how it goes: closed loops, where
// a call follows the one before, and open loops, where calls come at a fixed
// rate whatever happened to those before and latency counts from the moment when
// a call was meant to be sent (so that a stall is not left out: "coordinated
// omission"). It also has the applications at the other end.
//
// It measures from outside, over sockets: it knows nothing of proxies.
package load

import (
	"context"
	"fmt"
)

// Caller makes calls one after the other. It is used by one goroutine.
type Caller interface {
	// Call makes one call and returns how many bytes of payload went either
	// way. After an error the caller is closed and replaced.
	Call() (bytes int, err error)
	Close() error
}

// Kind is a kind of call.
type Kind interface {
	// Open prepares calls to the address, a connection if it is kept for
	// several. The context bounds all that the caller does.
	Open(ctx context.Context, address string) (Caller, error)
	fmt.Stringer
}
