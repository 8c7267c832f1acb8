//go:build !race

package trace

import (
	"testing"
	"time"
)

// TestAllocations: a request that is not sampled costs none if its traceparent
// says so, or one, the field that says so further on, if its trace begins here.
func TestAllocations(t *testing.T) {
	for _, test := range []struct {
		name   string
		tracer *Tracer
		field  string
		most   float64
	}{
		{"off", New(Config{}), "traceparent: " + no, 0},
		{"off, sampled elsewhere", New(Config{}), "traceparent: " + yes, 0},
		{"unsampled parent", tracer(t, Settings{Endpoint: nowhere, Ratio: 1}), "traceparent: " + no, 0},
		{"unsampled root", tracer(t, Settings{Endpoint: nowhere}), "", 1},
	} {
		h := &only{}
		head := Head{Kind: Server, Scheme: "http", Start: time.Now()}
		if n := testing.AllocsPerRun(1000, func() {
			h.value = ""
			if test.field != "" {
				h.value = test.field[len("traceparent: "):]
			}
			if _, r := test.tracer.Request(h, head); r != nil {
				t.Fatal("it is sampled")
			}
		}); n > test.most {
			t.Errorf("%s: %.1f allocations, want %.0f", test.name, n, test.most)
		}
	}
}

// only is a message with one field at the most.
type only struct{ value string }

func (o *only) Get(name string) string {
	if name == traceparent {
		return o.value
	}
	return ""
}

func (o *only) Set(name, value string) {
	if name == traceparent {
		o.value = value
	}
}
func (*only) Del(string)     {}
func (*only) Keys() []string { return nil }

// BenchmarkRequest is what tracing costs a request at one end.
func BenchmarkRequest(b *testing.B) {
	e := event(b)
	head := Head{Kind: Server, Scheme: "http", Start: e.Start}
	for _, test := range []struct {
		name   string
		tracer *Tracer
		field  string
	}{
		{"off", New(Config{}), no},
		{"unsampled_parent", tracer(b, Settings{Endpoint: nowhere}), no},
		{"unsampled_root", tracer(b, Settings{Endpoint: nowhere}), ""},
		{"sampled", tracer(b, Settings{Endpoint: nowhere, Queue: 1}), yes},
	} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			h := &only{}
			for b.Loop() {
				h.value = test.field
				if _, r := test.tracer.Request(h, head); r != nil {
					r.Ended(e)
				}
			}
		})
	}
}
