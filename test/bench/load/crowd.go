package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// crowd makes the calls of [Connect] in a closed loop, all callers in one thread
// on bare sockets. What a new connection costs the proxies is to be measured, and
// they share the machine: a goroutine, a poller's registration and a timer for
// each connection would cost more here than in some of those that are measured.
type crowd struct {
	address unix.Sockaddr
	out     []byte // the request
	answer  []byte // what is to come back
	in      []byte

	members []member
	waits   []unix.PollFd // of the member of the same index
}

// member is a caller in the crowd.
type member struct {
	begun time.Time
	got   int // bytes of the answer
}

// crowd returns as many callers as asked for.
func (k Connect) crowd(address string, callers int) (*crowd, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !to.Addr().Unmap().Is4() {
		return nil, fmt.Errorf("load: connect to %s: want an IPv4 address and a port", address)
	}
	request := k.caller().out
	c := &crowd{
		out: request, answer: request[headerSize:], in: make([]byte, k.Size),
		members: make([]member, callers), waits: make([]unix.PollFd, callers),
	}
	c.address = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().Unmap().As4()}
	return c, nil
}

// run makes calls as planned, until ctx ends at the latest.
func (c *crowd) run(ctx context.Context, plan Plan) Result {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var r Result
	begun := time.Now()
	end, started := begun.Add(plan.Duration), 0
	again := func(now time.Time) bool {
		if plan.Calls > 0 && started == plan.Calls || plan.Calls == 0 && !now.Before(end) || r.Errors >= maxErrors {
			return false
		}
		started++
		return true
	}
	for i := range c.members {
		c.waits[i].Fd = -1
		c.next(i, &r, again)
	}
	for c.busy() {
		if _, err := unix.Poll(c.waits, 100); err != nil && !errors.Is(err, unix.EINTR) || ctx.Err() != nil {
			c.cut(&r, errors.Join(err, context.Cause(ctx)))
			break
		}
		for i := range c.waits {
			if c.waits[i].Revents != 0 && c.attend(i, &r) {
				c.next(i, &r, again)
			}
		}
	}
	r.Elapsed = time.Since(begun)
	slices.Sort(r.Latencies)
	return r
}

// next begins calls of a member until one is under way, or there is none left.
func (c *crowd) next(i int, r *Result, again func(time.Time) bool) {
	for now := time.Now(); again(now); now = time.Now() {
		c.members[i] = member{begun: now}
		err := c.connect(i)
		if err == nil {
			return
		}
		c.done(i, r, err)
	}
}

// connect connects and sends the request, without waiting for either.
func (c *crowd) connect(i int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	c.waits[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	if err := unix.Connect(fd, c.address); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return os.NewSyscallError("connect", err)
	}
	return c.send(i)
}

// send sends the request; it is far smaller than a socket's buffer. On loopback
// the connection stands as soon as connect returns, if it is accepted at all.
func (c *crowd) send(i int) error {
	_, err := unix.Write(int(c.waits[i].Fd), c.out)
	c.waits[i].Events = unix.POLLIN
	if errors.Is(err, unix.EAGAIN) {
		c.waits[i].Events, err = unix.POLLOUT, nil
	}
	return os.NewSyscallError("write", err)
}

// attend goes on with a member's call, and reports whether it is over.
func (c *crowd) attend(i int, r *Result) bool {
	if c.waits[i].Events == unix.POLLOUT {
		err := c.send(i)
		return err != nil && c.done(i, r, err)
	}
	m := &c.members[i]
	n, err := unix.Read(int(c.waits[i].Fd), c.in[:len(c.answer)-m.got])
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return false
	case err != nil:
		err = os.NewSyscallError("read", err)
	case n == 0:
		err = io.ErrUnexpectedEOF
	case string(c.in[:n]) != string(c.answer[m.got:m.got+n]):
		err = errEcho
	default:
		if m.got += n; m.got < len(c.answer) {
			return false
		}
	}
	return c.done(i, r, err)
}

// done ends a member's call, and returns true.
func (c *crowd) done(i int, r *Result, err error) bool {
	if c.waits[i].Fd >= 0 {
		_ = unix.Close(int(c.waits[i].Fd))
		c.waits[i] = unix.PollFd{Fd: -1}
	}
	if err != nil {
		r.Errors++
		if r.FirstErr == nil {
			r.FirstErr = err
		}
		return true
	}
	r.Calls++
	r.Bytes += int64(2 * len(c.answer))
	r.Latencies = append(r.Latencies, time.Since(c.members[i].begun))
	return true
}

// busy reports whether a call is under way.
func (c *crowd) busy() bool {
	return slices.ContainsFunc(c.waits, func(w unix.PollFd) bool { return w.Fd >= 0 })
}

// cut ends what is under way.
func (c *crowd) cut(r *Result, err error) {
	for i := range c.waits {
		if c.waits[i].Fd >= 0 {
			c.done(i, r, err)
		}
	}
}
