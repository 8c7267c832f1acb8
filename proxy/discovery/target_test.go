package discovery

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// script answers lookups from what a test has set.
type script struct {
	mu    sync.Mutex
	now   answer
	times []time.Duration // of the lookups, since the first
	start time.Time
}

func (s *script) set(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = a
}

func (s *script) lookup(context.Context, string) answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.start.IsZero() {
		s.start = time.Now()
	}
	s.times = append(s.times, time.Since(s.start))
	return s.now
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

// when returns when the lookups were, since the first.
func (s *script) when() []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.times)
}

func found(ttl time.Duration, addresses ...string) records {
	r := records{ttl: ttl}
	for _, a := range addresses {
		r.addresses = append(r.addresses, netip.MustParseAddr(a))
	}
	return r
}

func failed() records { return records{err: errors.New("SERVFAIL")} }

// following follows a name in a bubble.
func following(t *testing.T, s *script, c Config) (*Target, func()) {
	t.Helper()
	c.lookup = s.lookup
	r := New(c)
	target, err := r.Follow("db.test:5432")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return target, r.Close
}

func TestFollowsByTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{now: answer{found(time.Minute, "192.0.2.2", "192.0.2.1"), found(2*time.Minute, "2001:db8::1")}}
		target, stop := following(t, s, Config{})
		defer stop()
		got, changed := target.Endpoints()
		if want := []string{"192.0.2.1:5432", "192.0.2.2:5432", "[2001:db8::1]:5432"}; !slices.Equal(got.Addresses, want) || got.Stale || got.Err != nil {
			t.Errorf("%+v, want %q", got, want)
		}
		s.set(answer{found(time.Hour, "192.0.2.3"), {}})
		time.Sleep(time.Minute - 7*time.Second)
		if n := s.count(); n != 1 {
			t.Errorf("%d lookups within the TTL", n)
		}
		<-changed
		if d := s.when()[1]; d < 54*time.Second || d > time.Minute {
			t.Errorf("looked up again after %s, want 54 to 60 s", d)
		}
		if got, _ = target.Endpoints(); !slices.Equal(got.Addresses, []string{"192.0.2.3:5432"}) {
			t.Errorf("%+v", got)
		}
		time.Sleep(time.Hour)
		if n := s.count(); n < 12 {
			t.Errorf("%d lookups in an hour, want one every five minutes at least", n)
		}
	})
}

func TestTTLOfZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{now: answer{found(0, "192.0.2.1"), {}}}
		_, stop := following(t, s, Config{MinTTL: 10 * time.Second})
		defer stop()
		time.Sleep(time.Minute + time.Second)
		if n := s.count(); n != 7 {
			t.Errorf("%d lookups in a minute, want one every 10 s: %v", n, s.when())
		}
	})
}

func TestKeepsTheLastGoodAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{now: answer{found(10*time.Second, "192.0.2.1"), found(10*time.Second, "2001:db8::1")}}
		target, stop := following(t, s, Config{})
		defer stop()
		good, changed := target.Endpoints()
		s.set(answer{failed(), failed()})
		<-changed
		got, changed := target.Endpoints()
		if !slices.Equal(got.Addresses, good.Addresses) || !got.Stale || got.Err == nil || !strings.Contains(got.Err.Error(), "db.test") || got.Resolved != good.Resolved {
			t.Errorf("%+v, want the addresses of %+v, stale", got, good)
		}
		// It is tried again, less and less often, and nobody is woken for it.
		before := s.count()
		time.Sleep(10 * time.Minute)
		if n := s.count() - before; n < 10*60/30 || n > 50 {
			t.Errorf("%d lookups in ten minutes", n)
		}
		select {
		case <-changed:
			t.Error("told of a change, and there was none")
		default:
		}
		// One family alone comes back.
		s.set(answer{found(time.Hour, "192.0.2.2"), failed()})
		<-changed
		got, changed = target.Endpoints()
		if want := []string{"192.0.2.2:5432", "[2001:db8::1]:5432"}; !slices.Equal(got.Addresses, want) || !got.Stale {
			t.Errorf("%+v, want %q, stale", got, want)
		}
		s.set(answer{found(time.Hour, "192.0.2.2"), {}})
		<-changed
		if got, _ = target.Endpoints(); got.Stale || got.Err != nil || len(got.Addresses) != 1 {
			t.Errorf("%+v", got)
		}
	})
}

// TestEmptyAnswersAreBelievedTwice has a name lose its addresses.
func TestEmptyAnswersAreBelievedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{now: answer{found(time.Minute, "192.0.2.1"), {}}}
		target, stop := following(t, s, Config{})
		defer stop()
		_, changed := target.Endpoints()
		s.set(answer{{ttl: time.Hour}, {ttl: time.Hour}})
		<-changed
		got, changed := target.Endpoints()
		if len(got.Addresses) != 1 || !got.Stale || !errors.Is(got.Err, ErrNotFound) {
			t.Errorf("once: %+v", got)
		}
		<-changed
		got, changed = target.Endpoints()
		if len(got.Addresses) != 0 || got.Stale || !errors.Is(got.Err, ErrNotFound) {
			t.Errorf("twice: %+v", got)
		}
		if d := s.when()[2] - s.when()[1]; d != DefaultMinTTL {
			t.Errorf("the second time came after %s, want %s", d, DefaultMinTTL)
		}
		s.set(answer{found(time.Minute, "192.0.2.1"), {}})
		<-changed
		if d := s.when()[3] - s.when()[2]; d > DefaultNegativeTTL {
			t.Errorf("an address was seen after %s, want %s at most", d, DefaultNegativeTTL)
		}
	})
}

func TestHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{now: answer{found(time.Hour, "192.0.2.1"), {}}}
		target, stop := following(t, s, Config{})
		defer stop()
		for range 100 {
			target.Hurry()
		}
		time.Sleep(DefaultMinTTL - time.Millisecond)
		if n := s.count(); n != 1 {
			t.Errorf("%d lookups within the least TTL", n)
		}
		time.Sleep(time.Second)
		if n := s.count(); n != 2 {
			t.Errorf("%d lookups after it, want 2", n)
		}
	})
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := New(Config{lookup: func(ctx context.Context, _ string) answer {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return answer{found(time.Hour, "192.0.2.1"), {}}
		}})
		defer r.Close()
		target, err := r.Follow("db.test:1")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Wait(ctx, target); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("while the first lookup is under way: %v", err)
		}
		close(release)
		if got, err := Wait(t.Context(), target); err != nil || len(got.Addresses) != 1 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestCloseEndsALookup(t *testing.T) {
	z := startZone(t)
	z.change(func() { z.silent = true })
	asked := make(chan struct{}, 16)
	c := config(t, "", z)
	r := New(c)
	s := &system{config: c}
	r.lookup = func(ctx context.Context, host string) answer {
		asked <- struct{}{}
		return s.lookup(ctx, host)
	}
	target, err := r.Follow("a.test:1")
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	target.Close()
	r.Close()
	if got, _ := target.Endpoints(); len(got.Addresses) > 0 || got.Err != nil {
		t.Errorf("%+v", got)
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{now: answer{found(time.Minute, "192.0.2.1", "192.0.2.2"), {}}}
		target, stop := following(t, s, Config{})
		defer stop()
		type step struct{ came, left []string }
		steps := make(chan step, 8)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			Watch(ctx, target, func(_ Snapshot, came, left []string) { steps <- step{came, left} })
		}()
		if got := <-steps; len(got.came) != 2 || len(got.left) != 0 {
			t.Errorf("%+v", got)
		}
		s.set(answer{found(time.Minute, "192.0.2.2", "192.0.2.3"), {}})
		if got := <-steps; !slices.Equal(got.came, []string{"192.0.2.3:5432"}) || !slices.Equal(got.left, []string{"192.0.2.1:5432"}) {
			t.Errorf("%+v", got)
		}
		cancel()
		<-ended
	})
}

func TestLookupsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan Lookup, 8)
		s := &script{now: answer{found(time.Minute, "192.0.2.1"), {}}}
		_, stop := following(t, s, Config{OnLookup: func(l Lookup) { told <- l }})
		defer stop()
		if l := <-told; l.Host != "db.test" || !l.Changed || len(l.Snapshot.Addresses) != 1 || l.Next > time.Minute {
			t.Errorf("%+v", l)
		}
		if l := <-told; l.Changed {
			t.Errorf("%+v", l)
		}
	})
}

func TestTargets(t *testing.T) {
	r := New(Config{lookup: func(context.Context, string) answer { return answer{} }})
	defer r.Close()
	for target, want := range map[string]string{
		"192.0.2.1:80": "192.0.2.1:80", "[2001:DB8::1]:80": "[2001:db8::1]:80", "[::ffff:192.0.2.1]:80": "192.0.2.1:80",
		"unix:/run/app.sock": "unix:/run/app.sock",
	} {
		got, err := r.Follow(target)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		s, changed := got.Endpoints()
		if !slices.Equal(s.Addresses, []string{want}) || changed != nil {
			t.Errorf("%s: %+v, want %s for ever", target, s, want)
		}
		got.Hurry()
		got.Close()
	}
	for _, target := range []string{"", "db", "db:", "db:0", "db:65536", ":80", "a..b:80", "unix:", strings.Repeat("a", 300) + ":80", "[::1]"} {
		if _, err := r.Follow(target); err == nil {
			t.Errorf("%q was taken", target)
		}
	}
	s, changed := Static{"192.0.2.1:80"}.Endpoints()
	if len(s.Addresses) != 1 || changed != nil {
		t.Errorf("static: %+v", s)
	}
}

// TestFollowsARealServer has an address leave a zone on loopback.
func TestFollowsARealServer(t *testing.T) {
	z := startZone(t)
	z.set("db.test. A", "db.test. 0 A 192.0.2.1", "db.test. 0 A 192.0.2.2")
	c := config(t, "", z)
	c.MinTTL = 20 * time.Millisecond
	r := New(c)
	defer r.Close()
	target, err := r.Follow("db.test:5432")
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	got, err := Wait(t.Context(), target)
	if err != nil || len(got.Addresses) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	_, changed := target.Endpoints()
	z.set("db.test. A", "db.test. 0 A 192.0.2.2")
	<-changed
	if got, _ := target.Endpoints(); !slices.Equal(got.Addresses, []string{"192.0.2.2:5432"}) {
		t.Errorf("%+v", got)
	}
}
