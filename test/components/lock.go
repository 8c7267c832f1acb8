package components

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockPoll is how often a lock that another process holds is tried again.
const lockPoll = 200 * time.Millisecond

// lock waits until no other process builds the recipe. The lock ends with the
// process that holds it, however that ends.
func (b builder) lock(ctx context.Context, r recipe, parent string) (unlock func(), err error) {
	name := filepath.Join(parent, "lock")
	told := false
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		file, err := tryLock(name)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("components: lock %s: %w", name, err)
		}
		if !told {
			told = true
			b.printf("waiting for another process that builds %s", r.Name)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("components: lock %s: %w", name, context.Cause(ctx))
		}
	}
}

// tryLock takes an exclusive lock on a file, which it makes if need be; closing
// the file gives the lock up. The error is EWOULDBLOCK if another holds it.
func tryLock(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// tryLockByte is [tryLock] for one byte of a file, so that many locks need only
// one file.
func tryLockByte(name string, offset int64) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: offset, Len: 1}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
