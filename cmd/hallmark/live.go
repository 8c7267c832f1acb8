package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics/printable"
	"github.com/hallmark-mesh/hallmark/proxy"
	"github.com/hallmark-mesh/hallmark/tlsctx"
	"github.com/hallmark-mesh/hallmark/tlsctx/httpctx"
)

// adminFlags say which sidecar is asked, for stat and tap.
type adminFlags struct {
	Admin   string        `group:"admin" help:"The sidecar's admin port." default:"127.0.0.1:9901" placeholder:"HOST:PORT" env:"HALLMARK_ADMIN"`
	Expect  []string      `group:"admin" sep:";" help:"The identity that the sidecar must have, which is then asked by mutual TLS: a SPIFFE ID, one with /* at its end, or spiffe://DOMAIN/*. May be repeated. Needed unless the port is on loopback." placeholder:"ID" env:"HALLMARK_ADMIN_EXPECT"`
	Timeout time.Duration `group:"admin" help:"How long the sidecar may take to answer." default:"10s" env:"HALLMARK_TIMEOUT"`

	identityFlags
}

const adminHelp = `The port is asked in plain HTTP on loopback, by mutual TLS if --expect is given: the
identity is then ours, and has to be one of those that the sidecar's admin.allow names.`

// adminClient asks a sidecar.
type adminClient struct {
	base    url.URL
	http    *http.Client
	timeout time.Duration
}

// client returns what asks the sidecar. The caller must call the returned function
// in the end.
func (f *adminFlags) client(ctx context.Context) (*adminClient, func(), error) {
	host, port, err := net.SplitHostPort(f.Admin)
	if err != nil || port == "" {
		return nil, nil, coded(exitUsage, fmt.Errorf("--admin %q is no address: want HOST:PORT", f.Admin))
	}
	c := &adminClient{
		base:    url.URL{Scheme: "http", Host: net.JoinHostPort(cmp.Or(host, "localhost"), port)},
		timeout: f.Timeout,
	}
	if len(f.Expect) > 0 {
		return f.mutual(ctx, c)
	}
	if !isLoopback(host) {
		return nil, nil, coded(exitUsage, fmt.Errorf("--admin %s is not on loopback: give --expect with the sidecar's SPIFFE ID, to ask it by mutual TLS", f.Admin))
	}
	plain := &http.Transport{DialContext: new(net.Dialer).DialContext} // no proxy of the environment's
	c.http = &http.Client{Transport: plain}
	return c, plain.CloseIdleConnections, nil
}

// mutual completes the client for mutual TLS.
func (f *adminFlags) mutual(ctx context.Context, c *adminClient) (*adminClient, func(), error) {
	expect, err := expectations("--expect", f.Expect)
	if err != nil {
		return nil, nil, coded(exitUsage, err)
	}
	store, closeIdentity, err := f.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	if _, err := f.wait(ctx, store); err != nil {
		closeIdentity()
		return nil, nil, err
	}
	secured := httpctx.NewTransport(tlsctx.ClientConfig{
		Source: store, Policy: tlsctx.Policy{Authorize: proxy.Expected(expect)}, Timeout: f.Timeout,
	})
	c.base.Scheme, c.http = "https", &http.Client{Transport: secured}
	return c, func() {
		secured.CloseIdleConnections()
		closeIdentity()
	}, nil
}

func isLoopback(host string) bool {
	if host == "" || strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// get asks for a path of the API, and returns the body of the answer, which is
// good. The answer has to begin in time; ctx bounds all of it.
func (c *adminClient) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := fmt.Errorf("no answer within %s", c.timeout)
	timer := time.AfterFunc(c.timeout, func() { cancel(late) })
	to := c.base
	to.Path, to.RawQuery = "/api/v1/"+path, query.Encode()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), http.NoBody)
	if err != nil {
		cancel(nil)
		return nil, coded(exitUsage, fmt.Errorf("--admin %s: %w", c.base.Host, err))
	}
	response, err := c.http.Do(request)
	if !timer.Stop() && err == nil {
		_ = response.Body.Close()
		err = late
	}
	if err != nil {
		defer cancel(nil)
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, c.failed(err)
	}
	body := &answer{response.Body, cancel}
	if response.StatusCode != http.StatusOK {
		defer body.Close()
		return nil, c.refused(response)
	}
	return body, nil
}

// answer is the body of an answer that ends with its context.
type answer struct {
	io.ReadCloser

	cancel context.CancelCauseFunc
}

// Close frees what the answer holds.
func (a *answer) Close() error {
	defer a.cancel(nil)
	return a.ReadCloser.Close()
}

// failed says why there was no answer.
func (c *adminClient) failed(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	hint := ""
	switch {
	case errors.Is(err, tlsctx.RefusedByPeer):
		hint = " (spec.admin.allow of the sidecar has to name our SPIFFE ID)"
	case errors.Is(err, io.EOF), strings.Contains(err.Error(), "malformed HTTP response"):
		hint = " (a port that is served by mutual TLS needs --expect)"
	}
	return coded(handshakeCode(err), fmt.Errorf("ask %s: %s%s", c.base.Host, printable.Text(err.Error()), hint))
}

// maxComplaint bounds what is shown of an answer that is an error.
const maxComplaint = 1 << 10

// refused says what an answer other than 200 says.
func (c *adminClient) refused(r *http.Response) error {
	said, _ := io.ReadAll(io.LimitReader(r.Body, maxComplaint)) // what there is of it
	text := printable.Text(strings.TrimSpace(string(said)))
	switch r.StatusCode {
	case http.StatusBadRequest:
		return coded(exitUsage, fmt.Errorf("%s refuses: %s", c.base.Host, text))
	case http.StatusNotFound:
		return fmt.Errorf("%s has no live view: is it the admin port of a sidecar of this version", c.base.Host)
	default:
		return fmt.Errorf("%s answers %d: %s", c.base.Host, r.StatusCode, text)
	}
}
