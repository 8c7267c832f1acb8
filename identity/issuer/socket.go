package issuer

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
)

// socket is a listening socket, and the workloads that it is for.
type socket struct {
	net.Listener
	workloadSocket string // "" is the shared one
}

// socketAccess says who can open a socket. -1 leaves the owner as it is.
type socketAccess struct {
	mode     fs.FileMode
	uid, gid int
}

// Listen binds every socket, so that callers that start now wait for
// [Issuer.Serve] and do not fail. It does nothing if they are bound already.
func (i *Issuer) Listen() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.sockets) > 0 {
		return nil
	}
	var bound []*socket
	for _, path := range i.socketPaths() {
		listener, err := listenUnix(cmp.Or(path, i.config.Socket), i.config.access(path))
		if err != nil {
			for _, s := range bound {
				err = errors.Join(err, s.Close())
			}
			return fmt.Errorf("issuer: listen on %s: %w", cmp.Or(path, i.config.Socket), err)
		}
		bound = append(bound, &socket{Listener: listener, workloadSocket: path})
	}
	i.sockets = bound
	return nil
}

// Sockets returns the paths of the sockets, the shared one first.
func (i *Issuer) Sockets() []string {
	var paths []string
	for _, path := range i.socketPaths() {
		paths = append(paths, cmp.Or(path, i.config.Socket))
	}
	return paths
}

// socketPaths returns the workloads' own sockets in the order of their paths,
// after "" for the shared one if there is one.
func (i *Issuer) socketPaths() []string {
	var paths []string
	for path := range ownSockets(i.config) {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if i.config.Socket != "" {
		paths = append([]string{""}, paths...)
	}
	return paths
}

func (i *Issuer) listening() []*socket {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.sockets
}

// closeSockets stops listening. A socket that its server has closed before is
// no error.
func (i *Issuer) closeSockets() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	var errs []error
	for _, s := range i.sockets {
		if err := s.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	i.sockets = nil
	return errors.Join(errs...)
}

// ownSockets returns the workloads' own sockets with who can open them.
func ownSockets(c Config) map[string]socketAccess {
	sockets := make(map[string]socketAccess)
	for _, w := range c.Workloads {
		if w.Socket != "" {
			sockets[w.Socket] = c.access(w.Socket)
		}
	}
	return sockets
}

// access says who can open a socket: the shared one by its mode alone, and an
// own one by the uid and gid that all of its workloads are selected by, too.
func (c Config) access(workloadSocket string) socketAccess {
	if workloadSocket == "" {
		return socketAccess{mode: c.SocketMode, uid: -1, gid: -1}
	}
	var access socketAccess
	first := true
	for _, w := range c.Workloads {
		if w.Socket != workloadSocket {
			continue
		}
		uid, gid := owner(w.Selectors.UID), owner(w.Selectors.GID)
		if first {
			access, first = socketAccess{mode: w.SocketMode, uid: uid, gid: gid}, false
		}
		if access.uid != uid {
			access.uid = -1
		}
		if access.gid != gid {
			access.gid = -1
		}
	}
	return access
}

func owner(id *uint32) int {
	if id == nil {
		return -1
	}
	return int(*id)
}
