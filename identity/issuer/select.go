package issuer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Selectors describe a process, as SPIRE's unix attestor does. Those that are
// set must all match; the zero value matches everybody.
type Selectors struct {
	// UID and GID are the caller's effective user and primary group, from the
	// kernel (SO_PEERCRED) at the time it connected.
	UID *uint32 `json:"uid,omitempty"`
	GID *uint32 `json:"gid,omitempty"`

	// Path is the absolute path of the caller's executable. The file at that
	// path, in the issuer's view of the file system, must be the very file
	// that the caller runs: neither a mount namespace nor a replaced
	// executable passes.
	Path string `json:"path,omitempty"`

	// SHA256 is the digest of the caller's executable, 64 hexadecimal digits.
	SHA256 string `json:"sha256,omitempty"`
}

func (s Selectors) empty() bool { return s == Selectors{} }

// String returns the selectors in the form of [ParseWorkload].
func (s Selectors) String() string {
	var parts []string
	if s.UID != nil {
		parts = append(parts, fmt.Sprintf("uid=%d", *s.UID))
	}
	if s.GID != nil {
		parts = append(parts, fmt.Sprintf("gid=%d", *s.GID))
	}
	if s.Path != "" {
		parts = append(parts, "path="+s.Path)
	}
	if s.SHA256 != "" {
		parts = append(parts, "sha256="+s.SHA256)
	}
	return strings.Join(parts, ",")
}

func (s Selectors) validate() error {
	if s.Path != "" && (!filepath.IsAbs(s.Path) || filepath.Clean(s.Path) != s.Path) {
		return fmt.Errorf("path: %q is not an absolute path in its shortest form", s.Path)
	}
	if s.SHA256 == "" {
		return nil
	}
	if digest, err := hex.DecodeString(s.SHA256); err != nil || len(digest) != 32 {
		return errors.New("sha256: want 64 hexadecimal digits")
	}
	return nil
}

// caller is the process at the other end of a connection.
type caller interface {
	// uid and gid are the peer's credentials. Who has none is nobody.
	ids() (uid, gid uint32)

	// runs reports whether the process is alive and its executable is the
	// file at path. An error says why that could not be found out.
	runs(path string) (bool, error)

	// digest returns the SHA-256 of the executable, in lower-case hexadecimal.
	digest() (string, error)

	// String describes the process for a log.
	String() string
}

// match reports whether every selector that is set matches the caller: the
// cheap ones first, so that only a near match makes the issuer read an
// executable.
func (s Selectors) match(c caller) (bool, error) {
	uid, gid := c.ids()
	if s.UID != nil && *s.UID != uid || s.GID != nil && *s.GID != gid {
		return false, nil
	}
	if s.Path != "" {
		if ok, err := c.runs(s.Path); err != nil || !ok {
			return false, err
		}
	}
	if s.SHA256 != "" {
		digest, err := c.digest()
		return err == nil && strings.EqualFold(digest, s.SHA256), err
	}
	return true, nil
}

// selectFor returns the registrations of the given socket that match the
// caller, in order, each SPIFFE ID once. What stood in the way of finding out
// is returned as well; it is no match.
func selectFor(entries []*entry, socket string, c caller) ([]*entry, error) {
	var selected []*entry
	var errs []error
	seen := make(map[spiffeid.ID]bool)
	for _, e := range entries {
		if e.workload.Socket != socket || seen[e.workload.ID] {
			continue
		}
		ok, err := e.workload.Selectors.match(c)
		if err != nil {
			errs = append(errs, err)
		}
		if ok {
			seen[e.workload.ID] = true
			selected = append(selected, e)
		}
	}
	return selected, errors.Join(errs...)
}
