package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// The exponents of the Zipf distribution that [Mix] draws services from: the
// n-th is called in proportion to n^-1.1.
const (
	zipfExponent = 1.1
	zipfOffset   = 1
)

// Mix calls many services, some far more often than others: each call goes to
// one that is drawn from a Zipf distribution, the first being the likeliest. A
// caller keeps what it has opened to each.
type Mix struct {
	Services []Service
	opened   atomic.Uint64 // callers: each draws a sequence of its own, the same in every run
}

// Service is one of the services of a [Mix].
type Service struct {
	Kind    Kind
	Address string
}

// String names the call.
func (m *Mix) String() string { return fmt.Sprintf("call to one of %d services", len(m.Services)) }

// Open opens a caller to every service, and calls each once: what a connection
// costs to set up is not what a mix is about. It ignores the address.
func (m *Mix) Open(ctx context.Context, _ string) (Caller, error) {
	seed := rand.New(rand.NewPCG(m.opened.Add(1), 0))
	c := &mixCaller{next: rand.NewZipf(seed, zipfExponent, zipfOffset, uint64(len(m.Services)-1))}
	for i, s := range m.Services {
		to, err := s.Kind.Open(ctx, s.Address)
		if err == nil {
			c.callers = append(c.callers, to)
			_, err = to.Call()
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("load: service %d, %s: %w", i+1, s.Kind, err), c.Close())
		}
	}
	return c, nil
}

type mixCaller struct {
	callers []Caller
	next    *rand.Zipf
}

// Call calls a service.
func (c *mixCaller) Call() (int, error) { return c.callers[c.next.Uint64()].Call() }

// Close closes all callers.
func (c *mixCaller) Close() error {
	var errs []error
	for _, to := range c.callers {
		errs = append(errs, to.Close())
	}
	return errors.Join(errs...)
}
