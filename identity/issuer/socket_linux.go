package issuer

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	probeTimeout = time.Second
	lockAttempts = 100
	lockInterval = 20 * time.Millisecond
)

// listenUnix listens on a socket at path that has its mode and owner before
// anybody can see it. A socket that a crashed run left behind is replaced; one
// that somebody listens on, and a file of another kind, is not.
func listenUnix(path string, access socketAccess) (net.Listener, error) {
	parent := filepath.Dir(path)
	if err := os.MkdirAll(parent, 0o755); err != nil { //nolint:gosec // every workload has to get through to its socket
		return nil, err
	}
	if err := checkParent(parent); err != nil {
		return nil, err
	}
	unlock, err := lockParent(parent)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return bindAndMove(path, access)
}

// checkParent refuses a directory in which others could replace the socket by
// one of theirs.
func checkParent(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("%s has mode %#o: others could replace the socket; chmod go-w it or use another directory", path, info.Mode().Perm())
	}
	return nil
}

// lockParent keeps two issuers from replacing each other's socket.
func lockParent(path string) (unlock func(), err error) {
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	retry := time.NewTicker(lockInterval)
	defer retry.Stop()
	for range lockAttempts {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			break
		}
		<-retry.C
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), dir.Close())
	}
	return func() { _ = dir.Close() }, nil
}

// removeStale removes a socket that nobody listens on.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s exists and is no socket: remove it or use another path", path)
	}
	conn, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = conn.Close()
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s is in use by another process: stop it or use another path", path)
	}
	return os.Remove(path)
}

// bindAndMove makes the socket in a directory that only we can enter, gives it
// its mode and owner there, and moves it to its place.
func bindAndMove(path string, access socketAccess) (net.Listener, error) {
	private, err := os.MkdirTemp(filepath.Dir(path), ".hallmark-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(private)
	handle, err := os.Open(private)
	if err != nil {
		return nil, err
	}
	defer handle.Close()
	// By way of the descriptor, the name is short whatever path is.
	bound := fmt.Sprintf("/proc/self/fd/%d/s", handle.Fd())
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: bound, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false)
	if err := errors.Join(access.apply(bound), os.Rename(bound, path)); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return newOwnedListener(listener, path)
}

// apply sets the owner first: changing it can clear bits of the mode.
func (a socketAccess) apply(path string) error {
	if a.uid != -1 || a.gid != -1 {
		if err := os.Lchown(path, a.uid, a.gid); err != nil {
			return fmt.Errorf("give the socket to the workload (uid %d, gid %d): %w", a.uid, a.gid, err)
		}
	}
	return os.Chmod(path, a.mode)
}

// ownedListener removes its socket when it closes, if it is still its own.
type ownedListener struct {
	*net.UnixListener
	path  string
	inode uint64
}

func newOwnedListener(listener *net.UnixListener, path string) (net.Listener, error) {
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return &ownedListener{UnixListener: listener, path: path, inode: stat.Ino}, nil
}

// Addr returns the address that clients use.
func (l *ownedListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close removes the socket and stops listening.
func (l *ownedListener) Close() error {
	var stat syscall.Stat_t
	if err := syscall.Lstat(l.path, &stat); err == nil && stat.Ino == l.inode {
		_ = os.Remove(l.path)
	}
	return l.UnixListener.Close()
}
