package pool_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hallmark-mesh/hallmark/proxy/pool"
)

// session is a session with a bound on its streams.
type session struct {
	mu      sync.Mutex
	streams int
	max     int
	retired bool
	done    chan struct{}
	end     sync.Once
}

func newSession(capacity int) *session { return &session{max: capacity, done: make(chan struct{})} }

func (s *session) Available() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.retired && s.streams < s.max
}

func (s *session) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams
}

func (s *session) Retire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired = true
}

func (s *session) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.streams += n
}

func (s *session) Close() error          { s.end.Do(func() { close(s.done) }); return nil }
func (s *session) Done() <-chan struct{} { return s.done }

func get(t *testing.T, p *pool.Pool[string, *session], key string) *session {
	t.Helper()
	s, err := p.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSessionsAreSharedByKeyAndCapacity(t *testing.T) {
	var opened atomic.Int32
	p := pool.New(pool.Config[string, *session]{Open: func(context.Context, string) (*session, error) {
		opened.Add(1)
		return newSession(2), nil
	}})
	defer p.Close()
	a := get(t, p, "a")
	a.add(1)
	if b := get(t, p, "b"); b == a {
		t.Error("two keys share a session")
	}
	if again := get(t, p, "a"); again != a {
		t.Error("one key does not share a session that has room")
	}
	a.add(1)
	if full := get(t, p, "a"); full == a {
		t.Error("a full session was returned")
	}
	if n := opened.Load(); n != 3 || p.Len() != 3 {
		t.Errorf("opened %d sessions and keeps %d, want 3 and 3", n, p.Len())
	}
}

func TestManyCallersWaitForOneOpening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened atomic.Int32
		p := pool.New(pool.Config[string, *session]{Open: func(context.Context, string) (*session, error) {
			opened.Add(1)
			time.Sleep(time.Second)
			return newSession(1000), nil
		}})
		defer p.Close()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() { get(t, p, "a") })
		}
		wg.Wait()
		if n := opened.Load(); n != 1 {
			t.Errorf("100 callers opened %d sessions, want 1", n)
		}
	})
}

func TestOpeningEndsWithTheLastWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		p := pool.New(pool.Config[string, *session]{Open: func(ctx context.Context, _ string) (*session, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}})
		defer p.Close()
		short, cancelShort := context.WithTimeout(t.Context(), time.Second)
		defer cancelShort()
		long, cancelLong := context.WithTimeout(t.Context(), time.Minute)
		defer cancelLong()
		go func() { _, _ = p.Get(short, "a") }()
		if _, err := p.Get(long, "a"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Get: %v, want deadline exceeded", err)
		}
		synctest.Wait()
		select {
		case <-ended:
		default:
			t.Error("the opening goes on though nobody waits")
		}
	})
}

func TestErrorsAreNotKept(t *testing.T) {
	broken := errors.New("broken")
	fail := true
	p := pool.New(pool.Config[string, *session]{Open: func(context.Context, string) (*session, error) {
		if fail {
			return nil, broken
		}
		return newSession(1), nil
	}})
	defer p.Close()
	if _, err := p.Get(t.Context(), "a"); !errors.Is(err, broken) {
		t.Errorf("Get: %v, want %v", err, broken)
	}
	fail = false
	get(t, p, "a")
}

func TestSessionsLeave(t *testing.T) {
	type leaving struct {
		name   string
		config pool.Config[string, *session]
		act    func(*pool.Pool[string, *session], *session)
		after  time.Duration
		want   pool.Reason
	}
	for _, c := range []leaving{
		{name: "idle", config: pool.Config[string, *session]{Idle: time.Minute}, after: 3 * time.Minute, want: pool.ReasonIdle},
		{name: "old", config: pool.Config[string, *session]{MaxAge: time.Hour}, after: 2 * time.Hour, want: pool.ReasonMaxAge},
		{name: "expired", config: pool.Config[string, *session]{NotAfter: func(*session) time.Time { return time.Now().Add(time.Hour) }}, after: 2 * time.Hour, want: pool.ReasonExpired},
		{name: "ended", act: func(_ *pool.Pool[string, *session], s *session) { _ = s.Close() }, want: pool.ReasonEnded},
		{name: "stale", act: func(p *pool.Pool[string, *session], _ *session) {
			p.Retire(func(string, *session) (pool.Reason, bool) { return pool.ReasonStale, true })
		}, want: pool.ReasonStale},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				left := make(chan pool.Reason, 1)
				c.config.Open = func(context.Context, string) (*session, error) { return newSession(10), nil }
				c.config.OnLeave = func(_ string, _ *session, reason pool.Reason) { left <- reason }
				p := pool.New(c.config)
				defer p.Close()
				s := get(t, p, "a")
				if c.act != nil {
					c.act(p, s)
				}
				time.Sleep(c.after)
				synctest.Wait()
				select {
				case reason := <-left:
					if reason != c.want {
						t.Errorf("session left: %s, want %s", reason, c.want)
					}
				default:
					t.Fatal("session did not leave")
				}
				if s.Available() || p.Len() != 0 {
					t.Error("the session that left takes streams, or is still kept")
				}
			})
		})
	}
}

func TestBusySessionIsNotIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(pool.Config[string, *session]{
			Idle: time.Minute,
			Open: func(context.Context, string) (*session, error) { return newSession(10), nil },
		})
		defer p.Close()
		s := get(t, p, "a")
		s.add(1)
		time.Sleep(time.Hour)
		if get(t, p, "a") != s {
			t.Error("a session with a stream was dropped as idle")
		}
	})
}

func TestClosedPoolRefuses(t *testing.T) {
	p := pool.New(pool.Config[string, *session]{Open: func(context.Context, string) (*session, error) { return newSession(1), nil }})
	s := get(t, p, "a")
	p.Close()
	if _, err := p.Get(t.Context(), "a"); !errors.Is(err, pool.ErrClosed) {
		t.Errorf("Get after Close: %v, want %v", err, pool.ErrClosed)
	}
	if s.Available() {
		t.Error("a session of a closed pool takes streams")
	}
}

// TestPeerThatTakesNoStreams has every session open and none be of use.
func TestPeerThatTakesNoStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened atomic.Int32
		p := pool.New(pool.Config[string, *session]{Open: func(context.Context, string) (*session, error) {
			opened.Add(1)
			return newSession(0), nil
		}})
		defer p.Close()
		if _, err := p.Get(t.Context(), "key"); !errors.Is(err, pool.ErrUnavailable) {
			t.Errorf("%v, want ErrUnavailable", err)
		}
		if n := opened.Load(); n > 4 {
			t.Errorf("%d sessions were opened for one stream", n)
		}
	})
}

// TestMoreWaitThanSessionsHold has many wait for sessions that are soon full.
func TestMoreWaitThanSessionsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool.New(pool.Config[string, *session]{Open: func(context.Context, string) (*session, error) {
			time.Sleep(time.Second)
			return newSession(2), nil
		}})
		defer p.Close()
		var wg sync.WaitGroup
		var mu sync.Mutex
		for range 40 {
			wg.Go(func() {
				for {
					s, err := p.Get(t.Context(), "key")
					if err != nil {
						t.Errorf("one of many: %v", err)
						return
					}
					mu.Lock() // two may be given the last place
					if s.Available() {
						s.add(1)
						mu.Unlock()
						return
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if n := p.Len(); n != 20 {
			t.Errorf("%d sessions, want 20", n)
		}
	})
}

// TestStats counts what is kept, and who waits.
func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		p := pool.New(pool.Config[string, *session]{Open: func(context.Context, string) (*session, error) {
			<-ready
			return newSession(10), nil
		}})
		defer p.Close()
		want := func(want pool.Stats) {
			t.Helper()
			synctest.Wait()
			if got := p.Stats(); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		}
		want(pool.Stats{})
		sessions := make(chan *session)
		for range 3 {
			go func() { sessions <- get(t, p, "a") }()
		}
		want(pool.Stats{Opening: 1, Waiting: 3, Waits: 3})
		close(ready)
		s := <-sessions
		<-sessions
		<-sessions
		want(pool.Stats{Idle: 1, Waits: 3})
		s.add(1)
		want(pool.Stats{Busy: 1, Waits: 3})
	})
}
