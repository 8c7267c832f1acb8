package issuer

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// maxExecutable is the largest executable that is hashed, in bytes.
	maxExecutable = 512 << 20

	// maxDigests bounds how many digests of executables are remembered.
	maxDigests = 256
)

// process is the caller of a Unix socket. The pidfd pins it: as long as it
// answers, the process id is not somebody else's.
type process struct {
	uid, gid uint32
	pid      int32
	pidfd    *os.File // nil if the process is outside our pid namespace
	digests  *digestCache
}

// peerProcess asks the kernel who is at the other end of a Unix socket.
func peerProcess(conn net.Conn, digests *digestCache) (caller, error) {
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("a %T has no peer credentials", conn)
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return nil, err
	}
	p := &process{digests: digests}
	var askErr error
	if err := raw.Control(func(fd uintptr) { askErr = p.ask(int(fd)) }); err != nil {
		return nil, err
	}
	if askErr != nil {
		return nil, fmt.Errorf("peer credentials: %w", askErr)
	}
	return p, nil
}

// ask fills in the credentials and the pidfd of the socket's peer.
func (p *process) ask(fd int) error {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return err
	}
	p.uid, p.gid, p.pid = cred.Uid, cred.Gid, cred.Pid
	if p.pid <= 0 {
		return nil
	}
	pidfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if errors.Is(err, unix.ENOPROTOOPT) { // before Linux 6.5
		pidfd, err = p.openPid()
	}
	if err != nil {
		return fmt.Errorf("the process %d is gone: %w", p.pid, err)
	}
	p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	return nil
}

// openPid pins the process by its id. It may already be somebody else's, but
// then of the same user at least.
func (p *process) openPid() (int, error) {
	pidfd, err := unix.PidfdOpen(int(p.pid), 0)
	if err != nil {
		return -1, err
	}
	var stat unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d", p.pid), &stat); err != nil || stat.Uid != p.uid {
		return -1, errors.Join(err, errors.New("its id has a new owner"), unix.Close(pidfd))
	}
	return pidfd, nil
}

func (p *process) ids() (uid, gid uint32) { return p.uid, p.gid }

func (p *process) String() string {
	exe, err := os.Readlink(p.exe())
	if err != nil || p.alive() != nil {
		return fmt.Sprintf("pid %d", p.pid)
	}
	return fmt.Sprintf("pid %d running %.255q", p.pid, exe)
}

func (p *process) Close() error {
	if p.pidfd == nil {
		return nil
	}
	return p.pidfd.Close()
}

func (p *process) exe() string { return fmt.Sprintf("/proc/%d/exe", p.pid) }

// alive returns nil as long as the process has not been reaped. What was read
// from /proc before such an answer was about this process.
func (p *process) alive() error {
	if p.pidfd == nil {
		return fmt.Errorf("the process is outside the issuer's pid namespace")
	}
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var signalErr error
	if err := raw.Control(func(fd uintptr) { signalErr = unix.PidfdSendSignal(int(fd), 0, nil, 0) }); err != nil {
		return err
	}
	if signalErr != nil && !errors.Is(signalErr, unix.EPERM) {
		return fmt.Errorf("the process %d is gone: %w", p.pid, signalErr)
	}
	return nil
}

// runs compares names and then files: in a mount namespace of its own a process
// can give its executable any name, and the name of a replaced one still
// stands in /proc.
func (p *process) runs(path string) (bool, error) {
	name, nameErr := os.Readlink(p.exe())
	running, statErr := os.Stat(p.exe())
	if err := p.alive(); err != nil {
		return false, err
	}
	if err := errors.Join(nameErr, statErr); err != nil {
		return false, fmt.Errorf("find the executable: %w", err)
	}
	if name != path {
		return false, nil
	}
	want, err := os.Stat(path)
	if err != nil {
		return false, fmt.Errorf("find the executable: %w", err)
	}
	return os.SameFile(running, want), nil
}

func (p *process) digest() (string, error) {
	f, openErr := os.Open(p.exe())
	if err := p.alive(); err != nil {
		if f != nil {
			f.Close()
		}
		return "", err
	}
	if openErr != nil {
		return "", fmt.Errorf("hash the executable: %w", openErr)
	}
	defer f.Close()
	return p.digests.of(f)
}

// digestCache remembers the digests of executables, so that a caller cannot
// have the same file hashed again and again. The zero value is empty.
type digestCache struct {
	mu      sync.Mutex // held while hashing: one at a time
	digests map[fileVersion]string
}

// fileVersion changes with the content of a file: nobody but the kernel sets a
// change time.
type fileVersion struct {
	device, inode  uint64
	size           int64
	change, modify syscall.Timespec
}

func (c *digestCache) of(f *os.File) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Size() > maxExecutable {
		return "", fmt.Errorf("hash the executable: %d bytes are more than the %d allowed", info.Size(), maxExecutable)
	}
	version := fileVersion{device: stat.Dev, inode: stat.Ino, size: stat.Size, change: stat.Ctim, modify: stat.Mtim}
	c.mu.Lock()
	defer c.mu.Unlock()
	if digest, known := c.digests[version]; known {
		return digest, nil
	}
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(f, maxExecutable)); err != nil {
		return "", fmt.Errorf("hash the executable: %w", err)
	}
	if len(c.digests) >= maxDigests || c.digests == nil {
		c.digests = make(map[fileVersion]string)
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	c.digests[version] = digest
	return digest, nil
}
