package load

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// The protocol of [Serve]: a request is magic, an operation, seven bytes of
// nothing and a size, followed by as many bytes if the operation sends any.
const (
	magic      = "BENCH/1 "
	headerSize = len(magic) + 16
	chunk      = 64 << 10 // bytes per read and write of bulk data
)

// Operation is what is asked of [Serve].
type Operation byte

// The operations.
const (
	Echo     Operation = 'E' // the payload comes back
	Upload   Operation = 'U' // the payload is swallowed, its size comes back
	Download Operation = 'D' // a payload comes
	Both     Operation = 'B' // a payload each way at once, then its size
)

func (o Operation) name() string {
	switch o {
	case Echo:
		return "echo"
	case Upload:
		return "upload"
	case Download:
		return "download"
	default:
		return "both ways"
	}
}

// greeting is what a server that speaks first says.
const greeting = "220 bench.example ESMTP here, and glad of it\r\n"

// Server is the application at the other end of TCP calls.
type Server struct {
	// Greets makes it speak first, and then wait for the client to leave.
	Greets bool

	listener net.Listener
	mu       sync.Mutex
	conns    map[net.Conn]struct{} // nil when closed
	all      sync.WaitGroup
	buffers  sync.Pool // of *[chunk]byte: a connection need not cost the client more than the exchange
}

// Serve serves connections until the listener fails or the server is closed.
func (s *Server) Serve(listener net.Listener) error {
	s.mu.Lock()
	s.listener, s.conns = listener, map[net.Conn]struct{}{}
	s.mu.Unlock()
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if !s.add(conn) {
			return net.ErrClosed
		}
		s.all.Go(func() {
			defer s.remove(conn)
			if s.Greets {
				_ = greet(conn)
			} else {
				_ = s.answer(conn)
			}
		})
	}
}

func (s *Server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		_ = conn.Close()
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *Server) remove(conn net.Conn) {
	_ = conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

// Close closes the listener and all connections, and waits for their ends.
func (s *Server) Close() {
	s.mu.Lock()
	if s.listener != nil {
		_ = s.listener.Close()
	}
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	s.all.Wait()
}

func greet(conn net.Conn) error {
	if _, err := io.WriteString(conn, greeting); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, conn)
	return err
}

// answer does what the client asks for until it leaves.
func (s *Server) answer(conn net.Conn) error {
	lent, _ := s.buffers.Get().(*[chunk]byte)
	if lent == nil {
		lent = new([chunk]byte)
	}
	defer s.buffers.Put(lent)
	buffer := lent[:]
	for {
		header := buffer[:headerSize]
		if _, err := io.ReadFull(conn, header); err != nil {
			return err
		}
		if string(header[:len(magic)]) != magic {
			return errors.New("load: not a request")
		}
		operation := Operation(header[len(magic)])
		size := int(binary.BigEndian.Uint64(header[headerSize-8:]))
		if err := perform(conn, operation, size, buffer); err != nil {
			return err
		}
	}
}

func perform(conn net.Conn, operation Operation, size int, buffer []byte) error {
	switch operation {
	case Echo:
		if size > chunk {
			return errors.New("load: too much to echo")
		}
		if _, err := io.ReadFull(conn, buffer[:size]); err != nil {
			return err
		}
		_, err := conn.Write(buffer[:size])
		return err
	case Upload:
		if err := swallow(conn, size, buffer); err != nil {
			return err
		}
		return acknowledge(conn, size)
	case Download:
		return send(conn, size, buffer)
	case Both:
		sent := make(chan error, 1)
		go func() { sent <- send(conn, size, make([]byte, chunk)) }()
		if err := errors.Join(swallow(conn, size, buffer), <-sent); err != nil {
			return err
		}
		return acknowledge(conn, size)
	default:
		return fmt.Errorf("load: no operation %q", operation)
	}
}

func acknowledge(conn net.Conn, size int) error {
	_, err := conn.Write(binary.BigEndian.AppendUint64(nil, uint64(size)))
	return err
}

func send(w io.Writer, size int, buffer []byte) error {
	for size > 0 {
		n, err := w.Write(buffer[:min(size, len(buffer))])
		if err != nil {
			return err
		}
		size -= n
	}
	return nil
}

func swallow(r io.Reader, size int, buffer []byte) error {
	for size > 0 {
		n, err := r.Read(buffer[:min(size, len(buffer))])
		if size -= n; err != nil && size > 0 {
			return err
		}
	}
	return nil
}

// TCP calls a [Server], each caller on a connection of its own.
type TCP struct {
	Operation Operation
	Size      int // bytes of payload each way
}

// String names the call.
func (k TCP) String() string { return fmt.Sprintf("TCP %s of %d bytes", k.Operation.name(), k.Size) }

// Open connects.
func (k TCP) Open(ctx context.Context, address string) (Caller, error) {
	conn, err := dial(ctx, address)
	if err != nil {
		return nil, err
	}
	c := k.caller()
	c.Conn = conn
	return c, nil
}

// caller is a caller without its connection.
func (k TCP) caller() *tcpCaller {
	size := chunk
	if k.Operation == Echo {
		size = k.Size
	}
	c := &tcpCaller{kind: k, in: make([]byte, size)}
	c.out = append(c.out, magic...)
	c.out = append(c.out, byte(k.Operation), 0, 0, 0, 0, 0, 0, 0)
	c.out = binary.BigEndian.AppendUint64(c.out, uint64(k.Size))
	if k.Operation == Echo {
		for i := range k.Size {
			c.out = append(c.out, byte(i))
		}
	}
	return c
}

type tcpCaller struct {
	net.Conn
	kind    TCP
	out, in []byte
}

// Call does the operation once.
func (c *tcpCaller) Call() (int, error) {
	if _, err := c.Write(c.out); err != nil {
		return 0, err
	}
	size := c.kind.Size
	switch c.kind.Operation {
	case Echo:
		if _, err := io.ReadFull(c, c.in[:size]); err != nil {
			return 0, err
		}
		if string(c.in[:size]) != string(c.out[headerSize:]) {
			return 0, errEcho
		}
		return 2 * size, nil
	case Upload:
		if err := send(c, size, c.in); err != nil {
			return 0, err
		}
		return size, c.acknowledged()
	case Download:
		return size, swallow(c, size, c.in)
	default:
		sent := make(chan error, 1)
		go func() { sent <- send(c, size, make([]byte, chunk)) }()
		if err := errors.Join(swallow(c, size, c.in), <-sent); err != nil {
			return 0, err
		}
		return 2 * size, c.acknowledged()
	}
}

var errEcho = errors.New("load: the echo differs")

// acknowledged reads the size that the server has got.
func (c *tcpCaller) acknowledged() error {
	var size [8]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return err
	}
	if got := binary.BigEndian.Uint64(size[:]); got != uint64(c.kind.Size) {
		return fmt.Errorf("load: the server got %d bytes of %d", got, c.kind.Size)
	}
	return nil
}

// Connect makes a connection for every call, on which it does one operation.
type Connect struct{ TCP }

// String names the call.
func (k Connect) String() string { return "connection with " + k.TCP.String() }

// Open does nothing yet.
func (k Connect) Open(ctx context.Context, address string) (Caller, error) {
	c := k.caller() // its buffers serve one connection after the other
	return &connectCaller{ctx: ctx, address: address, with: func(conn net.Conn) (int, error) {
		c.Conn = conn
		return c.Call()
	}}, nil
}

// Greeting makes a connection for every call and waits for the server to speak.
type Greeting struct{}

// String names the call.
func (Greeting) String() string { return "connection to a server that speaks first" }

// Open does nothing yet.
func (Greeting) Open(ctx context.Context, address string) (Caller, error) {
	return &connectCaller{ctx: ctx, address: address, with: greeted}, nil
}

// greeted reads the greeting.
func greeted(conn net.Conn) (int, error) {
	got := make([]byte, len(greeting))
	if _, err := io.ReadFull(conn, got); err != nil {
		return 0, err
	}
	if string(got) != greeting {
		return 0, fmt.Errorf("load: the server said %.50q", got)
	}
	return len(got), nil
}

// connectCaller connects for every call.
type connectCaller struct {
	ctx     context.Context
	address string
	with    func(conn net.Conn) (bytes int, err error)
}

// Call connects, calls and closes.
func (c *connectCaller) Call() (int, error) {
	conn, err := dial(c.ctx, c.address)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return c.with(conn)
}

// Close does nothing: nothing is kept.
func (c *connectCaller) Close() error { return nil }
