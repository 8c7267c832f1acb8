package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFiles bounds the files of a directory.
const maxFiles = 4096

// Source is where a configuration comes from: a file or a directory, flags, or
// both together.
type Source struct {
	// Path is a YAML or JSON file with any number of documents, or a directory
	// of files whose names end in .yaml, .yml or .json and do not begin with a
	// dot. Folders inside it are not looked into. Empty means no files.
	Path string

	// Inbounds and Outbounds are those of flags; see [ParseInboundFlag] and
	// [ParseOutboundFlag]. What they have in common with the files, such as
	// an address, is refused.
	Inbounds  []Inbound
	Outbounds []Outbound

	// Override changes what the files say of the process, as flags and
	// environment variables do. Nil changes nothing.
	Override func(*ProxySpec)
}

// Load reads the file, or the directory of files, at path.
func Load(path string) (*Config, error) { return Source{Path: path}.Load() }

// Parse reads one file's content; name stands for it in errors.
func Parse(name string, data []byte) (*Config, error) {
	r := new(reader)
	r.file(name, data)
	return r.build()
}

// Load reads everything and validates it together. Its error is [Problems] if
// the content is wrong: all that is wrong with it.
func (s Source) Load() (*Config, error) {
	r := new(reader)
	s.flags(r)
	if err := s.files(r); err != nil {
		return nil, fmt.Errorf("config: read: %w", err)
	}
	if s.Path != "" && r.documents == 0 && len(r.problems) == 0 {
		return nil, Problems{{File: s.Path, Text: "holds no resource"}}
	}
	s.override(r)
	return r.build()
}

// flags adds what flags say.
func (s Source) flags(r *reader) {
	for i := range s.Inbounds {
		in := s.Inbounds[i]
		r.inbounds = append(r.inbounds, resource[Inbound]{flagged(KindInbound, in.Metadata), &in})
	}
	for i := range s.Outbounds {
		out := s.Outbounds[i]
		r.outbounds = append(r.outbounds, resource[Outbound]{flagged(KindOutbound, out.Metadata), &out})
	}
}

// override changes the settings of the process, or makes some to be changed.
func (s Source) override(r *reader) {
	if s.Override == nil {
		return
	}
	if len(r.proxies) == 0 {
		p := Proxy{Metadata: Metadata{Name: "default", Origin: "flags"}, Spec: withDefaults[ProxySpec]()}
		r.proxies = append(r.proxies, resource[Proxy]{flagged(KindProxy, p.Metadata), &p})
	}
	for _, p := range r.proxies {
		s.Override(&p.value.Spec)
	}
}

func flagged(kind string, m Metadata) *written {
	return &written{file: m.Origin, label: label(kind, m)}
}

// files reads the files.
func (s Source) files(r *reader) error {
	if s.Path == "" {
		return nil
	}
	info, err := os.Stat(s.Path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return s.read(r, s.Path)
	}
	names, err := list(s.Path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := s.read(r, filepath.Join(s.Path, name)); err != nil {
			return err
		}
	}
	return nil
}

func (s Source) read(r *reader, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return fmt.Errorf("%s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return err
	}
	r.file(path, data)
	return nil
}

// list returns the names of the files of a directory that are read, in order.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !isConfigFile(e.Name()) {
			continue
		}
		if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil && info.IsDir() {
			continue
		}
		names = append(names, e.Name())
	}
	if len(names) > maxFiles {
		return nil, fmt.Errorf("%s holds %d files, more than the %d allowed", dir, len(names), maxFiles)
	}
	slices.Sort(names)
	return names, nil
}

// isConfigFile reports whether a file of the name is read.
func isConfigFile(name string) bool {
	return !strings.HasPrefix(name, ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(name))
}
