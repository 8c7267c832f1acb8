package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"
)

// A storm is many connections with byte-exact data both ways, half-closes and
// resets, all of it decided by one seed. Each connection begins with its script,
// so that the server knows what to expect.

// Order is when the two directions of a connection flow.
type Order byte

// The orders.
const (
	AtOnce     Order = iota // both at once
	ThenAnswer              // the server sends once it has seen the client's end
	ThenAsk                 // the client sends once it has seen the server's end
	orders
)

// Script is the life of one connection.
type Script struct {
	Seed     uint64
	Up, Down int64 // bytes from the client, and to it
	Order    Order
	// ClientResets and ServerResets say who resets, if anybody, and after how
	// many bytes it has sent. -1 means not to.
	ClientResets, ServerResets int64
}

const scriptSize = 8*5 + 1

func (s Script) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.Seed)
	for _, n := range []int64{s.Up, s.Down, s.ClientResets, s.ServerResets} {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return append(b, byte(s.Order))
}

func decode(b []byte) Script {
	at := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[8*i:])) }
	return Script{Seed: uint64(at(0)), Up: at(1), Down: at(2), ClientResets: at(3), ServerResets: at(4), Order: Order(b[scriptSize-1])}
}

// NewScript draws a script: up to size bytes each way, mostly much less.
func NewScript(random *rand.Rand, size int64) Script {
	length := func() int64 { return random.Int64N(1 + size>>random.IntN(16)) }
	s := Script{Seed: random.Uint64(), Up: length(), Down: length(), Order: Order(random.IntN(int(orders))), ClientResets: -1, ServerResets: -1}
	switch random.IntN(10) {
	case 0:
		s.Order, s.ClientResets = AtOnce, random.Int64N(s.Up+1)
	case 1:
		s.Order, s.ServerResets = AtOnce, random.Int64N(s.Down+1)
	}
	return s
}

// resets reports whether somebody resets the connection.
func (s Script) resets() bool { return s.ClientResets >= 0 || s.ServerResets >= 0 }

// Play is the client's part. Its error says what is lost, garbled or out of
// order.
func (s Script) Play(ctx context.Context, address string) error {
	conn, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write(s.encode()); err != nil {
		return s.failed("client", "send the script", err)
	}
	return s.part(conn, "client", direction{s.Up, s.Seed, s.ClientResets, s.Order == ThenAsk}, direction{s.Down, ^s.Seed, s.ServerResets, s.Order == ThenAnswer})
}

// Answer is the server's part of whatever script comes.
func Answer(conn *net.TCPConn) (Script, error) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	header := make([]byte, scriptSize)
	if _, err := io.ReadFull(conn, header); err != nil {
		return Script{}, fmt.Errorf("e2e: no script: %w", err)
	}
	s := decode(header)
	return s, s.part(conn, "server", direction{s.Down, ^s.Seed, s.ServerResets, s.Order == ThenAnswer}, direction{s.Up, s.Seed, s.ClientResets, s.Order == ThenAsk})
}

func dial(ctx context.Context, address string) (*net.TCPConn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	tcp, _ := conn.(*net.TCPConn) // it dialled TCP
	return tcp, nil
}

func (s Script) failed(who, what string, err error) error {
	return fmt.Errorf("e2e: %s of %+v: %s: %w", who, s, what, err)
}

// direction is what flows one way.
type direction struct {
	length int64
	seed   uint64
	resets int64 // its sender resets after so many bytes; -1 if it does not
	waits  bool  // its sender waits for the end of the other direction
}

// part plays one end: send one direction and check the other.
func (s Script) part(conn *net.TCPConn, who string, out, in direction) error {
	var sent, got error
	heard := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() {
		defer close(heard)
		got = s.receive(conn, in, out.resets >= 0)
	})
	both.Go(func() {
		if out.waits {
			<-heard
		}
		sent = s.send(conn, out)
	})
	both.Wait()
	switch {
	case sent != nil && s.resets() && errors.Is(got, errEarlyEnd):
		// Linux reports a reset once: our own sending has met it.
		return nil
	case got != nil:
		return s.failed(who, "receive", got)
	case sent != nil && !s.resets():
		return s.failed(who, "send", sent)
	default:
		return nil
	}
}

// send sends a direction, and its end.
func (s Script) send(conn *net.TCPConn, d direction) error {
	length := d.length
	if d.resets >= 0 {
		length = min(length, d.resets)
	}
	buffer, source := make([]byte, 32<<10), source(d.seed)
	sizes := rand.New(rand.NewPCG(d.seed, 1))
	for left := length; left > 0; {
		chunk := buffer[:min(left, 1+sizes.Int64N(int64(len(buffer))))]
		_, _ = source.Read(chunk)
		if _, err := conn.Write(chunk); err != nil {
			return err
		}
		left -= int64(len(chunk))
	}
	if d.resets >= 0 {
		if err := conn.SetLinger(0); err != nil {
			return err
		}
		return conn.Close()
	}
	return conn.CloseWrite()
}

// errEarlyEnd is an end that looks as if everything had been said.
var errEarlyEnd = errors.New("an orderly end before its time")

// source is the data of a direction.
func source(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// receive checks a direction to its end. A direction whose sender resets may end
// anywhere, in a reset, but never in an orderly end before it is whole; one that
// we cut ourselves may end anyhow.
func (s Script) receive(conn *net.TCPConn, d direction, weReset bool) error {
	buffer, want, source := make([]byte, 32<<10), make([]byte, 32<<10), source(d.seed)
	var got int64
	for {
		n, err := conn.Read(buffer)
		_, _ = source.Read(want[:n])
		if string(buffer[:n]) != string(want[:n]) {
			return fmt.Errorf("after %d bytes of %d, the next %d are not what was sent", got, d.length, n)
		}
		got += int64(n)
		switch {
		case got > d.length:
			return fmt.Errorf("more than the %d bytes that were sent", d.length)
		case err == nil:
			continue
		case weReset:
			return nil
		case errors.Is(err, io.EOF):
			if got < d.length || d.resets >= 0 {
				return fmt.Errorf("%w: after %d bytes of %d (reset after %d)", errEarlyEnd, got, d.length, d.resets)
			}
			return nil
		case d.resets >= 0 && errors.Is(err, syscall.ECONNRESET) && got <= d.resets:
			return nil
		default:
			return fmt.Errorf("after %d bytes of %d: %w", got, d.length, err)
		}
	}
}

// StormServer answers scripts.
type StormServer struct {
	Addr string

	listener *net.TCPListener
	all      sync.WaitGroup

	mu      sync.Mutex
	played  map[uint64]error // by seed
	garbled []error          // connections without a script
}

// NewStormServer starts a server that answers scripts at an address of
// 127.0.0.1.
func NewStormServer() (*StormServer, error) {
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return nil, err
	}
	s := &StormServer{Addr: listener.Addr().String(), listener: listener, played: map[uint64]error{}}
	s.all.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			s.all.Go(func() { s.answer(conn) })
		}
	})
	return s, nil
}

func (s *StormServer) answer(conn *net.TCPConn) {
	script, err := Answer(conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if script == (Script{}) {
		s.garbled = append(s.garbled, err)
		return
	}
	if _, twice := s.played[script.Seed]; twice {
		err = fmt.Errorf("e2e: a connection came twice: %+v", script)
	}
	s.played[script.Seed] = err
}

// Close stops the server and returns how each script went, by its seed.
// Connections that nobody ended are cut by their deadline.
func (s *StormServer) Close() map[uint64]error {
	_ = s.listener.Close()
	s.all.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.played
}
