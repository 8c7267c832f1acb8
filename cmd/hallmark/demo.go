package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// DemoCmd is the subcommand demo.
type DemoCmd struct {
	Once   bool   `help:"End when the story is told, instead of staying up."`
	Ledger string `help:"The database: auto is redis-server if it is installed, builtin a small one of this program." enum:"auto,builtin" default:"auto"`
	Colour bool   `help:"Use colours. Default: if standard output is a terminal." negatable:"" default:"${colour}"`
}

// Help is the long description of the subcommand.
func (*DemoCmd) Help() string {
	return `Starts an issuer and four workloads with a sidecar each, all of them on loopback, lets
them talk by HTTP, gRPC and Redis, and shows who called whom, what the callee's sidecar
knew before the first byte, and whose fault it is when a call fails. It needs no
privileges and nothing else installed.

  hallmark demo
  hallmark demo --once

` + exitCodes
}

// demo is a mesh on this machine for as long as the demonstration lasts.
type demo struct {
	dir       string
	program   string
	builtin   bool   // whether the database is ours in any case
	ledger    string // what it is
	workloads []*demoWorkload
	screen    *screen

	cancel   context.CancelFunc
	wg       sync.WaitGroup
	children []*exec.Cmd
}

// demoWorkload is an application, its sidecar and where they listen.
type demoWorkload struct {
	name, id   string
	attributes []string // that the issuer attests
	asserted   []string // that the workload says of itself

	inbound, app, metrics, admin string            // addresses
	outbound                     map[string]string // by the callee's name
	lines                        chan logLine      // of the sidecar's access log
	refusals                     chan logLine      // of its own log
}

// Run tells the story.
func (c *DemoCmd) Run(ctx context.Context, stdout io.Writer) error {
	d := &demo{screen: &screen{out: stdout, colour: c.Colour}, builtin: c.Ledger == "builtin"}
	ctx, d.cancel = context.WithCancel(ctx)
	defer d.close()
	if err := d.open(ctx); err != nil {
		return err
	}
	if err := d.story(ctx); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if c.Once {
		return nil
	}
	d.screen.stay(d)
	d.wg.Go(func() { d.shop(ctx) })
	<-ctx.Done()
	return nil
}

// open starts the issuer, the applications and the sidecars, and waits until all
// are ready.
func (d *demo) open(ctx context.Context) error {
	var err error
	if d.program, err = os.Executable(); err != nil {
		return fmt.Errorf("demo: find this program: %w", err)
	}
	if d.dir, err = os.MkdirTemp("", "hallmark-demo-"); err != nil {
		return fmt.Errorf("demo: make a folder: %w", err)
	}
	if d.workloads, err = demoWorkloads(); err != nil {
		return err
	}
	if err := d.startIssuer(ctx); err != nil {
		return err
	}
	if err := d.startApplications(ctx); err != nil {
		return err
	}
	for _, w := range d.workloads {
		if err := d.startSidecar(ctx, w); err != nil {
			return err
		}
	}
	for _, w := range d.workloads {
		if err := awaitReady(ctx, w.metrics); err != nil {
			return fmt.Errorf("demo: the sidecar of %s: %w", w.name, err)
		}
	}
	return nil
}

// close ends everything that was started.
func (d *demo) close() {
	for _, child := range slices.Backward(d.children) {
		_ = child.Process.Signal(syscall.SIGTERM)
	}
	for _, child := range d.children {
		_ = child.Wait()
	}
	d.cancel() // the applications
	d.wg.Wait()
	_ = os.RemoveAll(d.dir)
}

// demoWorkloads are who takes part.
func demoWorkloads() ([]*demoWorkload, error) {
	const prefix = "spiffe://demo.example/ns/"
	all := []*demoWorkload{
		{
			name: "storefront", id: prefix + "shop/sa/storefront",
			attributes: []string{"k8s.deployment.name=storefront", "service.version=2.3.0"},
			asserted:   []string{"service.name=payments-admin"}, // it would like to be
		},
		{name: "orders", id: prefix + "shop/sa/orders", attributes: []string{"k8s.deployment.name=orders", "service.version=1.8.1"}},
		{name: "stock", id: prefix + "shop/sa/stock", attributes: []string{"k8s.deployment.name=stock"}},
		{name: "ledger", id: prefix + "data/sa/ledger", attributes: []string{"k8s.statefulset.name=ledger"}},
	}
	for _, w := range all {
		w.outbound = make(map[string]string)
		w.lines, w.refusals = make(chan logLine, 64), make(chan logLine, 64)
		for _, to := range []*string{&w.inbound, &w.app, &w.metrics, &w.admin} {
			address, err := freeAddress()
			if err != nil {
				return nil, err
			}
			*to = address
		}
	}
	for caller, callees := range map[int][]int{0: {1, 3}, 1: {2, 3}} {
		for _, callee := range callees {
			address, err := freeAddress()
			if err != nil {
				return nil, err
			}
			all[caller].outbound[all[callee].name] = address
		}
	}
	return all, nil
}

// freeAddress returns an address of loopback that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("demo: find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// workload returns the one of the name.
func (d *demo) workload(name string) *demoWorkload {
	for _, w := range d.workloads {
		if w.name == name {
			return w
		}
	}
	return nil
}

func (d *demo) socket(w *demoWorkload) string { return filepath.Join(d.dir, w.name+".sock") }

func (d *demo) startIssuer(ctx context.Context) error {
	args := []string{"issuer", "--trust-domain", "demo.example"}
	for _, w := range d.workloads {
		spec := []string{w.id, "socket=" + d.socket(w), "mode=0600"}
		for _, a := range w.attributes {
			spec = append(spec, "attr:"+a)
		}
		args = append(args, "--workload", strings.Join(spec, ","))
	}
	return d.start(ctx, "issuer", nil, nil, args...)
}

// startSidecar starts the sidecar of a workload, and reads its logs.
func (d *demo) startSidecar(ctx context.Context, w *demoWorkload) error {
	file := filepath.Join(d.dir, w.name+".yaml")
	if err := os.WriteFile(file, []byte(d.config(w)), 0o600); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	args := []string{"run", "--config", file, "--workload-api", "unix://" + d.socket(w), "--metrics", w.metrics, "--admin", w.admin}
	for _, a := range w.asserted {
		args = append(args, "--attribute", a)
	}
	return d.start(ctx, w.name, w.lines, w.refusals, args...)
}

// config is the sidecar's configuration file.
func (d *demo) config(w *demoWorkload) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: hallmark.dev/v1alpha1
kind: Proxy
metadata: {name: %s}
spec:
  trustDomains: [{name: demo.example, attested: true}]
  accessLog: {level: Debug, requests: All}
---
apiVersion: hallmark.dev/v1alpha1
kind: Inbound
metadata: {name: inbound}
spec:
  listen: %s
  targets: [{name: %s, address: %s}]
`, w.name, w.inbound, w.name, w.app)
	for callee, listen := range w.outbound {
		to := d.workload(callee)
		fmt.Fprintf(&b, `---
apiVersion: hallmark.dev/v1alpha1
kind: Outbound
metadata: {name: %s}
spec: {listen: %s, to: %s, target: %s, expect: [{id: %s}]}
`, callee, listen, to.inbound, callee, to.id)
	}
	if w.name == "ledger" {
		fmt.Fprintf(&b, `---
apiVersion: hallmark.dev/v1alpha1
kind: AuthorizationPolicy
metadata: {name: orders-only}
spec:
  targets: [ledger]
  rules:
  - when: [{attribute: k8s.deployment.name, values: [orders], minProvenance: attested}]
`)
	}
	return b.String()
}

// start runs this program with other arguments.
func (d *demo) start(ctx context.Context, name string, stdout, stderr chan logLine, args ...string) error {
	return d.run(ctx, name, d.program, stdout, stderr, args...)
}

// run runs a program until ctx ends. Lines of JSON on its outputs go to the
// channels.
func (d *demo) run(ctx context.Context, name, program string, stdout, stderr chan logLine, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "SPIFFE_ENDPOINT_SOCKET=", "OTEL_SERVICE_NAME=", "OTEL_RESOURCE_ATTRIBUTES=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us to pass on
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	for _, output := range []struct {
		lines chan logLine
		pipe  func() (io.ReadCloser, error)
	}{{stdout, cmd.StdoutPipe}, {stderr, cmd.StderrPipe}} {
		if output.lines == nil {
			continue
		}
		pipe, err := output.pipe()
		if err != nil {
			return fmt.Errorf("demo: start %s: %w", name, err)
		}
		d.wg.Go(func() { readLog(pipe, output.lines) })
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("demo: start %s: %w", name, err)
	}
	d.children = append(d.children, cmd)
	return nil
}

// readLog reads the lines of a log; those that nobody waits for are dropped.
func readLog(from io.Reader, to chan logLine) {
	scanner := bufio.NewScanner(from)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		if line, ok := parseLogLine(scanner.Bytes()); ok {
			select {
			case to <- line:
			default:
			}
		}
	}
}

// awaitReady waits until a sidecar is ready.
func awaitReady(ctx context.Context, metrics string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if body, err := get(ctx, "http://"+metrics+"/readyz"); err == nil && strings.HasPrefix(body, "ready") {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.New("is not ready in time")
		}
	}
}

// get returns the body of a page.
func get(ctx context.Context, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, res.Status)
	}
	return string(body), err
}
