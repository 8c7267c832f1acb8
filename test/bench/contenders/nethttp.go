package contenders

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os/signal"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/test/components"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// NetHTTP is what most Go programs would be: net/http's server in front of its
// ReverseProxy, with HTTP/2 between.
func NetHTTP() Contender {
	return Contender{
		Name: "nethttp", Modes: []Mode{HTTP1, GRPC}, About: "net/http server and ReverseProxy, buffers pooled; HTTP/2 between",
		start: func(tb testing.TB, s *setting) *Pair {
			return s.both(func(p side) *components.Running {
				args := append(append([]string{}, s.Self[1:]...), NetHTTPRole, "-side="+p.name(), "-mode="+string(p.Mode), "-listen="+p.Listen(), "-target="+p.Target(),
					"-chain="+p.Own.Chain, "-key="+p.Own.Key, "-bundle="+p.Own.Bundle, "-peer="+p.PeerID)
				return p.run(tb, s.Self[0], args...)
			})
		},
	}
}

// NetHTTPRole is the first argument of a program that is to be one proxy of the
// net/http pair: [Main] takes the rest.
const NetHTTPRole = "nethttp-proxy"

// Main is one proxy of the net/http pair, until it is told to stop.
func Main(args []string) error {
	flags := flag.NewFlagSet(NetHTTPRole, flag.ContinueOnError)
	var r reverse
	flags.StringVar(&r.side, "side", "", "outbound or inbound")
	flags.StringVar(&r.mode, "mode", "", "http1 or grpc")
	flags.StringVar(&r.listen, "listen", "", "address")
	flags.StringVar(&r.target, "target", "", "address")
	flags.StringVar(&r.chain, "chain", "", "PEM file")
	flags.StringVar(&r.key, "key", "", "PEM file")
	flags.StringVar(&r.bundle, "bundle", "", "PEM file")
	flags.StringVar(&r.peer, "peer", "", "SPIFFE ID")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return r.serve()
}

type reverse struct {
	side, mode, listen, target, chain, key, bundle, peer string
}

func (r reverse) serve() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	svid, err := x509svid.Load(r.chain, r.key)
	if err != nil {
		return err
	}
	peer, err := spiffeid.FromString(r.peer)
	if err != nil {
		return err
	}
	bundle, err := x509bundle.Load(peer.TrustDomain(), r.bundle)
	if err != nil {
		return err
	}
	server, target := r.plain(), "http"
	if r.side == "inbound" {
		server.TLSConfig = tlsconfig.MTLSServerConfig(svid, bundle, tlsconfig.AuthorizeID(peer))
		server.TLSConfig.MinVersion, server.TLSConfig.SessionTicketsDisabled = tls.VersionTLS13, true
		server.Handler = r.proxy(target, r.transport(nil, r.mode == string(GRPC)))
	} else {
		config := tlsconfig.MTLSClientConfig(svid, bundle, tlsconfig.AuthorizeID(peer))
		config.MinVersion = tls.VersionTLS13
		server.Handler = r.proxy("https", r.transport(config, true))
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if server.TLSConfig != nil {
		err = server.ListenAndServeTLS("", "")
	} else {
		err = server.ListenAndServe()
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("contenders: net/http proxy: %w", err)
}

// plain is a server without TLS, which takes HTTP/2 in clear for gRPC.
func (r reverse) plain() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(r.mode == string(GRPC))
	return &http.Server{Addr: r.listen, Protocols: protocols, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
}

// transport keeps as many connections as there are clients; with TLS or for
// gRPC it speaks HTTP/2.
func (r reverse) transport(config *tls.Config, http2 bool) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2 && config != nil)
	protocols.SetUnencryptedHTTP2(http2 && config == nil)
	return &http.Transport{TLSClientConfig: config, Protocols: protocols, MaxIdleConnsPerHost: 1024, DisableCompression: true}
}

func (r reverse) proxy(scheme string, transport *http.Transport) *httputil.ReverseProxy {
	target := &url.URL{Scheme: scheme, Host: r.target}
	return &httputil.ReverseProxy{
		Rewrite:       func(p *httputil.ProxyRequest) { p.SetURL(target); p.Out.Host = p.In.Host },
		Transport:     transport,
		FlushInterval: -1,
		BufferPool:    &buffers{sync.Pool{New: func() any { return make([]byte, 32<<10) }}},
		ErrorLog:      log.New(io.Discard, "", 0),
	}
}

// buffers lends the proxy its copying buffers.
type buffers struct{ pool sync.Pool }

// Get returns a buffer.
func (b *buffers) Get() []byte {
	buffer, _ := b.pool.Get().([]byte) // New makes nothing else
	return buffer
}

// Put takes a buffer back.
func (b *buffers) Put(buffer []byte) { b.pool.Put(buffer) } //nolint:staticcheck // a slice header is small beside 32 KiB
