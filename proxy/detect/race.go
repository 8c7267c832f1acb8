package detect

import (
	"context"
	"time"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Defaults of a [Race].
const (
	// DefaultGrace is how long a client that has said nothing is waited for
	// before the upstream connection is opened on speculation.
	DefaultGrace = 5 * time.Millisecond

	// DefaultOursGrace is the grace where our own handshakes come in beside
	// plaintext ([Race.Ours]): a ClientHello is on its way with the last packet
	// of the TCP handshake, and must not meet a server that spoke first.
	DefaultOursGrace = 50 * time.Millisecond

	// DefaultSettle is how long the beginning of something, such as half a
	// request line, may stand still before it counts as opaque bytes.
	DefaultSettle = 100 * time.Millisecond

	// helloPatience is the same for half a ClientHello: its other half is on
	// its way, and nobody speaks before it is there.
	helloPatience = 10 * time.Second
)

// How says what settled the protocol of a connection; use it as a metric's
// label.
type How string

// What can settle it.
const (
	Declared How = "declared" // it was known beforehand
	ByClient How = "client"   // the client's bytes
	ByServer How = "server"   // the server's bytes, before the client said any
	ByStall  How = "stalled"  // the client's bytes stood still undecided
	ByEnd    How = "ended"    // the client ended before it said enough
)

// Opener opens the upstream connection for what was detected. [tlsctx.Unknown]
// means on speculation: nobody has spoken yet, and what fails is no failed
// request. The context bounds the opening, not the connection's life; when it
// ends, Open returns soon.
type Opener func(ctx context.Context, detected tlsctx.Protocol) (Conn, error)

// Race settles what a new connection speaks, and opens its upstream.
//
// No timeout decides who speaks first: while the client is silent the upstream
// connection is opened too, after a grace of a few milliseconds, and whoever
// speaks first decides. A connection opened on speculation becomes the client's
// own, unless the client's bytes show HTTP: then it is discarded, and the target
// remembered as one whose client speaks first and speculated on no more.
type Race struct {
	// Declared is the protocol if it is known beforehand; then nothing is
	// looked at, unless Ours is set, or OnHello and it is TLS.
	Declared tlsctx.Protocol

	// ServerFirst says that the server is known to speak first: there is no
	// grace.
	ServerFirst bool

	// Ours says of a ClientHello that it is for this proxy and not for the
	// application; see the function [Ours]. Nil means that none is.
	Ours func(Hello) bool

	// OnHello is told of the client's ClientHello before Open is called, so
	// that Open can go by the server name. It is not where the connection was
	// opened on speculation already, or where the ClientHello is ours.
	OnHello func(Hello)

	// Grace and Settle replace the defaults unless they are 0.
	Grace, Settle time.Duration

	// Target is the key under which Memory keeps what is learnt.
	Target string

	// Memory outlives the race; nil means none.
	Memory *Memory

	// Open opens the upstream connection. Required.
	Open Opener
}

// Result is how a race ended.
type Result struct {
	// Down and Up are the two connections to go on with. Both give every byte
	// from the first on. Down is the client's connection itself where that is
	// a socket, and Up likewise; else they may be a [Replay] of them. Up is nil
	// if Ours is set.
	Down, Up Conn

	// Ours says that the client began a TLS handshake with this proxy, which
	// is to be done on Down.
	Ours bool

	// Protocol is what the connection speaks, and How is what settled it.
	Protocol tlsctx.Protocol
	How      How

	// Hello is the client's, if the protocol is TLS.
	Hello Hello

	// Waited is how long it took to settle.
	Waited time.Duration

	// Speculated says that a connection was opened on speculation, Adopted
	// that it became the client's, and Capped that at first there was no room
	// for one.
	Speculated, Adopted, Capped bool
}

// Run settles it. On an error no upstream connection is left open; the client's
// is the caller's to close: with a reset, for a reset that was met while looking
// shows nowhere else. The error is Open's, the context's cause, or says which
// side could not be read.
func (r Race) Run(ctx context.Context, down Conn) (Result, error) {
	if r.Declared != "" && r.Ours == nil && !r.awaitsHello() {
		up, err := r.Open(ctx, r.Declared)
		return Result{Down: down, Up: up, Protocol: r.Declared, How: Declared}, err
	}
	if r.Memory == nil {
		r.Memory = new(Memory)
	}
	start := time.Now()
	client := newEar("client", down, r.lookAtClient, r.patience)
	res := Result{Down: down}
	err := r.alone(ctx, client)
	if err == nil && !client.settled() {
		err = r.together(ctx, client, &res)
	}
	res.Waited = time.Since(start)
	if err != nil {
		return res, err
	}
	res.Down = client.rest()
	if res.How != ByServer {
		res.Protocol, res.How = client.found.protocol, client.how
		res.Hello, res.Ours = client.found.hello, client.found.ours
	}
	if r.Declared != "" && !res.Ours {
		res.Protocol, res.How = r.Declared, Declared
	}
	if res.Up == nil && !res.Ours {
		if r.OnHello != nil && client.found.parsed {
			r.OnHello(res.Hello)
		}
		res.Up, err = r.Open(ctx, res.Protocol)
	}
	return res, err
}

// awaitsHello reports whether the client's ClientHello, and nothing else, is
// waited for.
func (r Race) awaitsHello() bool {
	return r.Declared == tlsctx.TLS && r.Ours == nil && r.OnHello != nil
}

// alone waits for the client alone: for the grace; not at all where the server
// is known to speak first; and where the client is, for as long as that is
// remembered.
func (r Race) alone(ctx context.Context, client *ear) error {
	first, remembered := r.Memory.first(r.Target)
	switch {
	case r.Declared.IsHTTP(), r.awaitsHello():
		return client.wait(ctx, 0)
	case r.Ours != nil && first != clientSpeaks:
		return client.wait(ctx, or(r.Grace, DefaultOursGrace))
	case r.ServerFirst || first == serverSpeaks:
		return nil
	case first == clientSpeaks:
		return client.wait(ctx, remembered)
	default:
		return client.wait(ctx, or(r.Grace, DefaultGrace))
	}
}

// together opens the upstream connection as well, and lets whoever speaks first
// decide. A result without an upstream connection says that the client has
// decided and that the speculative one, if there was one, is gone.
func (r Race) together(ctx context.Context, client *ear, res *Result) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := client.start(ctx)
	done, err := r.reserve(heard, res)
	if done == nil {
		return err
	}
	defer done()
	res.Speculated = true
	up := r.attempt(ctx)
	select {
	case err = <-heard:
	case <-up.spoke:
		err = client.stop(heard)
	}
	if err != nil || client.found.ours || r.isHTTP(client.found.protocol) {
		cancel()
		if silent := up.discard(); silent && err == nil && !client.found.ours {
			r.Memory.learn(r.Target, clientSpeaks)
		}
		return err
	}
	if err := up.adopt(); err != nil {
		return err
	}
	res.Up, res.Adopted = up.server.rest(), true
	if client.settled() {
		return nil
	}
	res.Protocol, res.How = up.server.conclude(), ByServer
	if len(up.server.bytes) > 0 && len(client.bytes) == 0 && !res.Protocol.IsHTTP() {
		r.Memory.learn(r.Target, serverSpeaks)
	}
	return nil
}

// reserve waits for room for one more connection on speculation, or until the
// client has decided: then done is nil.
func (r Race) reserve(heard <-chan error, res *Result) (done func(), err error) {
	for {
		done, freed := r.Memory.speculate(r.Target)
		if done != nil {
			return done, nil
		}
		res.Capped = true
		select {
		case err := <-heard:
			return nil, err
		case <-freed:
		}
	}
}

// isHTTP reports whether a connection opened on speculation is of no use. One
// that is declared as something else stays what it is.
func (r Race) isHTTP(p tlsctx.Protocol) bool { return r.Declared == "" && p.IsHTTP() }

// lookAtClient classifies the client's first bytes, of TLS the whole
// ClientHello.
func (r Race) lookAtClient(b []byte) (finding, Verdict) {
	protocol, verdict := Client(b)
	switch {
	case protocol == tlsctx.TLS:
		hello, verdict, ok := ParseHello(b)
		if len(b) >= MaxPeek {
			verdict = Decided
		}
		return finding{protocol: protocol, hello: hello, parsed: ok, ours: r.Ours != nil && r.Ours(hello)}, verdict
	case r.Declared == "":
		return finding{protocol: protocol}, verdict
	}
	// Declared, and looked at only for handshakes of ours.
	if _, possible := isTLS(b); possible {
		return finding{}, More
	}
	return finding{protocol: r.Declared}, Decided
}

// patience is how long the client's bytes may stand still.
func (r Race) patience(b []byte) time.Duration {
	if _, possible := isTLS(b); possible {
		return helloPatience
	}
	return or(r.Settle, DefaultSettle)
}

// lookAtServer classifies the server's first bytes.
func lookAtServer(b []byte) (finding, Verdict) {
	protocol, verdict := Server(b)
	return finding{protocol: protocol}, verdict
}

// attempt is an upstream connection opened on speculation, and what its server
// says first.
type attempt struct {
	opened chan struct{} // closed when server or err is set
	server *ear
	err    error
	spoke  chan struct{} // closed when the server has spoken, ended, or failed
	ended  chan error    // the outcome of listening to the server
}

func (r Race) attempt(ctx context.Context) *attempt {
	a := &attempt{opened: make(chan struct{}), spoke: make(chan struct{}), ended: make(chan error, 1)}
	settle := or(r.Settle, DefaultSettle)
	go func() {
		defer close(a.spoke)
		conn, err := r.Open(ctx, or(r.Declared, tlsctx.Unknown))
		if err != nil {
			a.err = err
			close(a.opened)
			return
		}
		a.server = newEar("server", conn, lookAtServer, func([]byte) time.Duration { return settle })
		close(a.opened)
		a.ended <- a.server.until(ctx)
	}()
	return a
}

// adopt makes the connection the client's own: nobody else reads from it any
// more. A connection that has broken meanwhile is closed.
func (a *attempt) adopt() error {
	<-a.opened
	if a.err != nil {
		return a.err
	}
	if err := a.server.stop(a.ended); err != nil {
		_ = a.server.conn.Close()
		return err
	}
	return nil
}

// discard closes the connection, whether it is open yet or not, and waits until
// nobody reads from it. It reports whether it was open and its server had not
// spoken, or had spoken HTTP.
func (a *attempt) discard() (silent bool) {
	<-a.opened
	if a.err != nil {
		return false
	}
	_ = a.server.conn.Close()
	<-a.spoke
	return len(a.server.bytes) == 0 || a.server.found.protocol.IsHTTP()
}
