package issuer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"sigs.k8s.io/yaml"

	"github.com/hallmark-mesh/hallmark/identity"
)

// maxConfigFile is the largest configuration file that is read, in bytes.
const maxConfigFile = 4 << 20

// file is the YAML form of [Config]: strings where that has parsed values.
type file struct {
	TrustDomain  string         `json:"trustDomain"`
	Directory    string         `json:"directory"`
	Socket       string         `json:"socket"`
	SocketMode   string         `json:"socketMode"`
	SVIDTTL      string         `json:"svidTTL"`
	CATTL        string         `json:"caTTL"`
	KeyType      KeyType        `json:"keyType"`
	CAKeyType    KeyType        `json:"caKeyType"`
	Intermediate bool           `json:"intermediate"`
	ExportBundle []string       `json:"exportBundle"`
	Federation   fileFederation `json:"federation"`
	Workloads    []fileWorkload `json:"workloads"`
	Limits       fileLimits     `json:"limits"`
}

type fileFederation struct {
	Directory string       `json:"directory"`
	Bundles   []fileBundle `json:"bundles"`
}

type fileBundle struct {
	TrustDomain string `json:"trustDomain"`
	File        string `json:"file"`
}

type fileWorkload struct {
	ID            string            `json:"id"`
	Hint          string            `json:"hint"`
	Selectors     Selectors         `json:"selectors"`
	Socket        string            `json:"socket"`
	SocketMode    string            `json:"socketMode"`
	Attributes    map[string]string `json:"attributes"`
	FederatesWith []string          `json:"federatesWith"`
}

type fileLimits struct {
	Connections       int    `json:"connections"`
	ConnectionsPerUID int    `json:"connectionsPerUID"`
	StreamsPerUID     int    `json:"streamsPerUID"`
	SendTimeout       string `json:"sendTimeout"`
}

// ReadConfig reads the configuration file at path, by the rules of
// [ParseConfig]. Its errors name the file.
func ReadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("issuer: read configuration: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	if err != nil {
		return Config{}, fmt.Errorf("issuer: read configuration: %w", err)
	}
	c, err := ParseConfig(content)
	if err != nil {
		return Config{}, fmt.Errorf("issuer: read configuration %s: %w", path, err)
	}
	return c, nil
}

// ParseConfig parses a configuration in YAML. A field that it does not know, one
// given twice, and a value out of range are errors that name the field. The
// result is not validated as a whole: flags may still add to it.
func ParseConfig(content []byte) (Config, error) {
	if len(content) > maxConfigFile {
		return Config{}, fmt.Errorf("more than %d bytes", maxConfigFile)
	}
	var f file
	if err := yaml.UnmarshalStrict(content, &f); err != nil {
		return Config{}, plain(err)
	}
	return f.config()
}

// plain takes the detour through JSON, which is none of the reader's business,
// out of an error of the YAML decoder.
func plain(err error) error {
	text := err.Error()
	for _, detour := range []string{"error converting YAML to JSON: ", "error unmarshaling JSON: ", "while decoding JSON: ", "json: "} {
		text = strings.TrimPrefix(text, detour)
	}
	return errors.New(text)
}

func (f file) config() (Config, error) {
	c := Config{
		Directory:    f.Directory,
		Socket:       f.Socket,
		KeyType:      f.KeyType,
		CAKeyType:    f.CAKeyType,
		Intermediate: f.Intermediate,
		ExportBundle: f.ExportBundle,
	}
	var p parser
	c.TrustDomain = p.trustDomain("trustDomain", f.TrustDomain)
	c.SocketMode = p.mode("socketMode", f.SocketMode)
	c.SVIDTTL = p.duration("svidTTL", f.SVIDTTL)
	c.CATTL = p.duration("caTTL", f.CATTL)
	c.Limits = Limits{
		Connections:       f.Limits.Connections,
		ConnectionsPerUID: f.Limits.ConnectionsPerUID,
		StreamsPerUID:     f.Limits.StreamsPerUID,
		SendTimeout:       p.duration("limits.sendTimeout", f.Limits.SendTimeout),
	}
	c.Federation.Directory = f.Federation.Directory
	for n, b := range f.Federation.Bundles {
		td := p.trustDomain(fmt.Sprintf("federation.bundles[%d].trustDomain", n), b.TrustDomain)
		c.Federation.Bundles = append(c.Federation.Bundles, ForeignBundle{TrustDomain: td, File: b.File})
	}
	for n, w := range f.Workloads {
		c.Workloads = append(c.Workloads, w.workload(&p, fmt.Sprintf("workloads[%d].", n)))
	}
	return c, p.err()
}

// workload parses a registration, whose field names begin with at.
func (w fileWorkload) workload(p *parser, at string) Workload {
	parsed := Workload{
		ID:         p.id(at+"id", w.ID),
		Hint:       w.Hint,
		Selectors:  w.Selectors,
		Socket:     w.Socket,
		SocketMode: p.mode(at+"socketMode", w.SocketMode),
		Attributes: p.attributes(at+"attributes", w.Attributes),
	}
	for n, td := range w.FederatesWith {
		parsed.FederatesWith = append(parsed.FederatesWith, p.trustDomain(fmt.Sprintf("%sfederatesWith[%d]", at, n), td))
	}
	return parsed
}

// parser parses fields and collects their errors. Empty strings are zero values.
type parser struct{ errs []error }

func (p *parser) err() error { return errors.Join(p.errs...) }

func (p *parser) report(field string, err error) {
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("%s: %w", field, err))
	}
}

func (p *parser) trustDomain(field, value string) spiffeid.TrustDomain {
	if value == "" {
		return spiffeid.TrustDomain{}
	}
	td, err := spiffeid.TrustDomainFromString(value)
	if err != nil {
		err = fmt.Errorf("%.300q: %w", value, err)
	}
	p.report(field, err)
	return td
}

func (p *parser) id(field, value string) spiffeid.ID {
	if value == "" {
		return spiffeid.ID{}
	}
	id, err := spiffeid.FromString(value)
	if err != nil {
		err = fmt.Errorf("%.300q: %w", value, err)
	}
	p.report(field, err)
	return id
}

func (p *parser) duration(field, value string) time.Duration {
	if value == "" {
		return 0
	}
	d, err := time.ParseDuration(value)
	if err == nil && d <= 0 {
		err = fmt.Errorf("%v is not positive", d)
	}
	p.report(field, err)
	return d
}

// mode parses file permissions in octal, such as "0660".
func (p *parser) mode(field, value string) fs.FileMode {
	if value == "" {
		return 0
	}
	mode, err := strconv.ParseUint(value, 8, 32)
	if err != nil || mode == 0 || mode&^uint64(fs.ModePerm) != 0 {
		p.report(field, fmt.Errorf("%.20q is no mode: want three octal digits, such as \"0660\"", value))
		return 0
	}
	return fs.FileMode(mode)
}

func (p *parser) attributes(field string, values map[string]string) identity.Attributes {
	list := make([]identity.Attribute, 0, len(values))
	for name, value := range values {
		list = append(list, identity.Attribute{Name: name, Value: value})
	}
	attributes, err := identity.NewAttributes(list...)
	p.report(field, err)
	return attributes
}
