package issuer

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	maxBundleFile  = 1 << 20 // bytes
	foreignRefresh = 30 * time.Second
	settleTime     = 20 * time.Millisecond
)

// Federate makes every one of the issuers know the bundles of all the others,
// now and whenever they change. Workloads get those that their registrations
// name.
func Federate(issuers ...*Issuer) {
	for _, from := range issuers {
		for _, to := range issuers {
			if to.config.TrustDomain != from.config.TrustDomain {
				from.addFollower(to)
			}
		}
		from.published(context.Background())
	}
}

func (i *Issuer) addFollower(to *Issuer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !slices.Contains(i.followers, to) {
		i.followers = append(i.followers, to)
	}
}

// receive takes the bundle of a followed issuer. One that was overtaken by a
// later one is ignored.
func (i *Issuer) receive(from *Issuer, sequence uint64, bundle authorities) {
	_ = i.change(func(next *view) error {
		if sequence < i.sequences[from] {
			return nil
		}
		i.sequences[from] = sequence
		i.given[from.config.TrustDomain] = bundle
		next.foreign = i.allForeign()
		return nil
	})
}

// SetForeignBundle makes the issuer hand out the bundle of a foreign trust
// domain, in place of one from a file. It refuses the own trust domain and an
// empty bundle.
func (i *Issuer) SetForeignBundle(bundle *x509bundle.Bundle) error {
	td, list := bundle.TrustDomain(), authorities(bundle.X509Authorities())
	if td == i.config.TrustDomain {
		return fmt.Errorf("issuer: federate: %q is the own trust domain", td.Name())
	}
	if err := list.validate(); err != nil {
		return fmt.Errorf("issuer: federate with %q: %w", td.Name(), err)
	}
	return i.change(func(next *view) error {
		i.given[td] = list
		next.foreign = i.allForeign()
		return nil
	})
}

// RemoveForeignBundle takes back what [Issuer.SetForeignBundle] or [Federate]
// gave; a later change of a followed issuer brings its bundle again.
func (i *Issuer) RemoveForeignBundle(td spiffeid.TrustDomain) {
	_ = i.change(func(next *view) error {
		delete(i.given, td)
		next.foreign = i.allForeign()
		return nil
	})
}

// allForeign returns the foreign bundles of every origin. The caller holds mu.
func (i *Issuer) allForeign() map[spiffeid.TrustDomain]authorities {
	all := make(map[spiffeid.TrustDomain]authorities, len(i.fromFiles)+len(i.given))
	maps.Copy(all, i.fromFiles)
	maps.Copy(all, i.given)
	return all
}

// validate reports whether the certificates can be a bundle.
func (a authorities) validate() error {
	if len(a) == 0 || len(a) > maxAuthorities {
		return fmt.Errorf("the bundle holds %d authorities: want 1 to %d", len(a), maxAuthorities)
	}
	for n, c := range a {
		if !c.IsCA {
			return fmt.Errorf("certificate %d of the bundle is not a CA", n)
		}
	}
	return nil
}

func (a authorities) equal(b authorities) bool {
	return slices.EqualFunc(a, b, (*x509.Certificate).Equal)
}

// watchForeign reads the foreign bundle files again whenever something happens
// in their directories, and now and then besides, until ctx ends.
func (i *Issuer) watchForeign(ctx context.Context) error {
	f := i.config.Federation
	if len(f.Bundles) == 0 && f.Directory == "" {
		return nil
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("issuer: watch foreign bundles: %w", err)
	}
	defer watcher.Close()
	ticker := time.NewTicker(foreignRefresh)
	defer ticker.Stop()
	for {
		f.watch(watcher) // also those that have come into being since
		i.readForeign()
		if !f.waitForEvent(ctx, watcher, ticker.C) {
			return nil
		}
	}
}

// waitForEvent waits until something happens to a bundle file, or it is time to
// look anyhow. It reports false when ctx ends.
func (f Federation) waitForEvent(ctx context.Context, watcher *fsnotify.Watcher, tick <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case err := <-watcher.Errors: // events were lost
			return err != nil
		case event := <-watcher.Events:
			if f.concerns(event.Name) {
				return sleep(ctx, nil, settleTime)
			}
		}
	}
}

// concerns tells bundle files, and the symbolic links by which Kubernetes swaps
// mounted ones, from whatever else lives in their directories.
func (f Federation) concerns(path string) bool {
	if strings.HasPrefix(filepath.Base(path), "..") {
		return true
	}
	if f.Directory != "" && filepath.Dir(path) == filepath.Clean(f.Directory) && isBundleName(path) {
		return true
	}
	return slices.ContainsFunc(f.Bundles, func(b ForeignBundle) bool { return filepath.Clean(b.File) == path })
}

func isBundleName(path string) bool {
	return filepath.Ext(path) == ".json" || filepath.Ext(path) == ".pem"
}

// watch has the directories watched. One that does not exist yet is left to the
// next round.
func (f Federation) watch(watcher *fsnotify.Watcher) {
	if f.Directory != "" {
		_ = watcher.Add(f.Directory)
	}
	for _, b := range f.Bundles {
		_ = watcher.Add(filepath.Dir(b.File))
	}
}

// readForeign reads every foreign bundle file. The bundle of a file that is gone
// is gone; that of a file that makes no sense stays.
func (i *Issuer) readForeign() {
	files, err := i.config.Federation.files(i.config.TrustDomain)
	i.logTrouble(spiffeid.TrustDomain{}, "read foreign bundles", err)
	i.mu.Lock()
	last := i.fromFiles
	i.mu.Unlock()
	read := make(map[spiffeid.TrustDomain]authorities, len(files))
	for td, file := range files {
		bundle, err := readBundle(td, file)
		switch {
		case err == nil:
			read[td] = bundle
			i.logTrouble(td, "", nil)
		case errors.Is(err, fs.ErrNotExist):
			i.logTrouble(td, "read foreign bundle: no file, no federation", err)
		default:
			i.logTrouble(td, "read foreign bundle: the last good one stays", fmt.Errorf("%s: %w", file, err))
			if old, had := last[td]; had {
				read[td] = old
			}
		}
	}
	if maps.EqualFunc(read, last, authorities.equal) {
		return
	}
	_ = i.change(func(next *view) error {
		i.fromFiles = read
		next.foreign = i.allForeign()
		return nil
	})
}

// logTrouble logs trouble with the bundle of a trust domain, or with all of them
// if td is zero, when it is not the same as the last time.
func (i *Issuer) logTrouble(td spiffeid.TrustDomain, message string, err error) {
	var text string
	if err != nil {
		text = err.Error()
	}
	i.mu.Lock()
	same := i.trouble[td] == text
	i.trouble[td] = text
	i.mu.Unlock()
	if err != nil && !same {
		i.config.Logger.Warn(message, "trust_domain", td.Name(), "error", err)
	}
}

// files returns where the bundle of each foreign trust domain is to be read
// from. Files named one by one come before those of the directory.
func (f Federation) files(own spiffeid.TrustDomain) (map[spiffeid.TrustDomain]string, error) {
	files := make(map[spiffeid.TrustDomain]string)
	for _, b := range f.Bundles {
		files[b.TrustDomain] = b.File
	}
	if f.Directory == "" {
		return files, nil
	}
	entries, err := os.ReadDir(f.Directory)
	if err != nil {
		return files, err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || !isBundleName(name) {
			continue
		}
		td, err := spiffeid.TrustDomainFromString(strings.TrimSuffix(name, filepath.Ext(name)))
		if err == nil && td == own {
			continue // a directory that several issuers export to
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%q in %s is not named after a foreign trust domain", name, f.Directory))
			continue
		}
		if _, taken := files[td]; taken || len(files) >= maxForeign {
			errs = append(errs, fmt.Errorf("%q in %s is left out: one more file for its trust domain, or more than %d", name, f.Directory, maxForeign))
			continue
		}
		files[td] = filepath.Join(f.Directory, name)
	}
	return files, errors.Join(errs...)
}

func readBundle(td spiffeid.TrustDomain, path string) (authorities, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hang us
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("not a regular file"))
	}
	content, err := io.ReadAll(io.LimitReader(f, maxBundleFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxBundleFile {
		return nil, fmt.Errorf("more than %d bytes", maxBundleFile)
	}
	return parseBundle(td, content, filepath.Ext(path) == ".pem")
}

// parseBundle reads a bundle in PEM or in the SPIFFE bundle format.
func parseBundle(td spiffeid.TrustDomain, content []byte, isPEM bool) (authorities, error) {
	var list authorities
	if isPEM {
		bundle, err := x509bundle.Parse(td, content)
		if err != nil {
			return nil, err
		}
		list = bundle.X509Authorities()
	} else {
		bundle, err := spiffebundle.Parse(td, content)
		if err != nil {
			return nil, err
		}
		list = bundle.X509Authorities()
	}
	return list, list.validate()
}

// export writes the own bundle to the files that the configuration names.
func (i *Issuer) export() error {
	i.exporting.Lock()
	defer i.exporting.Unlock()
	var errs []error
	for _, path := range i.config.ExportBundle {
		content, err := i.formatBundle(filepath.Ext(path) == ".pem")
		if err == nil {
			err = replaceFile(path, content, 0o644)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (i *Issuer) formatBundle(asPEM bool) ([]byte, error) {
	v := i.current.Load()
	if !asPEM {
		bundle := spiffebundle.FromX509Authorities(i.config.TrustDomain, v.roots())
		bundle.SetSequenceNumber(v.sequence)
		bundle.SetRefreshHint(min(i.config.CATTL/12, 5*time.Minute))
		return bundle.Marshal()
	}
	var content []byte
	for _, c := range v.roots() {
		content = append(content, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return content, nil
}
