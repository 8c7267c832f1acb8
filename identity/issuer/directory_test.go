package issuer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestDirectoryPermissions(t *testing.T) {
	dir := t.TempDir() + "/new/ca"
	i := open(t, Config{Directory: dir})
	for path, want := range map[string]os.FileMode{dir: 0o700, dir + "/" + authoritiesFile: 0o600} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, %v: want %v", path, info.Mode(), err, want)
		}
	}
	if err := i.RotateAuthority(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v, %v: want one file", entries, err)
	}
}

func TestDirectoryRefusals(t *testing.T) {
	file := func(dir string) string { return filepath.Join(dir, authoritiesFile) }
	overwrite := func(content string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(file(dir), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	replace := func(old, with string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			content, err := os.ReadFile(file(dir))
			if err != nil || !strings.Contains(string(content), old) {
				t.Fatal("nothing to replace", err)
			}
			overwrite(strings.Replace(string(content), old, with, 1))(t, dir)
		}
	}
	for name, test := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"directory others can enter": {func(t *testing.T, dir string) { chmod(t, dir, 0o750) }, "chmod 700"},
		"file others can read":       {func(t *testing.T, dir string) { chmod(t, file(dir), 0o640) }, "chmod 600"},
		"symbolic link": {func(t *testing.T, dir string) {
			if err := os.Rename(file(dir), dir+"/elsewhere"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("elsewhere", file(dir)); err != nil {
				t.Fatal(err)
			}
		}, "symbolic link"},
		"garbage":            {overwrite("garbage"), "invalid character"},
		"empty":              {overwrite(""), "EOF"},
		"too large":          {overwrite(strings.Repeat(" ", maxAuthoritiesFile+1)), "more than"},
		"another version":    {replace(`"version": 1`, `"version": 2`), "version 2"},
		"another domain":     {replace(`"trustDomain": "example.org"`, `"trustDomain": "other.org"`), "use another directory"},
		"unknown field":      {replace(`"version"`, `"x": 1, "version"`), "unknown field"},
		"damaged key":        {replace("BEGIN PRIVATE KEY-----\\nM", "BEGIN PRIVATE KEY-----\\nA"), "privateKey"},
		"damaged certficate": {replace("BEGIN CERTIFICATE-----\\nM", "BEGIN CERTIFICATE-----\\nA"), "certificate"},
		"made at no time":    {replace(`"created": "2`, `"created": "1`), "created"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir() + "/ca"
			config := Config{TrustDomain: td, Directory: dir}
			if err := open(t, config).Close(); err != nil {
				t.Fatal(err)
			}
			test.spoil(t, dir)
			i, err := New(config)
			if err == nil {
				i.Close()
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), "issuer: open authority: ") {
				t.Errorf("got %q, want it to say %q", err, test.want)
			}
			if strings.Contains(err.Error(), "MIG") || strings.Contains(err.Error(), "AIG") {
				t.Errorf("the error quotes a key: %q", err)
			}
		})
	}
}

func TestDirectoryKeyOfAnotherCertificate(t *testing.T) {
	config := Config{TrustDomain: td}
	one, two := open(t, config), open(t, config)
	a, b := one.current.Load().authorities[0], two.current.Load().authorities[0]
	mixed := *a
	mixed.key = b.key
	content, err := formatAuthorities(td, 1, []*authority{&mixed})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseAuthorities(content, config); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("got %v", err)
	}
}

func TestDirectoryOfAnotherOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		if err := checkPrivateOf(t, "/"); err == nil {
			t.Error("the root directory is not ours, and was accepted")
		}
		return
	}
	dir := t.TempDir() + "/ca"
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 54321, -1); err != nil {
		t.Fatal(err)
	}
	if err := checkPrivateOf(t, dir); err == nil || !strings.Contains(err.Error(), "54321") {
		t.Errorf("got %v", err)
	}
}

func checkPrivateOf(t *testing.T, path string) error {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	return checkPrivate(f, 0o700)
}

func TestDirectoryHasOneIssuerAtATime(t *testing.T) {
	config := Config{TrustDomain: td, Directory: t.TempDir() + "/ca"}
	i := open(t, config)
	if _, err := New(config); err == nil || !strings.Contains(err.Error(), "in use by another issuer") {
		t.Errorf("got %v", err)
	}
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, config)
}

func TestDirectoryKeepsSequence(t *testing.T) {
	config := Config{TrustDomain: td, Directory: t.TempDir() + "/ca", KeyType: Ed25519, CAKeyType: RSA2048, Intermediate: true}
	i := open(t, config)
	for range 3 {
		if err := i.RotateAuthority(); err != nil {
			t.Fatal(err)
		}
	}
	sequence, bundle := i.current.Load().sequence, i.Bundle()
	if err := i.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, config)
	if got := again.current.Load().sequence; got != sequence || !again.Bundle().Equal(bundle) {
		t.Errorf("after a restart: sequence %d, want %d; same bundle %v", got, sequence, again.Bundle().Equal(bundle))
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func FuzzParseAuthorities(f *testing.F) {
	config := Config{TrustDomain: spiffeid.RequireTrustDomainFromString("example.org")}
	i := open(f, config)
	if err := i.RotateAuthority(); err != nil {
		f.Fatal(err)
	}
	content, err := formatAuthorities(td, 7, i.current.Load().authorities)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(`{"version":1,"trustDomain":"example.org","sequence":1,"authorities":[]}`))
	f.Add([]byte(`{"version":1,"trustDomain":"example.org","authorities":[{"certificate":"","privateKey":""}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := parseAuthorities(content, config)
		if err != nil {
			return
		}
		for _, a := range s.authorities {
			if !a.certificate.IsCA || a.key == nil || a.issuer == nil {
				t.Fatal("half an authority was accepted")
			}
		}
		again, err := formatAuthorities(td, s.sequence, s.authorities)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseAuthorities(again, config); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
	})
}
