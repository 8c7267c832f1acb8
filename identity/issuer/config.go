package issuer

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// Defaults of [Config].
const (
	DefaultSVIDTTL    = time.Hour
	DefaultCATTL      = 7 * 24 * time.Hour
	DefaultSocketMode = fs.FileMode(0o777)

	// DefaultOwnSocketMode is the mode of a workload's own socket.
	DefaultOwnSocketMode = fs.FileMode(0o600)
)

// Bounds of [Config].
const (
	minSVIDTTL   = time.Second
	maxWorkloads = 10_000
	maxForeign   = 256  // federated trust domains
	maxID        = 2048 // bytes of a SPIFFE ID (SPIFFE-ID, section 2.3)
	maxHint      = 1024 // bytes of a hint
	maxSocket    = 107  // bytes of a socket's path (unix(7), sun_path)
	maxAttested  = 4096 // bytes of attested attributes: receivers refuse more

	// minCALives is how many SVID lifetimes an authority must live: it signs
	// until two thirds of its life have passed, and what it signed last must
	// still fit into the rest.
	minCALives = 3
)

// Config says what an [Issuer] issues, to whom, and where. The zero value lacks
// only a trust domain: it keeps its authority in memory, has no socket, and is
// read in process through [Issuer.Feed].
type Config struct {
	// TrustDomain is the trust domain of the authority. Required.
	TrustDomain spiffeid.TrustDomain

	// Directory keeps the authority across restarts. It is made with mode
	// 0700; a directory or a key file that others can enter or read is
	// refused. Empty means in memory.
	Directory string

	// Socket is the path of the socket shared by all workloads without one of
	// their own. Empty means none.
	Socket string

	// SocketMode is the mode of the shared socket, DefaultSocketMode if zero.
	SocketMode fs.FileMode

	// SVIDTTL is how long an SVID lives, DefaultSVIDTTL if zero. It is
	// replaced at half of it.
	SVIDTTL time.Duration

	// CATTL is how long an authority lives, DefaultCATTL if zero; at least
	// three times SVIDTTL. Its successor is published at half of it and signs
	// from two thirds of it.
	CATTL time.Duration

	// KeyType is the key type of SVIDs, P256 if empty.
	KeyType KeyType

	// CAKeyType is the key type of authorities, P256 if empty.
	CAKeyType KeyType

	// Intermediate puts an intermediate CA between the authority and its SVIDs.
	Intermediate bool

	// Workloads are the registrations, in the order of preference.
	Workloads []Workload

	// Federation says where the bundles of other trust domains come from.
	Federation Federation

	// ExportBundle lists files that the own bundle is written to at start and
	// whenever it changes, mode 0644: in the SPIFFE bundle format, or as PEM
	// if the name ends in ".pem".
	ExportBundle []string

	// Limits bound what callers can make the issuer do.
	Limits Limits

	// Logger receives what an operator should know. Nil discards it.
	Logger *slog.Logger
}

// Workload is a registration: who gets which SVID.
type Workload struct {
	// ID is the SPIFFE ID, in the issuer's trust domain and with a path.
	ID spiffeid.ID

	// Hint tells a workload with several SVIDs what this one is for.
	Hint string

	// Selectors must all match the caller. A workload on the shared socket
	// has at least one.
	Selectors Selectors

	// Socket is the path of a socket of the workload's own. Everything that
	// can open it, and matches the selectors if there are any, is the
	// workload. Workloads may share one: the caller then has several SVIDs.
	Socket string

	// SocketMode is the mode of the own socket, DefaultOwnSocketMode if zero.
	// Its owner is the uid and gid of the selectors where they name them.
	SocketMode fs.FileMode

	// Attributes are signed into the SVID, where peers that honour this trust
	// domain's attestations see them as attested.
	Attributes identity.Attributes

	// FederatesWith names the foreign trust domains whose bundles the workload
	// is given.
	FederatesWith []spiffeid.TrustDomain
}

// Federation says where the bundles of foreign trust domains come from. All of
// it is watched: a new file takes effect at once, a file that cannot be parsed
// leaves the last good bundle in force, and a file that is removed ends the
// federation.
type Federation struct {
	// Bundles names files one by one.
	Bundles []ForeignBundle

	// Directory holds files that are named after their trust domain, such as
	// other.example.json and other.example.pem.
	Directory string
}

// ForeignBundle is a file with the bundle of a foreign trust domain, in the
// SPIFFE bundle format, or PEM if the name ends in ".pem".
type ForeignBundle struct {
	TrustDomain spiffeid.TrustDomain
	File        string
}

// Validate reports every mistake in the configuration, each with the name of
// its field as the configuration file spells it.
func (c Config) Validate() error {
	var errs []error
	report := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	if c.TrustDomain.IsZero() {
		report("trustDomain", errors.New("is required"))
	}
	c = c.withDefaults()
	report("keyType", c.KeyType.Validate())
	report("caKeyType", c.CAKeyType.Validate())
	report("svidTTL", c.validateSVIDTTL())
	report("caTTL", c.validateCATTL())
	report("socket", validateSocket(c.Socket))
	report("socketMode", validateMode(c.SocketMode))
	report("federation", c.validateFederation())
	report("workloads", c.validateWorkloads(report))
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.SVIDTTL == 0 {
		c.SVIDTTL = DefaultSVIDTTL
	}
	if c.CATTL == 0 {
		c.CATTL = max(DefaultCATTL, minCALives*c.SVIDTTL)
	}
	if c.SocketMode == 0 {
		c.SocketMode = DefaultSocketMode
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Limits = c.Limits.withDefaults()
	c.Workloads = slices.Clone(c.Workloads)
	for i := range c.Workloads {
		if c.Workloads[i].SocketMode == 0 {
			c.Workloads[i].SocketMode = DefaultOwnSocketMode
		}
	}
	return c
}

func (c Config) validateSVIDTTL() error {
	if c.SVIDTTL < minSVIDTTL {
		return fmt.Errorf("%v is shorter than %v", c.SVIDTTL, minSVIDTTL)
	}
	return nil
}

func (c Config) validateCATTL() error {
	if c.CATTL/minCALives < c.SVIDTTL {
		return fmt.Errorf("%v is shorter than %d SVID lifetimes of %v: SVIDs would outlive their authority", c.CATTL, minCALives, c.SVIDTTL)
	}
	return nil
}

func (c Config) validateFederation() error {
	if n := len(c.Federation.Bundles); n > maxForeign {
		return fmt.Errorf("%d bundles are more than the %d allowed", n, maxForeign)
	}
	seen := map[spiffeid.TrustDomain]bool{c.TrustDomain: true}
	for i, b := range c.Federation.Bundles {
		switch {
		case b.TrustDomain.IsZero():
			return fmt.Errorf("bundles[%d].trustDomain: is required", i)
		case b.TrustDomain == c.TrustDomain:
			return fmt.Errorf("bundles[%d].trustDomain: %q is the issuer's own", i, b.TrustDomain.Name())
		case seen[b.TrustDomain]:
			return fmt.Errorf("bundles[%d].trustDomain: %q is given twice", i, b.TrustDomain.Name())
		case b.File == "":
			return fmt.Errorf("bundles[%d].file: is required", i)
		}
		seen[b.TrustDomain] = true
	}
	return nil
}

// validateWorkloads reports the mistakes of each workload, and returns those of
// all together.
func (c Config) validateWorkloads(report func(field string, err error)) error {
	if n := len(c.Workloads); n > maxWorkloads {
		return fmt.Errorf("%d are more than the %d allowed", n, maxWorkloads)
	}
	modes := make(map[string]fs.FileMode)
	for i, w := range c.Workloads {
		w.validate(c, func(field string, err error) {
			report(fmt.Sprintf("workloads[%d].%s", i, field), err)
		})
		if mode, seen := modes[w.Socket]; seen && w.Socket != "" && mode != w.SocketMode {
			report(fmt.Sprintf("workloads[%d].socketMode", i), fmt.Errorf("%#o differs from the %#o of another workload on %s", w.SocketMode, mode, w.Socket))
		}
		modes[w.Socket] = w.SocketMode
	}
	return nil
}

func (w Workload) validate(c Config, report func(field string, err error)) {
	report("id", validateID(w.ID, c.TrustDomain))
	report("selectors", w.Selectors.validate())
	report("socket", validateSocket(w.Socket))
	report("socketMode", validateMode(w.SocketMode))
	report("attributes", validateAttested(w.Attributes))
	if len(w.Hint) > maxHint {
		report("hint", fmt.Errorf("%d bytes are more than the %d allowed", len(w.Hint), maxHint))
	}
	if w.Socket == "" && w.Selectors.empty() {
		report("selectors", errors.New("at least one is required, or a socket of the workload's own: nobody could be told to be this workload"))
	}
	if w.Socket != "" && filepath.Clean(w.Socket) == filepath.Clean(c.Socket) && c.Socket != "" {
		report("socket", fmt.Errorf("%s is the shared socket: leave the field out and give selectors", w.Socket))
	}
	if n := len(w.FederatesWith); n > maxForeign {
		report("federatesWith", fmt.Errorf("%d trust domains are more than the %d allowed", n, maxForeign))
	}
	for i, td := range w.FederatesWith {
		if td.IsZero() || td == c.TrustDomain {
			report(fmt.Sprintf("federatesWith[%d]", i), fmt.Errorf("%q is no foreign trust domain", td.Name()))
		}
	}
}

func validateID(id spiffeid.ID, td spiffeid.TrustDomain) error {
	switch {
	case id.IsZero():
		return errors.New("is required")
	case !id.MemberOf(td):
		return fmt.Errorf("%q is not in the trust domain %q", id, td.Name())
	case id.Path() == "":
		return fmt.Errorf("%q has no path: that is the authority's own name", id)
	case len(id.String()) > maxID:
		return fmt.Errorf("%d bytes are more than the %d allowed", len(id.String()), maxID)
	default:
		return nil
	}
}

func validateAttested(attributes identity.Attributes) error {
	extension, err := tlsctx.AttestedExtension(attributes)
	if err != nil {
		return err
	}
	if n := len(extension.Value); n > maxAttested {
		return fmt.Errorf("%d bytes in the SVID are more than the %d allowed: attest fewer", n, maxAttested)
	}
	return nil
}

func validateSocket(path string) error {
	switch {
	case len(path) > maxSocket:
		return fmt.Errorf("%d bytes are more than the %d that a Unix socket's path may have", len(path), maxSocket)
	case path != "" && !filepath.IsAbs(path):
		return fmt.Errorf("%q is not an absolute path", path)
	default:
		return nil
	}
}

func validateMode(mode fs.FileMode) error {
	if mode&^fs.ModePerm != 0 {
		return fmt.Errorf("%#o has bits outside 0777", uint32(mode))
	}
	return nil
}
