package components

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"text/tabwriter"
)

// Dir returns the folder of the cache: $HALLMARK_CACHE, or else hallmark in the
// user's cache folder. It need not exist yet.
func Dir() (string, error) {
	if dir := os.Getenv("HALLMARK_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("components: find the cache (set HALLMARK_CACHE, XDG_CACHE_HOME or HOME): %w", err)
	}
	return filepath.Join(base, "hallmark"), nil
}

// Lookup returns the path of a program in the cache. The error of one that is
// not there wraps [os.ErrNotExist] and says what provides it.
func Lookup(b Binary) (string, error) {
	r, ok := recipeOf(b)
	if !ok {
		return "", fmt.Errorf("components: %q is not among the programs that are built from source", b)
	}
	dir, err := Dir()
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, r.key(), string(b))
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("components: %s %s is not in the cache: run `make components`: %w", b, r.Version, err)
	} else if err != nil {
		return "", fmt.Errorf("components: look for %s: %w", b, err)
	}
	return file, nil
}

// Path returns the path of a program in the cache, and fails the test if it is
// not there. It never builds.
func Path(tb testing.TB, b Binary) string {
	tb.Helper()
	file, err := Lookup(b)
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

// Command returns the path of a program that comes from Debian, and fails the
// test with the line that installs it if it is not there.
func Command(tb testing.TB, program string) string {
	tb.Helper()
	file, err := LookPath(program)
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

// List writes a table of the programs that are built from source: name,
// version, and the path, or "-" for one that is not in the cache.
func List(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	for _, r := range recipes() {
		for _, t := range r.Targets {
			file, err := Lookup(t.Binary)
			if errors.Is(err, os.ErrNotExist) {
				file = "-"
			} else if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", t.Binary, r.Version, file)
		}
	}
	return w.Flush()
}
