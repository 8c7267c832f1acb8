//go:build !linux

package accept

import (
	"net"
	"time"
)

// setUserTimeout does nothing: the option is Linux's own.
func setUserTimeout(*net.TCPConn, time.Duration) {}
