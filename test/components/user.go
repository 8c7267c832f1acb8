package components

import (
	"os"
	"syscall"
	"testing"
)

// nobody is the user and group id that Linux distributions give to nobody.
const nobody = 65534

// Unprivileged returns the credential for [Process].User of a program that
// refuses to run as root: user nobody if the test runs as root, otherwise nil,
// which is the user that the test runs as.
func Unprivileged() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: nobody, Gid: nobody}
}

// TempDirFor returns a folder that belongs to the user and that only the user
// and root can enter; it is removed when the test ends. (That of
// [testing.TB.TempDir] is closed to other users.) Its path is short enough to
// hold Unix sockets. A nil user is the one that the test runs as.
func TempDirFor(tb testing.TB, user *syscall.Credential) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "hallmark")
	if err != nil {
		tb.Fatalf("components: make a folder: %v", err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Errorf("components: remove a folder: %v", err)
		}
	})
	if user == nil {
		return dir
	}
	if err := os.Chown(dir, int(user.Uid), int(user.Gid)); err != nil {
		tb.Fatalf("components: make a folder for user %d: %v", user.Uid, err)
	}
	return dir
}
