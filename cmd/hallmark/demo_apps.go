package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The applications of the demonstration know nothing of Hallmark: each speaks its
// own protocol on plain TCP, to addresses on loopback.

// startApplications starts those that serve.
func (d *demo) startApplications(ctx context.Context) error {
	if err := d.startLedger(ctx); err != nil {
		return err
	}
	if err := d.startStock(ctx); err != nil {
		return err
	}
	orders := d.workload("orders")
	reserve, err := grpc.NewClient("passthrough:///"+orders.outbound["stock"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("demo: start orders: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = reserve.Close() })
	desk := &desk{stock: reserve, ledger: orders.outbound["ledger"]}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", orders.app)
	if err != nil {
		return fmt.Errorf("demo: start orders: %w", err)
	}
	server := &http.Server{Handler: desk, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	d.wg.Go(func() { _ = server.Serve(l) })
	return nil
}

// startLedger starts the database: Redis if it is installed, else the little one
// of this program.
func (d *demo) startLedger(ctx context.Context) error {
	ledger := d.workload("ledger")
	program, err := exec.LookPath("redis-server")
	if err != nil || d.builtin {
		d.ledger = "a small database in this program that speaks Redis’s protocol: install redis-server to see that one"
		return d.serve(ctx, ledger.app, new(book).serve)
	}
	d.ledger = "redis-server, " + program
	host, port, _ := net.SplitHostPort(ledger.app) // it is made by freeAddress
	if err := d.run(ctx, "ledger", program, nil, nil, "--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", d.dir); err != nil {
		return err
	}
	return awaitAnswer(ctx, ledger.app)
}

// awaitAnswer waits until somebody answers at the address.
func awaitAnswer(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("demo: the database does not start: %w", err)
		}
	}
}

// stock is a gRPC service. Every so often it has run out.
type stock struct{ asked atomic.Int64 }

// runsOut is how many it can reserve until it has to refuse one.
const runsOut = 5

// stockMethod is the one method that it has.
const stockMethod = "/demo.Stock/Reserve"

func (s *stock) reserve(what *wrapperspb.StringValue) (*wrapperspb.Int64Value, error) {
	n := s.asked.Add(1)
	if n%runsOut == 0 {
		return nil, status.Errorf(codes.Unavailable, "out of %s", what.GetValue())
	}
	return wrapperspb.Int64(n), nil
}

func (d *demo) startStock(ctx context.Context) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", d.workload("stock").app)
	if err != nil {
		return fmt.Errorf("demo: start stock: %w", err)
	}
	server := grpc.NewServer()
	shelf := new(stock)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "demo.Stock", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Reserve",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				what := new(wrapperspb.StringValue)
				if err := decode(what); err != nil {
					return nil, err
				}
				return shelf.reserve(what)
			},
		}},
	}, shelf)
	context.AfterFunc(ctx, server.Stop)
	d.wg.Go(func() { _ = server.Serve(l) })
	return nil
}

// desk takes orders by HTTP, reserves by gRPC, and books in the database.
type desk struct {
	stock  *grpc.ClientConn
	ledger string
	n      atomic.Int64
}

// ServeHTTP takes an order.
func (o *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxDemoField))
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	order := string(body)
	if err := o.stock.Invoke(ctx, stockMethod, wrapperspb.String(order), new(wrapperspb.Int64Value), grpc.WaitForReady(true)); err != nil {
		http.Error(w, "sorry: "+status.Convert(err).Message(), http.StatusServiceUnavailable)
		return
	}
	key := fmt.Sprintf("order:%d", o.n.Add(1))
	if err := bookOrder(o.ledger, key, order); err != nil {
		http.Error(w, "the ledger is closed: "+err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "%s booked\n", key)
}

// buy is the storefront: it places one order and returns what was answered.
func buy(ctx context.Context, address, order string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/orders", strings.NewReader(order))
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDemoField))
	return fmt.Sprintf("%s: %s", res.Status, strings.TrimSpace(string(body))), err
}

// shop has the storefront go on buying until ctx ends.
func (d *demo) shop(ctx context.Context) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		menu := []string{"an espresso", "a cortado", "a ristretto", "two espressi"}
		_, _ = buy(ctx, d.workload("storefront").outbound["orders"], menu[i%len(menu)])
		if i%20 == 0 {
			_ = tryLedger(d.workload("storefront").outbound["ledger"])
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
