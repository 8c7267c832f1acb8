package issuer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// retryRotation is how long to wait after a rotation failed, as it does when
// the disk is full.
const retryRotation = 10 * time.Second

// keepRotating brings the authorities up to date whenever they are due, until
// ctx ends.
func (i *Issuer) keepRotating(ctx context.Context) error {
	for {
		changed := i.current.Load().changed
		wait := time.Until(i.current.Load().nextRotation())
		if wait <= 0 {
			wait = i.tryRotate(ctx)
		}
		if !sleep(ctx, changed, wait) {
			return nil
		}
	}
}

// tryRotate rotates and returns how long to wait before looking again.
func (i *Issuer) tryRotate(ctx context.Context) time.Duration {
	if err := i.rotate(time.Now()); err != nil {
		i.config.Logger.ErrorContext(ctx, "rotate authority: the last one stays in force", "error", err)
		return retryRotation
	}
	i.published(ctx)
	return 0
}

// sleep waits for d, or until changed is closed; it reports false when ctx ends
// first.
func sleep(ctx context.Context, changed <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-timer.C:
	}
	return ctx.Err() == nil
}

// nextRotation is when the newest authority needs a successor or the oldest one
// has expired.
func (v *view) nextRotation() time.Time {
	if len(v.authorities) == 0 {
		return time.Time{}
	}
	due := v.authorities[len(v.authorities)-1].halfLife()
	if expiry := v.authorities[0].certificate.NotAfter; expiry.Before(due) {
		return expiry
	}
	return due
}

// rotate drops expired authorities and adds the successor that is due. A
// successor is stored first, then published, and signs only later; only where
// no authority is left does it sign at once.
func (i *Issuer) rotate(now time.Time) error {
	if now.Before(i.current.Load().nextRotation()) {
		return nil
	}
	return i.changeAuthorities(func(old []*authority) ([]*authority, error) {
		kept := slices.DeleteFunc(old, func(a *authority) bool { return a.expired(now) })
		activeFrom := now
		if len(kept) > 0 {
			newest := kept[len(kept)-1]
			if now.Before(newest.halfLife()) {
				return kept, nil
			}
			activeFrom = newest.successorActive(now)
		}
		next, err := newAuthority(i.config, now, activeFrom)
		return append(kept, next), err
	})
}

// RotateAuthority adds a new authority that signs at once, and mints every SVID
// anew. The old authorities stay in the bundle until they expire or are retired
// by [Issuer.RetireAuthorities]. Federated trust domains that have not yet got
// the new bundle will refuse the new SVIDs meanwhile; the rotation that the
// issuer does by itself leaves them time.
func (i *Issuer) RotateAuthority() error {
	now := time.Now()
	err := i.changeAuthorities(func(old []*authority) ([]*authority, error) {
		next, err := newAuthority(i.config, now, now)
		return append(old, next), err
	})
	if err != nil {
		return fmt.Errorf("issuer: rotate authority: %w", err)
	}
	i.published(context.Background())
	i.RotateSVIDs()
	return nil
}

// RetireAuthorities takes every authority but the newest out of the bundle, and
// makes it sign at once. What the others signed is refused from then on.
func (i *Issuer) RetireAuthorities() error {
	now := time.Now()
	err := i.changeAuthorities(func(old []*authority) ([]*authority, error) {
		if len(old) == 0 {
			return nil, errors.New("there is none")
		}
		newest := *old[len(old)-1]
		if newest.activeFrom.After(now) {
			newest.activeFrom = now
		}
		return []*authority{&newest}, nil
	})
	if err != nil {
		return fmt.Errorf("issuer: retire authorities: %w", err)
	}
	i.published(context.Background())
	return nil
}

// changeAuthorities replaces the authorities by what edit makes of a copy of
// them: stored before anybody sees them.
func (i *Issuer) changeAuthorities(edit func(old []*authority) ([]*authority, error)) error {
	return i.change(func(next *view) error {
		edited, err := edit(slices.Clone(next.authorities))
		if err != nil {
			return err
		}
		next.authorities = edited
		next.sequence++
		if i.directory == nil {
			return nil
		}
		return i.directory.write(i.config.TrustDomain, next.sequence, edited)
	})
}

// published hands the own bundle on after it has changed: to the files that it
// is exported to, and to the issuers that follow this one.
func (i *Issuer) published(ctx context.Context) {
	if err := i.export(); err != nil {
		i.config.Logger.ErrorContext(ctx, "export bundle", "error", err)
	}
	i.mu.Lock()
	followers := slices.Clone(i.followers)
	i.mu.Unlock()
	v := i.current.Load()
	for _, f := range followers {
		f.receive(i, v.sequence, v.roots())
	}
}
