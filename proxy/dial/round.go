package dial

import (
	"context"
	"fmt"
	"net"
	"time"
)

// answer is how one attempt ended.
type answer struct {
	address string
	conn    Conn
	err     error
}

// round is one dial over all addresses.
type round struct {
	dialer   *Dialer
	connect  func(ctx context.Context, address string) (Conn, error)
	waiting  []string // not yet tried
	trying   []string // started and unanswered, the oldest first
	answers  chan answer
	failures []Failure
}

// run starts attempts and returns the first connection. No attempt is left when
// it returns.
func (r *round) run(ctx context.Context, cancel context.CancelFunc) (Conn, error) {
	stagger := time.NewTimer(0)
	defer stagger.Stop()
	for len(r.waiting)+len(r.trying) > 0 {
		select {
		case <-ctx.Done():
			r.end(cancel)
			return nil, r.fail(ctx)
		case <-stagger.C:
			r.try(ctx, stagger)
		case a := <-r.answers:
			r.forget(a.address)
			if a.err == nil {
				r.win(cancel)
				return a.conn, nil
			}
			r.failures = append(r.failures, Failure{a.address, a.err})
			r.dialer.delay(a.address)
			r.try(ctx, stagger)
		}
	}
	return nil, r.fail(ctx)
}

// only connects where there is one address: nothing is raced.
func (d *Dialer) only(ctx context.Context, address string, connect func(ctx context.Context, address string) (Conn, error)) (Conn, error) {
	conn, err := connect(ctx, address)
	if err != nil {
		d.delay(address) // there may be others next time
		return nil, &Error{Failures: []Failure{{address, err}}}
	}
	return conn, nil
}

// try starts the next attempt, if there is one.
func (r *round) try(ctx context.Context, stagger *time.Timer) {
	if len(r.waiting) == 0 {
		return
	}
	address := r.waiting[0]
	r.waiting, r.trying = r.waiting[1:], append(r.trying, address)
	stagger.Reset(r.dialer.stagger())
	go func() {
		conn, err := r.connect(ctx, address)
		r.answers <- answer{address, conn, err}
	}()
}

// forget takes an address that has answered off the list of those that have not.
func (r *round) forget(address string) {
	for i, a := range r.trying {
		if a == address {
			r.trying = append(r.trying[:i:i], r.trying[i+1:]...)
			return
		}
	}
}

// win ends the other attempts; those that were started earlier are slow.
func (r *round) win(cancel context.CancelFunc) {
	for _, address := range r.trying {
		r.dialer.delay(address)
	}
	r.end(cancel)
}

// end gives up what is under way and waits until it has ended.
func (r *round) end(cancel context.CancelFunc) {
	cancel()
	for range r.trying {
		if a := <-r.answers; a.err != nil { // whatever came with it
			r.failures = append(r.failures, Failure{a.address, a.err})
		} else {
			_ = a.conn.Close()
		}
	}
	r.trying = nil
}

func (r *round) fail(ctx context.Context) error {
	e := &Error{Failures: r.failures, Untried: len(r.waiting)}
	if len(e.Failures) == 0 && ctx.Err() != nil {
		return fmt.Errorf("dial: %w", context.Cause(ctx))
	}
	return e
}

func (d *Dialer) stagger() time.Duration {
	if d.Stagger == 0 {
		return DefaultStagger
	}
	return max(d.Stagger, minStagger)
}

// connect makes one attempt.
func (d *Dialer) connect(ctx context.Context, address string) (Conn, error) {
	network, rest, err := Split(address)
	if err != nil {
		return nil, err
	}
	connect := d.Connect
	if connect == nil {
		connect = (&net.Dialer{KeepAlive: -1, Control: begin}).DialContext // Prepare sets options
	}
	raw, err := connect(ctx, network, rest)
	if err != nil {
		return nil, err
	}
	conn, ok := raw.(Conn)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("a %T has no half-close", raw)
	}
	return conn, nil
}
