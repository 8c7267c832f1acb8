// Package files takes this workload's identity from PEM files that somebody
// else rotates, such as cert-manager or a mounted Secret.
//
// A snapshot is made from files that were read twice with the same result and
// whose key and certificate belong together, so it never mixes two generations
// of them. What cannot be used leaves the last good snapshot in force, and
// [identity.Store.Err] says what is wrong. The package never writes a file, and
// never logs what is in one.
package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/internal/voice"
	"github.com/hallmark-mesh/hallmark/identity/internal/watch"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/zap"
)

// What is wrong with a source, as [identity.Store.Err] tells it and errors.Is
// asks.
var (
	// ErrMismatch: the private key does not belong to the certificate, as in
	// the middle of a rotation that is not atomic.
	ErrMismatch = errors.New("certificate and private key are of different generations")

	// ErrUnstable: the files changed with every look.
	ErrUnstable = errors.New("the files keep changing")

	// ErrExpired: the SVID is in force, since there is no newer one, and has
	// expired.
	ErrExpired = errors.New("the X.509-SVID has expired")
)

// attempts is how often files that do not belong together are read again,
// Config.Settle apart, before the source calls them wrong.
const attempts = 5

// Config names the files. They need not exist when the source is opened.
type Config struct {
	// Certificates is a PEM file with the X.509-SVID, leaf first, and its
	// intermediates. Required.
	Certificates string

	// Key is a PEM file with the private key: PKCS #8, PKCS #1 or SEC 1, of
	// type RSA (2048 bits or more), ECDSA (P-256, P-384, P-521) or Ed25519.
	// Empty means that it is in the file Certificates.
	Key string

	// Bundle is a file with the authorities of the SVID's own trust domain,
	// as PEM or in the SPIFFE bundle format. Required.
	Bundle string

	// Federated are such files of other trust domains. A file that is removed
	// ends the federation.
	Federated map[spiffeid.TrustDomain]string

	// Settle is how long the files must be left alone before they are read,
	// 100 ms if zero. Poll is how often they are read although nobody reports
	// a change, 30 s if zero.
	Settle, Poll time.Duration

	// Logger is told when the source's state changes. Nil logs nothing.
	Logger *zap.Logger
}

// paths returns all of the files.
func (c Config) paths() []string {
	paths := []string{c.Certificates, c.Bundle}
	if c.Key != "" {
		paths = append(paths, c.Key)
	}
	for _, path := range c.Federated {
		paths = append(paths, path)
	}
	return paths
}

// Source follows the files. It embeds the store into which it publishes.
type Source struct {
	identity.Store

	config Config
	cancel context.CancelFunc
	wg     sync.WaitGroup

	published [sha256.Size]byte // digest of the files in force
	voice     voice.Voice
	open      bool // the key file was said to be open to others
}

// Open reads the files, follows them, and returns at once: wait for the first
// identity with [identity.Store.Wait]. It fails only if the configuration names
// too few files; what is wrong with them is for the store to say.
func Open(config Config) (*Source, error) {
	switch {
	case config.Certificates == "":
		return nil, errors.New("files: no certificate file is named")
	case config.Bundle == "":
		return nil, errors.New("files: no bundle file is named: without one nobody is trusted")
	}
	if config.Settle == 0 {
		config.Settle = watch.DefaultSettle
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Source{config: config, cancel: cancel, voice: voice.Voice{Logger: config.Logger}}
	s.refresh(ctx)
	s.wg.Go(func() {
		watch.Run(ctx, watch.Config{
			Paths: config.paths(), Settle: config.Settle, Poll: config.Poll, Logger: config.Logger,
		}, func() { s.refresh(ctx) })
	})
	return s, nil
}

// Close stops following. What was published stays.
func (s *Source) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

// refresh publishes what the files hold, if that is something new.
func (s *Source) refresh(ctx context.Context) {
	m, snapshot, err := s.read(ctx)
	if err == nil && snapshot != nil {
		if err = s.Publish(snapshot); err == nil {
			s.published = m.digest
			s.voice.Say("identity "+snapshot.ID().String()+snapshot.NotAfter().String(), func(log *zap.Logger) {
				log.Info("identity read", zap.Stringer("spiffe_id", snapshot.ID()), zap.Time("not_after", snapshot.NotAfter()))
			})
		}
	}
	if err == nil {
		err = s.expired(time.Now())
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		s.voice.Trouble(&s.Store, fmt.Errorf("files: %w", err))
	case s.Err() != nil:
		s.Fail(nil)
		s.voice.Say("", func(log *zap.Logger) { log.Info("identity is well again") })
	}
}

// read looks until the files belong together. It returns no snapshot for what
// is published already.
func (s *Source) read(ctx context.Context) (m material, snapshot *identity.Snapshot, err error) {
	for attempt := range attempts {
		if attempt > 0 && !wait(ctx, s.config.Settle) {
			return m, nil, ctx.Err()
		}
		m, err = s.config.load()
		if err != nil {
			return m, nil, err // a file that is not there is awaited by watching
		}
		again, secondErr := s.config.load()
		if secondErr != nil || m.digest != again.digest {
			err = ErrUnstable
			continue
		}
		s.warnOpen(m)
		if m.digest == s.published {
			return m, nil, nil
		}
		if snapshot, err = m.snapshot(); err == nil {
			return m, snapshot, nil
		}
	}
	return m, nil, err
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// expired returns an error if the SVID in force has expired.
func (s *Source) expired(now time.Time) error {
	current, err := s.Snapshot()
	if err != nil || now.Before(current.NotAfter()) {
		return nil
	}
	return fmt.Errorf("%w: that in %s, at %s: whoever issued it has to renew it", ErrExpired, s.config.Certificates, current.NotAfter().UTC().Format(time.RFC3339))
}

// warnOpen says once that others than the owner can read the key.
func (s *Source) warnOpen(m material) {
	if others := m.keyMode.Perm() & 0o077; others != 0 && !s.open {
		s.config.Logger.Warn("the private key's file is open to others than its owner: make it mode 0600, or 0640 for a group of its own",
			zap.String("file", s.config.keyFile()), zap.Stringer("mode", m.keyMode))
		s.open = true
	}
}
