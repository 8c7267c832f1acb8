package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"regexp"
	"slices"
	"strings"
	"time"
)

// logLine is a line of a sidecar's logs.
type logLine map[string]any

func parseLogLine(b []byte) (logLine, bool) {
	var line logLine
	err := json.Unmarshal(b, &line)
	return line, err == nil && line["message"] != nil
}

func (l logLine) text(name string) string {
	if v, ok := l[name]; ok {
		return fmt.Sprint(v)
	}
	return ""
}

// attributes returns name=value of a provenance.
func (l logLine) attributes(field string) []string {
	values, _ := l[field].(map[string]any)
	var list []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, fmt.Sprintf("%s=%v", name, values[name]))
	}
	return list
}

// story lets the workloads talk, and shows what is seen.
func (d *demo) story(ctx context.Context) error {
	storefront, orders, stock, ledger := d.workload("storefront"), d.workload("orders"), d.workload("stock"), d.workload("ledger")
	s := d.screen
	s.title("Four workloads, a sidecar each. The applications know nothing of it.")
	s.line("   ledger is %s", d.ledger)

	s.chapter("storefront orders by HTTP; orders reserves at stock by gRPC, and books in ledger by Redis’s protocol")
	if err := d.buy(ctx, storefront, "two espressi"); err != nil {
		return err
	}
	if err := d.show(ctx, orders, "request"); err != nil {
		return err
	}
	if err := d.show(ctx, ledger, "connection opened"); err != nil {
		return err
	}

	s.chapter("four more orders, and the last of them fails. Whose fault is it?")
	for _, order := range []string{"a ristretto", "a cortado", "an espresso", "a macchiato"} {
		if err := d.buy(ctx, storefront, order); err != nil {
			return err
		}
	}
	for _, w := range []*demoWorkload{orders, stock} {
		if err := d.metrics(ctx, w, `^istio_requests_total\{.*reporter="destination"`); err != nil {
			return err
		}
	}
	s.line("   %s", s.paint(dim, "storefront got a 503 from orders, orders a 14 (unavailable) from stock: it is stock"))
	if err := d.metrics(ctx, orders, `^hallmark_sessions_opened_total\{.*side="server"\}`); err != nil {
		return err
	}
	s.line("   %s", s.paint(dim, "five requests, each on a connection of its own, and one handshake between the sidecars"))

	s.chapter("storefront tries the ledger itself; only what is attested as orders may")
	if err := tryLedger(storefront.outbound["ledger"]); err != nil {
		return err
	}
	if err := d.showRefusal(ctx, ledger); err != nil {
		return err
	}
	if err := d.metrics(ctx, ledger, `^hallmark_authorizations_total\{decision="denied"`); err != nil {
		return err
	}

	s.chapter("what Prometheus gets of the database: who called, as the handshake proved, not as the caller says")
	return d.metrics(ctx, ledger, `^istio_tcp_(connections_opened|received_bytes)_total\{.*reporter="destination"`)
}

// buy has an order placed, and shows what was said.
func (d *demo) buy(ctx context.Context, storefront *demoWorkload, order string) error {
	answer, err := buy(ctx, storefront.outbound["orders"], order)
	if err != nil {
		return fmt.Errorf("storefront calls orders: %w", err)
	}
	d.screen.conversation("storefront", order, "orders", answer)
	return nil
}

// tryLedger connects to the ledger as the storefront and expects to be refused.
func tryLedger(address string) error {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return fmt.Errorf("storefront calls its own sidecar: %w", err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = io.WriteString(c, "*2\r\n$3\r\nGET\r\n$7\r\norder:1\r\n")
	if answer, err := bufio.NewReader(c).ReadString('\n'); err == nil {
		return fmt.Errorf("the ledger answered the storefront: %q", answer)
	}
	return nil
}

// show shows what a sidecar knew of the next request, or of the next connection
// when it opened.
func (d *demo) show(ctx context.Context, callee *demoWorkload, message string) error {
	line, err := next(ctx, callee.lines, func(l logLine) bool {
		return l.text("message") == message && l.text("hallmark.reporter") == "destination"
	})
	if err != nil {
		return fmt.Errorf("the sidecar of %s saw no %s: %w", callee.name, message, err)
	}
	d.screen.connection(callee.name, line)
	return nil
}

// showRefusal shows a handshake that a sidecar refused.
func (d *demo) showRefusal(ctx context.Context, callee *demoWorkload) error {
	line, err := next(ctx, callee.refusals, func(l logLine) bool { return l.text("message") == "handshake failed" })
	if err != nil {
		return fmt.Errorf("the sidecar of %s refused nobody: %w", callee.name, err)
	}
	d.screen.refusal(callee.name, line)
	return nil
}

// next returns the next line that is wanted.
func next(ctx context.Context, lines <-chan logLine, wanted func(logLine) bool) (logLine, error) {
	timeout := time.After(10 * time.Second)
	for {
		select {
		case line := <-lines:
			if wanted(line) {
				return line, nil
			}
		case <-timeout:
			return nil, errors.New("nothing in its log")
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// metrics shows the matching lines of what a sidecar serves to Prometheus.
func (d *demo) metrics(ctx context.Context, w *demoWorkload, pattern string) error {
	body, err := get(ctx, "http://"+w.metrics+"/metrics")
	if err != nil {
		return fmt.Errorf("the metrics of %s: %w", w.name, err)
	}
	wanted := regexp.MustCompile(pattern)
	found := 0
	for line := range strings.Lines(body) {
		if wanted.MatchString(line) && !strings.HasSuffix(strings.TrimSpace(line), " 0") {
			d.screen.metric(strings.TrimSpace(line))
			found++
		}
	}
	if found == 0 {
		return fmt.Errorf("the sidecar of %s serves no metric that matches %s", w.name, pattern)
	}
	return nil
}
