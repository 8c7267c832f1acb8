package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// screen is what the demonstration prints to.
type screen struct {
	out    io.Writer
	colour bool
	n      int
}

// The colours, as SGR parameters (ECMA-48, section 8.3.117).
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// isTerminal says by default whether to use colours.
func isTerminal() string {
	info, err := os.Stdout.Stat()
	if err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" {
		return "true"
	}
	return "false"
}

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) line(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *screen) title(text string) { s.line("\n%s", s.paint(bold, text)) }

func (s *screen) chapter(text string) {
	s.n++
	s.line("\n%s", s.paint(bold, fmt.Sprintf("%d. %s", s.n, text)))
}

// conversation shows who said what, alternating.
func (s *screen) conversation(turns ...string) {
	for i := 0; i+1 < len(turns); i += 2 {
		s.line("   %s %s", s.paint(dim, fmt.Sprintf("%-12s", turns[i]+":")), turns[i+1])
	}
}

// connection shows what a sidecar knew of a connection before its first byte.
func (s *screen) connection(callee string, l logLine) {
	knew := "before the first byte"
	if l.text("http.request.method") != "" {
		knew = "of who sent a request"
	}
	s.line("\n   %s %s %s   %s", s.paint(cyan, nameOf(l.text("source.spiffe_id"))), "──▶", s.paint(cyan, callee),
		s.paint(dim, "what the sidecar of "+callee+" knew "+knew))
	s.row(dim, "identity", l.text("source.spiffe_id"))
	for _, p := range []struct{ name, colour, meaning string }{
		{"attested", green, "signed by the CA in the SVID"},
		{"verified", green, "implied by the SPIFFE ID"},
		{"asserted", yellow, "the workload's own word"},
	} {
		for i, a := range l.attributes("source." + p.name) {
			if i == 0 {
				a += "   " + s.paint(dim, "("+p.meaning+")")
			}
			s.row(p.colour, map[bool]string{true: p.name, false: ""}[i == 0], a)
		}
	}
	s.row(dim, "target", l.text("hallmark.target"))
	if method := l.text("http.request.method"); method != "" {
		s.row(dim, "request", fmt.Sprintf("%s %s, HTTP/%s   %s", method, l.text("url.path"), l.text("network.protocol.version"), s.paint(dim, "(answered: "+l.text("http.response.status_code")+")")))
	} else {
		s.row(dim, "protocol", fmt.Sprintf("%s   %s", l.text("network.protocol.name"), s.paint(dim, "(settled by: "+l.text("hallmark.detection")+")")))
	}
	s.row(dim, "security", fmt.Sprintf("mutual TLS 1.3, %s, %s session %s", l.text("tls.curve"), l.text("hallmark.session"), l.text("hallmark.session.id")))
}

// refusal shows a handshake that was refused.
func (s *screen) refusal(callee string, l logLine) {
	s.line("\n   %s %s %s   %s", s.paint(cyan, nameOf(l.text("claimed_spiffe_id"))), s.paint(red, "──✕"), s.paint(cyan, callee),
		s.paint(dim, "refused in the handshake: the application saw nothing of it"))
	s.row(dim, "claimed", l.text("claimed_spiffe_id"))
	s.row(red, "reason", l.text("reason"))
	s.row(red, "policy", l.text("policy"))
}

func (s *screen) row(colour, name, value string) {
	s.line("      %s %s", s.paint(colour, fmt.Sprintf("%-10s", name)), value)
}

// told are the labels that the demonstration shows; those left out are unknown or
// say what is known by then.
var told = regexp.MustCompile(`(source_workload|source_workload_namespace|source_principal|destination_workload|request_protocol|response_code|grpc_response_status|decision|reason|rule|kind|side)="[^"]*"`)

// metric shows a line of metrics with the labels that matter.
func (s *screen) metric(line string) {
	name, rest, _ := strings.Cut(line, "{")
	_, value, _ := strings.Cut(rest, "} ")
	s.line("   %s{%s} %s", name, strings.Join(tellable(rest), ","), s.paint(bold, value))
}

// tellable are the labels to show, but those that say nothing.
func tellable(labels string) []string {
	return slices.DeleteFunc(told.FindAllString(labels, -1), func(label string) bool { return strings.HasSuffix(label, `=""`) })
}

// stay says what can be looked at.
func (s *screen) stay(d *demo) {
	s.title("It stays up, and the storefront goes on buying. Look around, and end it with Ctrl-C:")
	for _, w := range d.workloads {
		s.line("   %s %s   metrics http://%s/metrics   peers http://%s/peers",
			s.paint(cyan, fmt.Sprintf("%-11s", w.name)), s.paint(bold, "http://"+w.admin+"/"), w.metrics, w.admin)
	}
	orders := d.workload("orders")
	_, port, _ := strings.Cut(d.workload("storefront").outbound["orders"], ":")
	s.line("   the page of orders shows it live; in a terminal: %s stat --admin %s   (or tap)", d.program, orders.admin)
	s.line("   order something as the storefront: curl -d 'a mocha' 127.0.0.1:%s/orders", port)
}

// nameOf returns the last segment of a SPIFFE ID.
func nameOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }
