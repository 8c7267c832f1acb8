// Package workload gets this workload's identity from the SPIFFE Workload API,
// as SPIRE's agent serves it.
//
// One message of the API carries SVIDs and bundles together, so a snapshot never
// mixes two generations. The last good one stays in force while the API is away,
// and the source says so; when the API answers that there is no identity any
// more, and goes on answering so for two seconds, there is none. The package
// never asks for more than the identities that the API gives of its own accord,
// and never logs key material.
package workload

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/internal/voice"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What is wrong with a source, as [identity.Store.Err] tells it and errors.Is
// asks.
var (
	// ErrUnreachable: nobody serves the Workload API at the address.
	ErrUnreachable = errors.New("the SPIFFE Workload API is unreachable")

	// ErrNoIdentity: the API is there, and knows of no identity for us.
	ErrNoIdentity = errors.New("the SPIFFE Workload API issues no identity to this workload")

	// ErrNotOffered: the API offers identities, and not the one picked.
	ErrNotOffered = errors.New("the SPIFFE Workload API does not offer the identity asked for")

	// ErrInvalid: what the API sent cannot be used.
	ErrInvalid = errors.New("the SPIFFE Workload API sent an unusable identity")
)

// Config says where the API is and which identity to take. The zero value takes
// the first identity from the address in SPIFFE_ENDPOINT_SOCKET.
type Config struct {
	// Address is the API's, such as unix:///run/spire/agent.sock. Empty means
	// the environment variable SPIFFE_ENDPOINT_SOCKET.
	Address string

	// ID picks the SVID of this SPIFFE ID. Zero does not care.
	ID spiffeid.ID

	// Hint picks the SVID with this hint. Empty does not care.
	Hint string

	// Logger is told when the source's state changes. Nil logs nothing.
	Logger *zap.Logger

	// Confirm is how long the API must keep denying an identity that it has
	// issued before, DefaultConfirm if zero: an agent that replaces SVIDs whose
	// authority was tainted has none to give for a moment. Negative believes
	// the first denial.
	Confirm time.Duration

	// MinBackoff and MaxBackoff bound the time between attempts; 0 means a
	// quarter of a second and 15 seconds.
	MinBackoff, MaxBackoff time.Duration
}

// DefaultConfirm is the default of [Config.Confirm].
const DefaultConfirm = 2 * time.Second

// Source follows the Workload API. It embeds the store into which it publishes.
type Source struct {
	identity.Store

	config Config
	client *workloadapi.Client
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex // guards the rest, and is held while the store is written
	voice  voice.Voice
	denial *time.Timer // withdraws the identity unless it is stopped; nil if nothing was denied
}

// Open starts to follow the API and returns at once: wait for the first identity
// with [identity.Store.Wait]. It fails only if there is no valid address.
func Open(config Config) (*Source, error) {
	if config.Address == "" {
		config.Address = os.Getenv(workloadapi.SocketEnv)
	}
	if config.Address == "" {
		return nil, fmt.Errorf("workload: no address of the SPIFFE Workload API: set %s, such as to unix:///run/spire/sockets/agent.sock", workloadapi.SocketEnv)
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	if config.Confirm == 0 {
		config.Confirm = DefaultConfirm
	}
	client, err := workloadapi.New(context.Background(), workloadapi.WithAddr(config.Address),
		workloadapi.WithBackoffStrategy(backoffStrategy{config.MinBackoff, config.MaxBackoff}),
		workloadapi.WithDialOptions(grpc.WithConnectParams(connectParams)))
	if err != nil {
		return nil, fmt.Errorf("workload: address %q: %w", config.Address, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Source{config: config, client: client, cancel: cancel, voice: voice.Voice{Logger: config.Logger}}
	s.wg.Go(func() { s.follow(ctx) })
	return s, nil
}

// Close stops following. What was published stays.
func (s *Source) Close() error {
	s.cancel()
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acquit()
	return s.client.Close()
}

// follow watches for ever: an answer on which the client gives up, such as one
// from a server that speaks something else, is as good as none.
func (s *Source) follow(ctx context.Context) {
	pause := backoffStrategy{s.config.MinBackoff, s.config.MaxBackoff}.NewBackoff()
	for ctx.Err() == nil {
		_ = s.client.WatchX509Context(ctx, watcher{s})
		select {
		case <-ctx.Done():
		case <-time.After(pause.Next()):
		}
	}
}

// watcher receives what the client reads.
type watcher struct{ *Source }

// OnX509ContextUpdate publishes one message.
func (w watcher) OnX509ContextUpdate(c *workloadapi.X509Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	svid, err := w.pick(c.SVIDs)
	if err != nil {
		w.deny(err)
		return
	}
	w.acquit()
	if err := w.Publish(&identity.Snapshot{SVID: svid, Bundles: c.Bundles}); err != nil {
		w.trouble(fmt.Errorf("%w: %w", ErrInvalid, err))
		return
	}
	w.voice.Say("identity "+svid.ID.String(), func(log *zap.Logger) {
		log.Info("identity received", zap.Stringer("spiffe_id", svid.ID), zap.Int("offered", len(c.SVIDs)), zap.Time("not_after", svid.Certificates[0].NotAfter))
	})
}

// OnX509ContextWatchError sorts out what went wrong.
func (w watcher) OnX509ContextWatchError(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch status.Code(err) {
	case codes.Canceled:
		return
	case codes.PermissionDenied:
		w.deny(fmt.Errorf("%w: register it: %s, asked at %s: %s", ErrNoIdentity, self(), w.config.Address, status.Convert(err).Message()))
	case codes.Unavailable, codes.DeadlineExceeded:
		w.acquit()
		w.trouble(fmt.Errorf("%w at %s: is the agent running, and may we open its socket? %s", ErrUnreachable, w.config.Address, status.Convert(err).Message()))
	default:
		w.acquit()
		w.trouble(fmt.Errorf("%w: %s: %w", ErrInvalid, w.config.Address, err))
	}
}

// pick returns the SVID that the configuration asks for.
func (w watcher) pick(offered []*x509svid.SVID) (*x509svid.SVID, error) {
	var names []string
	for _, svid := range offered {
		if (w.config.ID.IsZero() || svid.ID == w.config.ID) && (w.config.Hint == "" || svid.Hint == w.config.Hint) {
			return svid, nil
		}
		name := svid.ID.String()
		if svid.Hint != "" {
			name += fmt.Sprintf(" (hint %q)", svid.Hint)
		}
		names = append(names, name)
	}
	want := w.config.ID.String()
	if w.config.Hint != "" {
		want += fmt.Sprintf(" (hint %q)", w.config.Hint)
	}
	return nil, fmt.Errorf("%w: want %s, offered %v", ErrNotOffered, want, names)
}

// deny withdraws the identity once the denial has lasted: an API that answers,
// and knows of none or of others only, has taken it away. This is how the
// deletion of a registration takes effect on the next handshake, and not when
// the last SVID expires.
func (s *Source) deny(err error) {
	if _, none := s.Snapshot(); none != nil || s.config.Confirm < 0 {
		s.withdraw(fmt.Errorf("workload: %w", err))
		return
	}
	s.trouble(err)
	if s.denial == nil {
		s.denial = time.AfterFunc(s.config.Confirm, s.convict)
	}
}

// acquit forgets what was denied.
func (s *Source) acquit() {
	if s.denial != nil {
		s.denial.Stop()
		s.denial = nil
	}
}

// convict withdraws the identity, unless it was acquitted in the meantime.
func (s *Source) convict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denial != nil {
		s.denial = nil
		s.withdraw(s.Err())
	}
}

func (s *Source) withdraw(err error) {
	s.Withdraw(err)
	s.voice.Say("withdrawn: "+err.Error(), func(log *zap.Logger) { log.Warn("no identity", zap.Error(err)) })
}

// trouble records an error; what was published stays in force.
func (s *Source) trouble(err error) { s.voice.Trouble(&s.Store, fmt.Errorf("workload: %w", err)) }

// self is what a workload attestor may see of us, for whoever has to register
// this workload.
func self() string {
	executable, err := os.Executable()
	if err != nil {
		executable = "unknown executable"
	}
	return fmt.Sprintf("uid %d, gid %d, pid %d, %s", os.Getuid(), os.Getgid(), os.Getpid(), executable)
}

// connectParams keep gRPC's own backoff, which grows to two minutes, below ours:
// a restarted agent is found by the next attempt.
var connectParams = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
	MinConnectTimeout: 5 * time.Second,
}

// backoffStrategy doubles the time between attempts and spreads it, so that the
// workloads of a node do not come back to a restarted agent all at once.
type backoffStrategy struct{ first, last time.Duration }

func (b backoffStrategy) NewBackoff() workloadapi.Backoff {
	if b.first == 0 {
		b.first = 250 * time.Millisecond
	}
	if b.last == 0 {
		b.last = 15 * time.Second
	}
	return &doubling{backoffStrategy: b}
}

type doubling struct {
	backoffStrategy
	next time.Duration
}

// Next returns the time to wait: between half of what is due and all of it.
func (b *doubling) Next() time.Duration {
	if b.next == 0 {
		b.next = b.first
	}
	due := b.next
	b.next = min(2*b.next, b.last)
	return due/2 + rand.N(due/2+1)
}

// Reset starts over.
func (b *doubling) Reset() { b.next = 0 }
