// Package attributes finds out what this workload can say of itself, as
// OpenTelemetry resource attributes.
//
// What is found further down the list overrides what is found above:
//
//   - host detection by OpenTelemetry's SDK: host.name;
//   - Kubernetes: the service account's namespace; the downward API's files and
//     labels, and what they imply; the downward API's variables; annotations
//     that begin with resource.opentelemetry.io/ (kubernetes.go has the tables);
//   - OTEL_RESOURCE_ATTRIBUTES and, above it, OTEL_SERVICE_NAME, read by
//     OpenTelemetry's SDK;
//   - flags.
//
// What a handshake context cannot carry, such as a value that is too long, is
// left out, and a warning says so. The package never reads the machine's id, the
// command line or anything else that a peer has no business to know, and never
// lets a process start or fail for want of an attribute.
package attributes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/identity/internal/watch"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.uber.org/zap"
)

// Where Kubernetes mounts things by default and by custom.
const (
	DefaultPodInfo        = "/etc/podinfo"
	DefaultServiceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
)

// maxTotal bounds the names and values together, in bytes: a context
// certificate has 4 KiB for them, a public key, a target and the rest.
const maxTotal = 3 << 10

// Config says where to look. The zero value looks in the usual places.
type Config struct {
	// Flags are what the operator gave; they override everything.
	Flags []identity.Attribute

	// PodInfo is the folder of a downward API volume, DefaultPodInfo if
	// empty. It need not exist.
	PodInfo string

	// ServiceAccount is the folder of a pod's service account,
	// DefaultServiceAccount if empty. It need not exist.
	ServiceAccount string

	// Settle is how long the files must be left alone before they are read
	// again, 100 ms if zero. Poll is how often they are read although nobody
	// reports a change, 30 s if zero.
	Settle, Poll time.Duration

	// Logger is told what is left out and why. Nil logs nothing.
	Logger *zap.Logger
}

func (c Config) withDefaults() Config {
	if c.PodInfo == "" {
		c.PodInfo = DefaultPodInfo
	}
	if c.ServiceAccount == "" {
		c.ServiceAccount = DefaultServiceAccount
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// ParseFlag returns the attribute of a flag's name=value. A value that a context
// cannot carry is for [Detect] to leave out.
func ParseFlag(text string) (identity.Attribute, error) {
	name, value, found := strings.Cut(text, "=")
	if !found {
		return identity.Attribute{}, fmt.Errorf("%.80q is no attribute: want name=value", text)
	}
	return identity.Attribute{Name: name, Value: value}, identity.ValidateAttributeName(name)
}

// Detect looks once.
func Detect(ctx context.Context, c Config) identity.Attributes {
	c = c.withDefaults()
	found, warnings := c.detect(ctx)
	for _, w := range warnings {
		c.Logger.Warn(w)
	}
	return found
}

// Source follows the downward API's files.
type Source struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// Open looks once, calls set, such as [identity.Store.SetAttributes], with what
// there is, and again, from a goroutine of its own, whenever that has changed.
func Open(c Config, set func(identity.Attributes)) *Source {
	c = c.withDefaults()
	ctx, cancel := context.WithCancel(context.Background())
	f := follower{config: c, set: set, said: make(map[string]bool)}
	f.refresh(ctx)
	s := &Source{cancel: cancel}
	s.wg.Go(func() {
		watch.Run(ctx, watch.Config{Paths: c.kubernetes().files(), Settle: c.Settle, Poll: c.Poll, Logger: c.Logger}, func() { f.refresh(ctx) })
	})
	return s
}

// Close stops following. What was set stays.
func (s *Source) Close() error {
	s.cancel()
	s.wg.Wait()
	return nil
}

// follower remembers what was said last.
type follower struct {
	config Config
	set    func(identity.Attributes)
	known  bool
	last   identity.Attributes
	said   map[string]bool // warnings
}

// refresh looks again.
func (f *follower) refresh(ctx context.Context) {
	found, warnings := f.config.detect(ctx)
	if ctx.Err() != nil {
		return
	}
	for _, w := range warnings {
		if !f.said[w] {
			f.config.Logger.Warn(w)
		}
	}
	clear(f.said) // what comes back after it was mended is said again
	for _, w := range warnings {
		f.said[w] = true
	}
	if !f.known || !found.Equal(f.last) {
		f.known, f.last = true, found
		f.set(found)
	}
}

// detect puts together what there is, by the SDK's own order: a later detector
// overrides an earlier one.
func (c Config) detect(ctx context.Context) (found identity.Attributes, warnings []string) {
	kubernetes := c.kubernetes()
	r, err := resource.New(ctx,
		resource.WithHost(),
		resource.WithDetectors(kubernetes),
		resource.WithFromEnv(),
		resource.WithAttributes(c.flags()...),
	)
	warnings = append(warnings, kubernetes.warnings...)
	if err != nil {
		warnings = append(warnings, fmt.Sprintf("attributes: some cannot be found out: %q", err))
	}
	var all []identity.Attribute
	for _, kv := range r.Attributes() {
		all = append(all, identity.Attribute{Name: string(kv.Key), Value: kv.Value.String()})
	}
	found, left := c.fit(all)
	return found, append(warnings, left...)
}

func (c Config) flags() []attribute.KeyValue {
	var flags []attribute.KeyValue
	for _, a := range c.Flags {
		flags = append(flags, attribute.String(a.Name, a.Value))
	}
	return flags
}

// fit returns what a context can carry of the given attributes, and why the rest
// cannot be carried. Where there are too many, flags are kept first, then what
// the standard metrics label by.
func (c Config) fit(all []identity.Attribute) (carried identity.Attributes, left []string) {
	rank := func(a identity.Attribute) int {
		switch {
		case slices.ContainsFunc(c.Flags, func(flag identity.Attribute) bool { return flag.Name == a.Name }):
			return 0
		case strings.HasPrefix(a.Name, "k8s."), strings.HasPrefix(a.Name, "service."), strings.HasPrefix(a.Name, "cloud."):
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(all, func(a, b identity.Attribute) int { return rank(a) - rank(b) })
	var kept []identity.Attribute
	total := 0
	for _, a := range all {
		size := len(a.Name) + len(a.Value)
		reason := ""
		if err := identity.ValidateAttributeName(a.Name); err != nil {
			reason = err.Error()
		} else if err := identity.ValidateAttributeValue(a.Value); err != nil {
			reason = err.Error()
		} else if len(kept) == identity.MaxAttributes {
			reason = fmt.Sprintf("there are more than %d", identity.MaxAttributes)
		} else if total+size > maxTotal {
			reason = fmt.Sprintf("all together are larger than %d bytes", maxTotal)
		}
		if reason != "" {
			left = append(left, fmt.Sprintf("attribute %.80q is left out, a handshake cannot carry it: %s", a.Name, reason))
			continue
		}
		total += size
		kept = append(kept, a)
	}
	carried, err := identity.NewAttributes(kept...)
	if err != nil { // each is valid and there are not too many: the SDK gave one twice
		return identity.Attributes{}, append(left, fmt.Sprintf("attributes: %v", err))
	}
	return carried, left
}
