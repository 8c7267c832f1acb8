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
	storefront, orders, ledger := d.workload("storefront"), d.workload("orders"), d.workload("ledger")
	s := d.screen
	s.title("Three workloads, a sidecar each. The applications know nothing of it.")

	s.chapter("storefront buys from orders, which speaks first; orders books in ledger, a database")
	greeting, answer, err := buy(storefront.outbound["orders"], "two espressi")
	if err != nil {
		return fmt.Errorf("storefront calls orders: %w", err)
	}
	s.conversation("orders", greeting, "storefront", "two espressi", "orders", answer)
	if err := d.show(ctx, orders); err != nil {
		return err
	}
	if err := d.show(ctx, ledger); err != nil {
		return err
	}

	s.chapter("storefront calls again, and again: new connections, the same session, no handshake")
	for _, order := range []string{"one ristretto", "a cortado"} {
		if _, answer, err = buy(storefront.outbound["orders"], order); err != nil {
			return fmt.Errorf("storefront calls orders: %w", err)
		}
		s.conversation("storefront", order, "orders", answer)
	}
	if err := d.metrics(ctx, orders, `^hallmark_(sessions|streams)_opened_total\{.*side="server"\}`); err != nil {
		return err
	}

	s.chapter("storefront tries the ledger itself; only what is attested as orders may")
	if err := tryLedger(storefront.outbound["ledger"]); err != nil {
		return err
	}
	if err := d.showRefusal(ctx, ledger); err != nil {
		return err
	}

	s.chapter("what Prometheus gets: who called, as the handshake proved, not as the caller says")
	for _, w := range []*demoWorkload{orders, ledger} {
		if err := d.metrics(ctx, w, `^istio_tcp_connections_opened_total\{.*reporter="destination"`); err != nil {
			return err
		}
	}
	return d.metrics(ctx, ledger, `^hallmark_authorizations_total\{decision="denied"`)
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

// show shows what a sidecar knew of the next connection when it opened.
func (d *demo) show(ctx context.Context, callee *demoWorkload) error {
	line, err := next(ctx, callee.lines, func(l logLine) bool {
		return l.text("message") == "connection opened" && l.text("hallmark.reporter") == "destination"
	})
	if err != nil {
		return fmt.Errorf("the sidecar of %s saw no connection: %w", callee.name, err)
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
