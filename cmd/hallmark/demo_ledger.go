package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// bookOrder books one order: SET by Redis's protocol.
func bookOrder(ledger, key, order string) error {
	c, err := net.DialTimeout("tcp", ledger, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(order), order)
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return fmt.Errorf("it does not answer: %w", err)
	}
	if !strings.HasPrefix(answer, "+OK") {
		return fmt.Errorf("it says %q", answer)
	}
	return nil
}

// serve accepts at the address until ctx ends.
func (d *demo) serve(ctx context.Context, address string, handle func(net.Conn)) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("demo: start an application: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	d.wg.Go(func() {
		defer stop()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			d.wg.Go(func() {
				defer c.Close()
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				handle(c)
			})
		}
	})
	return nil
}

// maxBooked is how many entries a book holds.
const maxBooked = 10_000

// book is a database that speaks a little of Redis's protocol.
type book struct {
	mu      sync.Mutex
	entries map[string]string
}

func (b *book) serve(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		command, err := readCommand(r)
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, b.answer(command)); err != nil {
			return
		}
	}
}

// answer does SET key value and GET key.
func (b *book) answer(command []string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case len(command) == 3 && strings.EqualFold(command[0], "SET"):
		if b.entries == nil || len(b.entries) >= maxBooked {
			b.entries = make(map[string]string)
		}
		b.entries[command[1]] = command[2]
		return "+OK\r\n"
	case len(command) == 2 && strings.EqualFold(command[0], "GET"):
		v := b.entries[command[1]]
		return fmt.Sprintf("$%d\r\n%s\r\n", len(v), v)
	default:
		return "-ERR unknown command\r\n"
	}
}

// maxDemoField bounds what is read of one thing.
const maxDemoField = 1 << 10

// readCommand reads an array of bulk strings.
func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readCount(r, '*')
	if err != nil || n > 16 {
		return nil, io.ErrUnexpectedEOF
	}
	command := make([]string, n)
	for i := range command {
		size, err := readCount(r, '$')
		if err != nil || size > maxDemoField {
			return nil, io.ErrUnexpectedEOF
		}
		field := make([]byte, size+2)
		if _, err := io.ReadFull(r, field); err != nil {
			return nil, err
		}
		command[i] = string(field[:size])
	}
	return command, nil
}

func readCount(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := strconv.ParseUint(strings.TrimSpace(line[1:]), 10, 16)
	return int(n), err
}
