package accept

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A restart without loss: the new process asks the old one, on a unix socket,
// for the listening sockets themselves, so that no connection in their queues is
// lost and none is refused; when it accepts from them it says so, and the old
// one stops accepting and drains. If the new one fails before that, the old one
// has lost nothing and goes on.
//
// Only a process of the same user gets the sockets.

const (
	// maxHandover bounds the sockets that are handed over, and with them the
	// message: the kernel passes at most 253 descriptors at once.
	maxHandover = 250

	// handoverStep is how long the other process may take for one step.
	handoverStep = time.Minute

	handoverReady = "ready"
)

// handoverOffer is the message that comes with the descriptors.
type handoverOffer struct {
	Addresses []string `json:"addresses"` // as configured, one a descriptor
}

// Handover is the old process's side: it waits at a path for its successor.
type Handover struct {
	listener *net.UnixListener
	path     string
}

// OfferHandover starts to wait at the path, replacing what a process that has
// ended, or that has handed over to us, left there.
func OfferHandover(path string) (*Handover, error) {
	temporary := fmt.Sprintf("%s.%d", path, os.Getpid())
	_ = os.Remove(temporary)
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: temporary, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("accept: offer handover at %s: %w", path, err)
	}
	l.SetUnlinkOnClose(false)
	err = errors.Join(os.Chmod(temporary, 0o600), os.Rename(temporary, path))
	if err != nil {
		_ = l.Close()
		_ = os.Remove(temporary)
		return nil, fmt.Errorf("accept: offer handover at %s: %w", path, err)
	}
	return &Handover{listener: l, path: path}, nil
}

// Serve waits for a successor, gives it the sockets that the function returns,
// by their configured addresses, and returns nil once it accepts from them: then
// this process must stop accepting. A successor that fails is reported and the
// next one waited for. It returns the context's error when ctx ends first.
func (h *Handover) Serve(ctx context.Context, sockets func() map[string]net.Listener, report func(error)) error {
	stop := context.AfterFunc(ctx, func() { _ = h.listener.Close() })
	defer stop()
	for {
		conn, err := h.listener.AcceptUnix()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("accept: wait for a successor at %s: %w", h.path, err)
		}
		err = give(ctx, conn, sockets())
		_ = conn.Close()
		if err == nil {
			_ = h.listener.Close()
			return nil
		}
		report(fmt.Errorf("accept: hand over at %s: %w", h.path, err))
	}
}

// Close stops waiting. The path stays: a successor may wait there by now.
func (h *Handover) Close() error { return h.listener.Close() }

// give passes the sockets and waits until the successor is ready.
func give(ctx context.Context, conn *net.UnixConn, sockets map[string]net.Listener) error {
	if err := sameUser(conn); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(handoverStep)); err != nil {
		return err
	}
	var offer handoverOffer
	var descriptors []int
	for address, l := range sockets {
		f, err := file(l)
		if err != nil {
			return fmt.Errorf("socket %s: %w", address, err)
		}
		defer f.Close()
		offer.Addresses = append(offer.Addresses, address)
		descriptors = append(descriptors, int(f.Fd()))
	}
	if len(descriptors) > maxHandover {
		return fmt.Errorf("%d sockets are more than the %d that can be handed over", len(descriptors), maxHandover)
	}
	message, err := json.Marshal(offer)
	if err != nil {
		return err
	}
	if _, _, err := conn.WriteMsgUnix(message, unix.UnixRights(descriptors...), nil); err != nil {
		return err
	}
	answer := make([]byte, len(handoverReady)+1)
	n, err := conn.Read(answer)
	if err != nil || string(answer[:n]) != handoverReady {
		return fmt.Errorf("the successor did not get ready: %q: %w", answer[:n], err)
	}
	return nil
}

// Succession is the new process's side, after it has got the sockets.
type Succession struct{ conn *net.UnixConn }

// TakeOver asks the process that waits at the path for its sockets and adds them
// to s. When nobody waits there it returns nil, nil: this process is the first.
func TakeOver(ctx context.Context, path string, s *Sockets) (*Succession, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unixpacket", path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ECONNREFUSED):
		return nil, nil //nolint:nilnil // documented: nobody to take over from
	case err != nil:
		return nil, fmt.Errorf("accept: take over at %s: %w", path, err)
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("accept: take over at %s: %T is no unix connection", path, conn)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := receive(u, s); err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("accept: take over at %s: %w", path, err)
	}
	return &Succession{u}, nil
}

// Ready tells the old process that this one accepts now. A nil succession has
// nobody to tell.
func (s *Succession) Ready() error {
	if s == nil {
		return nil
	}
	_, err := s.conn.Write([]byte(handoverReady))
	return errors.Join(err, s.conn.Close())
}

// Abandon tells the old process that this one will not replace it.
func (s *Succession) Abandon() {
	if s != nil {
		_ = s.conn.Close()
	}
}

// receive reads the one message and makes listeners of its descriptors.
func receive(conn *net.UnixConn, s *Sockets) error {
	if err := sameUser(conn); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(handoverStep)); err != nil {
		return err
	}
	message := make([]byte, 64<<10)
	oob := make([]byte, unix.CmsgSpace(4*maxHandover))
	n, oobn, _, _, err := conn.ReadMsgUnix(message, oob)
	if err != nil {
		return err
	}
	files, err := descriptors(oob[:oobn])
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return err
	}
	var offer handoverOffer
	if err := json.Unmarshal(message[:n], &offer); err != nil {
		return err
	}
	if len(offer.Addresses) != len(files) {
		return fmt.Errorf("got %d descriptors for %d addresses", len(files), len(offer.Addresses))
	}
	for i, f := range files {
		l, err := net.FileListener(f)
		if err != nil {
			return fmt.Errorf("socket %s: %w", offer.Addresses[i], err)
		}
		s.add(offer.Addresses[i], l)
	}
	return conn.SetDeadline(time.Time{})
}

func descriptors(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	return files, nil
}

// sameUser refuses a process of another user.
func sameUser(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var peer *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if int(peer.Uid) != os.Getuid() {
		return fmt.Errorf("the process at the other end is of user %d, not %d", peer.Uid, os.Getuid())
	}
	return nil
}
