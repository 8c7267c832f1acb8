//go:build !linux

package issuer

import (
	"errors"
	"fmt"
	"net"
)

// listenUnix would serve nobody: callers are recognised on Linux only.
func listenUnix(path string, _ socketAccess) (net.Listener, error) {
	return nil, fmt.Errorf("%s: %w", path, errors.ErrUnsupported)
}
