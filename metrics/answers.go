package metrics

import (
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// requestTotals counts the requests of one combination, by how they were
// answered.
type requestTotals struct {
	traffic                           *traffic
	overflowed                        bool                       // it is the combination of those past the bound
	answers                           atomic.Pointer[[]*answers] // copied when it grows
	requestMessages, responseMessages atomic.Uint64

	mu sync.Mutex // held by who makes it grow
}

// scales are those of the histograms. firstByte is nil unless linkerd's names are
// asked for.
type scales struct{ duration, bytes, firstByte *scale }

// maxAnswers bounds the ways of being answered that are told apart within a
// combination. Past it only the class of the code is, and so it is once all
// combinations together have as many ways, beyond their first, as there may be
// combinations.
const maxAnswers = 64

// answer is a way of being answered.
type answer struct {
	code int16 // 0 for none; of one that is coarse, its hundreds
	grpc int8  // -1 for none
	flag Flag

	// coarse says that it stands for all of the code's class.
	coarse bool
}

// answers are what was answered in one way.
type answers struct {
	answer
	duration                    histogram // of nanoseconds, in milliseconds
	requestBytes, responseBytes histogram
	firstByte                   *histogram // like duration; nil unless linkerd's names are asked for
	exemplars                   []atomic.Pointer[exemplar]
	labels                      []*dto.LabelPair // made once; a scrape's
}

// answerOf returns how a request was answered, out of a bounded set.
func answerOf(req *Request) answer {
	a := answer{grpc: -1, flag: req.Outcome.Flag}
	if req.Status >= 100 && req.Status <= 599 {
		a.code = int16(req.Status)
	}
	const unknownStatus, lastStatus = 2, 16
	switch {
	case !req.IsGRPC || req.GRPC < 0:
	case req.GRPC > lastStatus:
		a.grpc = unknownStatus // as a gRPC client takes it
	default:
		a.grpc = int8(req.GRPC)
	}
	if int(a.flag) >= flags {
		a.flag = FlagNone
	}
	return a
}

// count counts a request.
func (t *requestTotals) count(req *Request) {
	way := answerOf(req)
	a := t.find(way)
	if a == nil {
		a = t.add(way)
	}
	if t.overflowed || a.coarse {
		t.traffic.r.process.overflowOf(requestsOverflow).Inc()
	}
	bucket, value := a.duration.observe(natural(int64(req.Duration)))
	a.requestBytes.observe(natural(req.RequestBytes))
	a.responseBytes.observe(natural(req.ResponseBytes))
	if a.firstByte != nil && req.Status != 0 {
		a.firstByte.observe(natural(int64(req.FirstByte)))
	}
	if req.Trace.Sampled() {
		a.exemplify(bucket, value, req)
	}
	if req.RequestMessages|req.ResponseMessages != 0 {
		t.message(req.RequestMessages, req.ResponseMessages)
	}
}

func (t *requestTotals) message(requests, responses uint64) {
	t.requestMessages.Add(requests)
	t.responseMessages.Add(responses)
}

// all returns the ways that were met.
func (t *requestTotals) all() []*answers {
	if all := t.answers.Load(); all != nil {
		return *all
	}
	return nil
}

func (t *requestTotals) find(way answer) *answers {
	for _, a := range t.all() {
		if a.answer == way {
			return a
		}
	}
	return nil
}

// add makes room for a way that was not met before.
func (t *requestTotals) add(way answer) *answers {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.find(way); a != nil { // somebody was quicker
		return a
	}
	have := t.all()
	if len(have) >= maxAnswers || len(have) > 0 && t.traffic.full() {
		way = answer{code: way.code / 100, grpc: -1, coarse: true}
		if a := t.find(way); a != nil {
			return a
		}
	}
	if len(have) > 0 {
		t.traffic.ways.Add(1)
	}
	more := append(slices.Clip(have), newAnswers(way, &t.traffic.scales))
	t.answers.Store(&more)
	return more[len(have)]
}

func newAnswers(way answer, s *scales) *answers {
	a := &answers{answer: way, exemplars: make([]atomic.Pointer[exemplar], len(s.duration.bounds)+1)}
	a.duration.init(s.duration)
	a.requestBytes.init(s.bytes)
	a.responseBytes.init(s.bytes)
	if s.firstByte != nil {
		a.firstByte = new(histogram)
		a.firstByte.init(s.firstByte)
	}
	return a
}

// full reports whether no more ways of being answered are told apart.
func (t *traffic) full() bool {
	return t.ways.Load() >= int64(t.r.rules.Load().MaxCombinations)
}

// status returns the value of response_code.
func (a answer) status() string {
	if a.coarse && a.code > 0 {
		return strconv.Itoa(int(a.code)) + "xx"
	}
	return strconv.Itoa(int(a.code))
}

// grpcStatus returns the value of grpc_response_status.
func (a answer) grpcStatus() string {
	if a.grpc < 0 {
		return ""
	}
	return strconv.Itoa(int(a.grpc))
}

// flags returns the value of response_flags.
func (a answer) flags() string {
	if a.coarse {
		return overflow
	}
	return a.flag.String()
}

// success reports whether linkerd calls it one.
func (a answer) success() bool {
	code := int(a.code)
	if a.coarse {
		code *= 100
	}
	return code > 0 && code < http.StatusInternalServerError && a.grpc <= 0 && a.flag == FlagNone
}

// exemplar is a request that stands for those of its bucket.
type exemplar struct {
	trace tlsctx.Traceparent
	value float64
	at    time.Time
}

// exemplarAge is how long one stands: traces that are sampled are many, and who
// looks needs one.
const exemplarAge = time.Second

// exemplify makes a request the exemplar of its bucket, unless that has a new one.
func (a *answers) exemplify(bucket int, value float64, req *Request) {
	at := req.Start.Add(req.Duration)
	if last := a.exemplars[bucket].Load(); last != nil && at.Sub(last.at) < exemplarAge {
		return
	}
	a.exemplars[bucket].Store(&exemplar{req.Trace, value, at})
}
