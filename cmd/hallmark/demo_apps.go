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

// The applications of the demonstration know nothing of Hallmark: each speaks its
// own protocol on plain TCP, to addresses on loopback.

// startApplications starts the two that serve.
func (d *demo) startApplications(ctx context.Context) error {
	ledger, orders := d.workload("ledger"), d.workload("orders")
	book := &book{entries: make(map[string]string)}
	if err := d.serve(ctx, ledger.app, book.serve); err != nil {
		return err
	}
	counter := &counter{ledger: orders.outbound["ledger"]}
	return d.serve(ctx, orders.app, counter.serve)
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

// book is the ledger: a database that speaks a little of Redis's protocol.
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
		b.entries[command[1]] = command[2]
		return "+OK\r\n"
	case len(command) == 2 && strings.EqualFold(command[0], "GET"):
		v := b.entries[command[1]]
		return fmt.Sprintf("$%d\r\n%s\r\n", len(v), v)
	default:
		return "-ERR unknown command\r\n"
	}
}

// maxDemoField bounds the parts of a command.
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

// counter is the order desk: a service that speaks first, in lines, and books
// each order in the ledger.
type counter struct {
	ledger string

	mu sync.Mutex
	n  int
}

func (o *counter) serve(c net.Conn) {
	if _, err := io.WriteString(c, "orders here, what will it be?\n"); err != nil {
		return
	}
	r := bufio.NewReader(io.LimitReader(c, maxDemoField))
	for {
		order, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, o.book(strings.TrimSpace(order))+"\n"); err != nil {
			return
		}
	}
}

func (o *counter) book(order string) string {
	o.mu.Lock()
	o.n++
	key := fmt.Sprintf("order:%d", o.n)
	o.mu.Unlock()
	c, err := net.DialTimeout("tcp", o.ledger, 5*time.Second)
	if err != nil {
		return "the ledger is closed: " + err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(c, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(key), key, len(order), order)
	answer, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || !strings.HasPrefix(answer, "+OK") {
		return "the ledger does not answer"
	}
	return key + " booked"
}

// buy is the storefront: it calls the order desk once and returns what was said.
func buy(address, order string) (greeting, answer string, err error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "", "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	if greeting, err = r.ReadString('\n'); err != nil {
		return "", "", err
	}
	if _, err := io.WriteString(c, order+"\n"); err != nil {
		return "", "", err
	}
	answer, err = r.ReadString('\n')
	return strings.TrimSpace(greeting), strings.TrimSpace(answer), err
}
