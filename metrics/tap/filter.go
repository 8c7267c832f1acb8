package tap

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Filter says which events a [Watch] shows. The zero value shows all. Different
// conditions must all hold; of the values of one, except of attributes, any.
type Filter struct {
	directions []Direction
	kinds      []filterKind
	peers      []idPattern
	sources    []idPattern
	targets    []idPattern
	attributes []attributePattern
	services   []pattern
	methods    []string
	paths      []pattern
	statuses   []statusPattern
	grpc       []int
	protocols  []string
	failed     bool
	slowerThan time.Duration

	// Sample shows one of so many; 0 and 1 all. Limit ends after so many; 0
	// is never. Rate is how many are shown in a second at the most, and the
	// rest dropped; 0 is no bound.
	Sample, Limit uint64
	Rate          int64
}

// filterKind is request or connection.
type filterKind string

const (
	requests    filterKind = "request"
	connections filterKind = "connection"
)

// maxValues bounds the values of one condition.
const maxValues = 32

// ParseFilter parses the parameters of the API: docs/admin.md describes them. It
// refuses one that it does not know, or that can never hold.
func ParseFilter(query url.Values) (*Filter, error) {
	f := new(Filter)
	for name, values := range query {
		if len(values) > maxValues {
			return nil, fmt.Errorf("tap: filter: %.40q is given %d times, want at most %d", name, len(values), maxValues)
		}
		for _, value := range values {
			if err := f.add(name, value); err != nil {
				return nil, fmt.Errorf("tap: filter: %s=%.80q: %w", printableName(name), value, err)
			}
		}
		if len(values) > 1 && !repeats(name) {
			return nil, fmt.Errorf("tap: filter: %s is given %d times, want it once", printableName(name), len(values))
		}
	}
	return f, nil
}

// repeats reports whether a parameter may be given more than once.
func repeats(name string) bool {
	return !slices.Contains([]string{"failed", "slowerThan", "sample", "limit", "rate"}, name)
}

// printableName is for an error.
func printableName(name string) string {
	if quoted := strconv.Quote(name); quoted != `"`+name+`"` || len(name) > 40 {
		return fmt.Sprintf("%.40q", name)
	}
	return name
}

// add takes one parameter.
func (f *Filter) add(name, value string) (err error) {
	switch name {
	case "direction":
		return addTo(&f.directions, value, oneOf(Inbound, Outbound))
	case "kind":
		return addTo(&f.kinds, value, oneOf(requests, connections))
	case "peer":
		return addTo(&f.peers, value, parseID)
	case "source":
		return addTo(&f.sources, value, parseID)
	case "destination":
		return addTo(&f.targets, value, parseID)
	case "attribute":
		return addTo(&f.attributes, value, parseAttribute)
	case "service":
		return addTo(&f.services, value, parsePattern)
	case "method":
		return addTo(&f.methods, value, func(s string) (string, error) { return strings.ToUpper(s), nonempty(s) })
	case "path":
		return addTo(&f.paths, value, parsePath)
	case "status":
		return addTo(&f.statuses, value, parseStatus)
	case "grpcStatus":
		return addTo(&f.grpc, value, parseGRPC)
	case "protocol":
		return addTo(&f.protocols, value, func(s string) (string, error) { return strings.ToLower(s), nonempty(s) })
	case "failed":
		f.failed, err = strconv.ParseBool(value)
		return want(err, "true or false")
	case "slowerThan":
		f.slowerThan, err = time.ParseDuration(value)
		return want(err, "a duration such as 200ms or 1.5s")
	case "sample":
		f.Sample, err = strconv.ParseUint(value, 10, 32)
		return want(err, "a number, of how many one is shown")
	case "limit":
		f.Limit, err = strconv.ParseUint(value, 10, 32)
		return want(err, "a number of events")
	case "rate":
		f.Rate, err = strconv.ParseInt(value, 10, 32)
		if err == nil && f.Rate < 0 {
			err = strconv.ErrRange
		}
		return want(err, "a number of events a second")
	default:
		return errUnknown
	}
}

// onlyRequests reports whether a condition is set that no connection meets.
func (f *Filter) onlyRequests() bool {
	return len(f.methods)+len(f.paths)+len(f.statuses)+len(f.grpc) > 0
}

// request reports whether a request is one to show.
func (f *Filter) request(e *metrics.RequestEvent) bool {
	protocol := string(e.Protocol)
	if e.IsGRPC {
		protocol = protocolGRPC
	}
	return f.ends(e.Reporter, e.Own, e.Peer) &&
		has(f.kinds, requests) &&
		(len(f.methods) == 0 || slices.ContainsFunc(f.methods, func(m string) bool { return strings.EqualFold(m, e.Method) })) &&
		matches(f.paths, e.Path, pattern.matchPath) &&
		f.answer(&e.Request) &&
		matches(f.services, serviceOf(&e.Service), pattern.match) &&
		f.speaks(protocol, e.IsGRPC || e.Protocol.IsHTTP()) &&
		(!f.failed || e.Failed()) &&
		(f.slowerThan <= 0 || e.Duration > f.slowerThan)
}

// connection reports whether a connection is one to show, at either end.
func (f *Filter) connection(e *metrics.Event) bool {
	return !f.onlyRequests() && f.ends(e.Reporter, e.Own, e.Peer) &&
		has(f.kinds, connections) &&
		matches(f.services, serviceOf(&e.Service), pattern.match) &&
		f.speaks(string(e.Protocol), false) &&
		(!f.failed || failedConnection(e)) &&
		(f.slowerThan <= 0 || e.Outcome.Reason != "" && e.Duration > f.slowerThan)
}

// ends asks who is at the ends.
func (f *Filter) ends(reporter metrics.Reporter, own, peer *tlsctx.Peer) bool {
	source, destination := own, peer
	if reporter == metrics.Destination {
		source, destination = peer, own
	}
	return has(f.directions, directionOf(reporter)) &&
		is(f.peers, peer) && is(f.sources, source) && is(f.targets, destination) &&
		!slices.ContainsFunc(f.attributes, func(a attributePattern) bool { return !a.match(peer) })
}

// answer asks how a request was answered.
func (f *Filter) answer(r *metrics.Request) bool {
	return (len(f.statuses) == 0 || slices.ContainsFunc(f.statuses, func(s statusPattern) bool { return s.match(r.Status) })) &&
		(len(f.grpc) == 0 || r.IsGRPC && slices.Contains(f.grpc, r.GRPC))
}

// speaks asks for the protocol: its own name, or the family.
func (f *Filter) speaks(protocol string, isHTTP bool) bool {
	family := "tcp"
	if isHTTP {
		family = "http"
	}
	return len(f.protocols) == 0 || slices.Contains(f.protocols, protocol) || slices.Contains(f.protocols, family)
}

// has reports whether the value is one of those that are wanted, if any are.
func has[T comparable](wanted []T, value T) bool {
	return len(wanted) == 0 || slices.Contains(wanted, value)
}

func matches(wanted []pattern, value string, match func(pattern, string) bool) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(p pattern) bool { return match(p, value) })
}

func is(wanted []idPattern, p *tlsctx.Peer) bool {
	return len(wanted) == 0 || slices.ContainsFunc(wanted, func(i idPattern) bool { return i.match(p) })
}
